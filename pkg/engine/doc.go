// Package engine runs the virtual routers of this node.
//
// One loop on a locked OS thread owns every vrrp.Router. Each iteration reads the
// sockets, handles the messages of other goroutines, notes whether it is late, and
// only then runs the timers: but in a flood a Master is not declared down while one
// of its advertisements waits unread, and a late loop is not taken for a silent
// Master.
//
// The loop asks the owners of its state in order:
//
//	links       the interfaces of the node, which of them flap
//	assignment  which virtual router runs on which interface (a pure function)
//	sockets     the ports that are listened on, the routers heard there
//	macvlans    the links with virtual MAC addresses
//	instance    one virtual router on one interface: its phase, timers, alarms
//	conflicts   which other host has a VIP (package conflict)
//	hostSync    what the host is to have: addresses, announcements, ARP policy
//	heartbeats  the kernel answers for a VIP only while they go on
//	releases    advertisements of priority 0 that wait for the addresses to go
//	events      log lines, transitions and alarms, in order
//	publisher   the status that other goroutines read
//
// The loop does nothing that can block. It posts the newest value of what it wants
// to workers, each on a goroutine of its own, and they send back results:
//
//	desired.State, host.Snapshot --> inbox --> loop --> hostState -----> lease, neighbor, announce workers
//	                                   ^        | \---> socketOrder ---> socket worker
//	                                   |        |  \--> macvlanOrder --> macvlan worker
//	                                   |        |   \-> probeOrder ----> probe worker
//	                                   |        v
//	                                   |     desired.Status, OnTransition, OnAlarm
//	                                   +-------------- results
//
// A port is one family of one interface. The routers heard there are remembered
// from the start, also those of virtual routers that are not ours: a router whose
// VRID has another use is not started, and one that runs has an alarm. A virtual
// router belongs to the port of its VIPs or, with unicast, to that of the node's
// address, wherever its VIPs are bound.
//
// An address is held by a lease: the lease worker adds it with a short kernel
// lifetime, and only a loop that runs and whose advertisements go out posts the
// states that renew it. A loop that dies, hangs or is stopped loses its addresses
// without anybody's help. And a Master whose leases are not renewed resigns before
// they end.
package engine
