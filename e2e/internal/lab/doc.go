// Package lab is a LAN of network namespaces on which virtual routers of
// several implementations meet: the daemon's binary, keepalived and FRR.
//
//	 n0       n1       n2      client        network namespaces
//	eth0     eth0     eth0      eth0
//	  |        |        |         |          192.0.2.0/24, 2001:db8::/64, fe80::/64
//	 p0       p1       p2        p3
//	==+========+========+=========+== br0    the switch, which records
//
//	api0     api0     api0                   198.18.0.0/24
//	==+========+========+============ br0    the stub of the Kubernetes API
//
// Links of their own lead to the API, so that a cut LAN cuts nobody off from it.
// The namespaces have no names: they, and all processes in them, end with this
// program, however it ends.
//
// What is on the wire is recorded at the switch's ports with the kernel's
// timestamps; what the kernels hold is recorded from rtnetlink.
package lab
