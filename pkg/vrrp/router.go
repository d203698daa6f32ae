package vrrp

import (
	"net/netip"
	"time"
)

// Validate names every field that is wrong, its value, and what is right.
func (c Config) Validate() error { return nil }

// Router is the state machine of one virtual router.
type Router struct {
	config Config
	state  State
}

// NewRouter returns a Router in Initialize. It panics if c is not valid.
func NewRouter(c Config) *Router { return &Router{config: c} }

// Startup is the event Startup: Initialize to Backup.
func (r *Router) Startup(now Time) Output { return Output{} }

// Shutdown is the event Shutdown: to Initialize.
func (r *Router) Shutdown(now Time) Output { return Output{} }

// Receive takes in an advertisement that Parse accepted. The kernel took the
// packet at arrived, which is what the timers count from.
func (r *Router) Receive(now, arrived Time, source netip.Addr, a *Advertisement) Output {
	return Output{}
}

// Expire fires the timer if its Deadline has come.
func (r *Router) Expire(now Time) Output { return Output{} }

// Stalled says that the caller's loop woke up late, and has drained its
// sockets since.
func (r *Router) Stalled(now Time, late time.Duration) Output { return Output{} }

// SetConfig changes the configuration.
func (r *Router) SetConfig(now Time, c Config) Output { return Output{} }

// Deadline is when Expire must be called; false in Initialize.
func (r *Router) Deadline() (Time, bool) { return 0, false }

// State returns the state.
func (r *Router) State() State { return r.state }

// Status returns what there is to know.
func (r *Router) Status() Status { return Status{} }

// CountDiscard counts a packet of this virtual router that Parse did not
// accept.
func (r *Router) CountDiscard(d Discard) {}

// CountChecksum counts the form of an accepted packet's checksum.
func (r *Router) CountChecksum(f ChecksumForm) {}
