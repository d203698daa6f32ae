// Package interop tests that the daemon and other implementations of VRRP share a
// virtual router: keepalived 2.2.7 and FRR 8.4 as Debian 12 has them. The
// daemon is bin/kube-vrrp-vip, and what counts is what is on the wire, which
// addresses the kernels hold, and what the others say of us.
//
// FRR 8.4 has neither authentication nor unicast.
package interop
