// Package engine runs the virtual routers of this node.
//
// One loop on a locked OS thread owns every vrrp.Router. Each time it wakes
// it reads the clock, drains the sockets, takes its commands, looks whether it
// was late, and only then fires deadlines: a Master is never declared down
// while one of its advertisements waits unread, and our own lateness is never
// taken for its silence.
//
// The loop does nothing that can block. What it wants of the kernel it posts
// as an order, the whole wanted set, to one actuator goroutine, which binds
// addresses and announces them and reports back. What is to be logged or told
// it hands to one notifier goroutine.
//
//	desired.State, host.Snapshot --> inbox --> loop --> order --> actuator --> kernel, LAN
//	                                   ^        |  \                 |
//	                                   |        |   \-> notifier --> log, OnTransition
//	                                   |        v                    |
//	                                   |     desired.Status          |
//	                                   +------------- report --------+
//
// An address is held by a lease: the actuator adds it with a short kernel
// lifetime, and only a loop that runs and whose advertisements go out posts
// the orders that renew it. A loop that dies, hangs or is stopped loses its
// addresses without anybody's help.
package engine
