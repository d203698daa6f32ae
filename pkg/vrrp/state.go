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

// Reason is the reason of a transition. Operators see these words in logs, Events
// and metrics.
type Reason string

// The reasons.
const (
	// ReasonStartup: Initialize to Backup.
	ReasonStartup Reason = "startup"
	// ReasonShutdown: to Initialize, by Router.Shutdown.
	ReasonShutdown Reason = "shutdown"
	// ReasonMasterDown: Backup to Master, because no Master was heard for
	// Master_Down_Interval (RFC 6527: masterNoResponse).
	ReasonMasterDown Reason = "masterDown"
	// ReasonMasterResigned: Backup to Master after a priority 0
	// advertisement (RFC 6527: priority).
	ReasonMasterResigned Reason = "masterResigned"
	// ReasonPreempted: Backup to Master over a Master of lower priority
	// (RFC 6527: preempted).
	ReasonPreempted Reason = "preempted"
	// ReasonHigherPriority: Master to Backup, because a Master with a higher
	// priority, or the same priority and a higher address, was heard.
	ReasonHigherPriority Reason = "higherPriority"
	// ReasonStalled: Master to Backup, because our own event loop stalled for so
	// long that another Master must be expected.
	ReasonStalled Reason = "stalled"
)

// Transition is a change of state.
type Transition struct {
	From, To State
	Reason   Reason
}

// Output has the actions that follow from a call of a Router. The caller carries
// them out in the order of the fields. Shutdown is the exception: there, remove the
// addresses BEFORE Send.
type Output struct {
	// Send is an advertisement to send at once; nil for none. When the router
	// becomes Master, send it BEFORE the addresses are added, so that other
	// Backups stay Backup. Encode or copy it BEFORE the next call of the Router,
	// which reuses it.
	Send *Advertisement
	// Transition is the change of state that happened; nil for none. On becoming
	// Master, add the addresses AFTER Send and announce them AFTER they are added
	// (gratuitous ARP, unsolicited NA). On becoming Backup, remove them AFTER Send.
	Transition *Transition
	// Announce reports whether to announce the addresses again, AFTER Send,
	// because another Master may have announced them to the hosts of the LAN. A
	// transition to Master implies it. While another Master is heard it is set
	// for each of its advertisements, so limit the rate of the frames.
	Announce bool
}
