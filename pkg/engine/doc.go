// Package engine runs the virtual routers of this node.
//
// One loop on a locked OS thread owns every vrrp.Router. Each time it wakes
// it drains the sockets, takes its commands, looks whether it was late, and only
// then fires deadlines: but in a flood a Master is not declared down while one of
// its advertisements waits unread, and our own lateness is not taken for its
// silence.
//
// The loop does nothing that can block. What it wants of the kernel it posts
// to others: the actuator renews the leases of the addresses, announces them and
// says who answers ARP, each on a goroutine of its own; the listener opens and
// closes sockets; the lookout asks who has the VIPs; the notifier writes log lines and tells of transitions and
// alarms. They report back.
//
//	desired.State, host.Snapshot --> inbox --> loop --> order -------> actuator --> kernel, LAN
//	                                   ^        | \--> listenOrder --> listener --> kernel
//	                                   |        |  \-> notifier -----> log, OnTransition, OnAlarm
//	                                   |        v
//	                                   |     desired.Status
//	                                   +------------- reports of the actuator and the listener
//
// A port is one family of one interface. What is heard there is remembered from
// the start, also of virtual routers that are not ours: one whose VRID others
// use for something else is not started, and one that runs already has an alarm.
// A virtual router belongs to the port of its VIPs or, with unicast, to that of
// the node's address, wherever its VIPs are bound.
//
// Before a VIP is claimed for the first time it is asked for, and left alone while
// another host has it. Who claims what a Master holds is heard and asked for too.
//
// An address is held by a lease: the actuator adds it with a short kernel
// lifetime, and only a loop that runs and whose advertisements go out posts
// the orders that renew it. A loop that dies, hangs or is stopped loses its
// addresses without anybody's help. And a Master whose leases are not renewed
// resigns before they end.
//
// Until such a lease ends the kernel has the address and would answer for it. So
// the loop itself sends a pulse for each Master that is heard, and questions for
// the addresses reach the kernel for half a second after each.
package engine
