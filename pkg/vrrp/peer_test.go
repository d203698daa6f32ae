package vrrp

import "time"

// peer is the model of another implementation: a pure state machine like Router, with
// its rules and quirks. The implementations are keepalived and frr.
type peer interface {
	startup(now Time) actions
	shutdown(now Time) actions
	// receive processes a whole IP packet as that daemon does.
	receive(now Time, packet []byte) actions
	expire(now Time) actions
	deadline() Time
	state() State
	// masterDown and skew return the wait after a Master that advertised every
	// interval has gone silent or resigned.
	masterDown(interval time.Duration) time.Duration
	skew(interval time.Duration) time.Duration
}

// actions are the actions that follow from a call of a peer.
type actions struct {
	// send has the priorities of the advertisements to send.
	send []uint8
	// announce is the number of announcements to send.
	announce int
	// event names the transition in a word; it is empty if the state did not change.
	event string
	// dropped is the reason why the packet was dropped.
	dropped string
}
