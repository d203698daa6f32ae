// Package datapath tests what becomes of connections to a VIP on a node where the
// daemon's binary runs beside rules such as kube-proxy's and beside programs that
// listen on all addresses.
package datapath
