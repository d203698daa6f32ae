package datapath

import "kube-vrrp-vip/pkg/nft"

// Cleanup removes the table. That it is absent is success.
func Cleanup() error { return nft.Remove(datapathSpec) }
