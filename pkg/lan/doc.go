package lan
