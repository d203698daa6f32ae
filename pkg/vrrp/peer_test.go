package vrrp

import "time"

// peer is the model of another implementation: a state machine as pure as
// Router, with its rules and quirks. keepalived and frr are the two.
type peer interface {
	startup(now Time) actions
	shutdown(now Time) actions
	// receive takes a whole IP packet and judges it as that daemon would.
	receive(now Time, packet []byte) actions
	expire(now Time) actions
	deadline() Time
	state() State
	// masterDown and skew are the waits after a Master that advertised every
	// interval fell silent or resigned.
	masterDown(interval time.Duration) time.Duration
	skew(interval time.Duration) time.Duration
}

// actions are what a peer wants done.
type actions struct {
	// send are the priorities of the advertisements to send.
	send []uint8
	// announce is how often to announce the addresses.
	announce int
	// event says in a word what happened, empty if the state is as it was.
	event string
	// dropped is why a packet was.
	dropped string
}
