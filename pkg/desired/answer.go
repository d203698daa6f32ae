package desired

// Answer is the policy of this node's replies to ARP requests and neighbor
// solicitations for a VIP.
type Answer struct {
	// Interface is the name of the interface that replies. Index is its index, 0
	// while it does not exist. An interface that is created again has another index.
	Interface string
	Index     int
	// Pulse is the heartbeat of the VIP's virtual router: once the kernel has seen
	// it, this node replies only while it goes on. If it is 0, the replies do not
	// depend on a heartbeat.
	Pulse Pulse
}

// Pulse is the heartbeat of a virtual router of this node: a number that
// identifies the router to the kernel, in the bits
//
//	9-31  index of its interface
//	8     IPv6
//	0-7   VRID
type Pulse = uint32

// NewPulse returns the Pulse of a virtual router on the interface with this index.
func NewPulse(index int, ipv6 bool, vrid uint8) Pulse {
	p := Pulse(index)<<9 | Pulse(vrid)
	if ipv6 {
		p |= 1 << 8
	}
	return p
}
