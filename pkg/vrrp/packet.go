package vrrp

import "net/netip"

// MaxAddresses is how many addresses one advertisement can carry.
const MaxAddresses = 255

// Append appends the VRRP message to b.
func (a *Advertisement) Append(b []byte, source, destination netip.Addr) []byte {
	return b
}

// PeekVRID returns the VRID of a payload that is long enough to have one.
func PeekVRID(payload []byte) (vrid uint8, ok bool) {
	return 0, false
}

// Parse checks a payload and reads it into a, whose Addresses keep their
// capacity: with room for MaxAddresses nothing is ever allocated.
func Parse(h Header, payload []byte, a *Advertisement) (ChecksumForm, Discard) {
	return ChecksumNone, DiscardPacketLength
}
