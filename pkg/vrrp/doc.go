// Package vrrp is the Virtual Router Redundancy Protocol, version 2 (RFC 3768)
// and version 3 (RFC 9568): the packet codec and the state machine of one
// virtual router.
//
// # Purity
//
// Nothing in this package reads a clock, opens a socket, starts a goroutine,
// takes a lock or writes a log line. Time is an argument, packets are byte
// slices, and what the state machine wants done is a value, Output. The same
// calls in the same order give the same outputs, which is what makes it
// possible to simulate a LAN of routers for hours in a moment.
//
// # Terminology
//
// RFC 9568 renamed Master to Active. Operators, keepalived and FRR say Master,
// and so does this project. All other names are the RFC's.
package vrrp
