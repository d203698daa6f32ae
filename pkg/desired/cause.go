package desired

// Cause is the reason for the state of a virtual router.
type Cause struct {
	// Reason is one of vrrp.Reason's constants, Listening, or a fault.
	Reason Reason `json:"reason"`
	// Message gives details of a fault; it may be empty.
	Message string `json:"message,omitempty"`
}

// Text returns the cause as operators read it: the reason, and the message if there
// is one.
func (c Cause) Text() string {
	if c.Message == "" {
		return string(c.Reason)
	}
	return string(c.Reason) + ": " + c.Message
}

// Reason names the cause of a virtual router's state, in one word.
// docs/operations.md lists all reasons, with the remedy for each fault.
type Reason string

// Listening is the reason of a router that listens before it starts.
const Listening Reason = "listening"

// The faults: the reasons that keep a virtual router in Initialize.
const (
	FaultLinkDown        Reason = "linkDown"
	FaultNoCarrier       Reason = "noCarrier"
	FaultLinkFlapping    Reason = "linkFlapping"
	FaultNoMulticast     Reason = "noMulticast"
	FaultNoSourceAddress Reason = "noSourceAddress"
	FaultNoInterface     Reason = "noInterface"
	FaultBindFailed      Reason = "bindFailed"
	FaultAddressRemoved  Reason = "addressRemoved"
	FaultSendFailed      Reason = "sendFailed"
	FaultNotListening    Reason = "notListening"
	FaultLeaseNotRenewed Reason = "leaseNotRenewed"
	FaultInvalidConfig   Reason = "invalidConfig"
	FaultVRIDConflict    Reason = "vridConflict"
	FaultVIPInUse        Reason = "vipInUse"
	FaultVirtualMAC      Reason = "virtualMACFailed"
	// FaultNoLocalEndpoint is the fault of a router with NoLocalEndpoint. It needs
	// no remedy as long as another node has an endpoint.
	FaultNoLocalEndpoint Reason = "noLocalEndpoint"
)
