# The image is the static binary and nothing else. `make image` builds both;
# by hand: make build && docker build -t kube-vrrp-vip:dev .
FROM scratch
COPY bin/kube-vrrp-vip /kube-vrrp-vip
ENTRYPOINT ["/kube-vrrp-vip"]
