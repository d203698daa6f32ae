package vrrp

// State is the state of a virtual router (RFC 9568 section 6.3).
type State uint8

// The states.
const (
	Initialize State = iota
	Backup
	Master
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Initialize:
		return "Initialize"
	case Backup:
		return "Backup"
	case Master:
		return "Master"
	default:
		return "Unknown"
	}
}

// MarshalText returns the state's name, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reason says why a router changed its state. The words are part of what
// operators see in logs, Events and metrics.
type Reason string

// The reasons.
const (
	// ReasonStartup: Initialize to Backup.
	ReasonStartup Reason = "startup"
	// ReasonShutdown: to Initialize, asked from outside.
	ReasonShutdown Reason = "shutdown"
	// ReasonMasterDown: Backup to Master, no Master was heard for
	// Master_Down_Interval (RFC 6527: masterNoResponse).
	ReasonMasterDown Reason = "masterDown"
	// ReasonMasterResigned: Backup to Master after a priority 0
	// advertisement (RFC 6527: priority).
	ReasonMasterResigned Reason = "masterResigned"
	// ReasonPreempted: Backup to Master over a Master of lower priority
	// (RFC 6527: preempted).
	ReasonPreempted Reason = "preempted"
	// ReasonHigherPriority: Master to Backup, another Master with a higher
	// priority, or the same and a higher address, was heard.
	ReasonHigherPriority Reason = "higherPriority"
	// ReasonStalled: Master to Backup, our own loop stood still for so long
	// that another Master must be expected.
	ReasonStalled Reason = "stalled"
)

// Transition is a change of state.
type Transition struct {
	From, To State
	Reason   Reason
}

// Output is what a Router wants done after a call, in the order of the
// fields; only after Shutdown the addresses go first and Send last.
type Output struct {
	// Send is an advertisement to send at once; nil for none. It is valid
	// until the Router's next call.
	Send *Advertisement
	// Transition is the change of state that happened; nil for none.
	Transition *Transition
	// Announce asks for the addresses to be announced again (gratuitous ARP,
	// unsolicited NA): another Master may have taken them in the caches of
	// the LAN's hosts. A transition to Master implies it. As long as another
	// Master is heard it is set once per advertisement, so pace the frames.
	Announce bool
}
