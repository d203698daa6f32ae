package desired

// Cause says why a virtual router is in its state.
type Cause struct {
	// Reason is one word of a closed list: of vrrp.Reason's, or a fault.
	Reason Reason `json:"reason"`
	// Message explains a fault; empty if Reason says it all.
	Message string `json:"message,omitempty"`
}

// Text returns the cause as it is shown to operators.
func (c Cause) Text() string {
	if c.Message == "" {
		return string(c.Reason)
	}
	return string(c.Reason) + ": " + c.Message
}

// Reason is one word of a closed list that says why a virtual router is in its
// state. docs/operations.md has the remedy for each fault.
type Reason string

// Listening is the reason of a router that is about to start.
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
	// FaultNoLocalEndpoint is the fault of a router with NoLocalEndpoint. It is no
	// trouble as long as another node has an endpoint.
	FaultNoLocalEndpoint Reason = "noLocalEndpoint"
)
