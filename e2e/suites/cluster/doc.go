// Package cluster tests kube-vrrp-vip as its manifests install it, on a real
// Kubernetes of three nodes (internal/cluster). The tests share one cluster with
// kube-proxy in nftables mode and one in iptables mode.
package cluster
