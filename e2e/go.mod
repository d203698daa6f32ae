module kube-vrrp-vip/e2e

go 1.26.0

require (
	golang.org/x/sys v0.49.0
	kube-vrrp-vip v0.0.0
)

replace kube-vrrp-vip => ../
