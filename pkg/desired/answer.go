package desired

// Answer says how the LAN's questions for a VIP are answered, by ARP or neighbor
// discovery.
type Answer struct {
	// Interface is the one that answers. Index is its index, 0 as long as there is
	// none: one that is made anew is another one.
	Interface string
	Index     int
	// Pulse is that of the VIP's virtual router. As long as it comes now and
	// then, the answers depend on it. 0: they depend on nothing.
	Pulse Pulse
}

// Pulse names a virtual router of this node to its kernel, in the bits
//
//	9-31  index of its interface
//	8     IPv6
//	0-7   VRID
type Pulse = uint32

// NewPulse returns the pulse of a virtual router on the interface of that index.
func NewPulse(index int, ipv6 bool, vrid uint8) Pulse {
	p := Pulse(index)<<9 | Pulse(vrid)
	if ipv6 {
		p |= 1 << 8
	}
	return p
}
