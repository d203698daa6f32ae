package lan

import (
	"net"
	"net/netip"
)

// The operations of ARP, for tests from outside the package.
const (
	ARPRequest = arpRequest
	ARPReply   = arpReply
)

// AppendGratuitousARP appends the frame that Announcer sends for an IPv4 address.
func AppendGratuitousARP(b []byte, mac net.HardwareAddr, vip netip.Addr, operation uint16) []byte {
	return gratuitousARP(MAC(mac), vip, operation).appendFrame(b)
}

// AppendUnsolicitedNA appends the frame that Announcer sends for an IPv6 address.
func AppendUnsolicitedNA(b []byte, mac net.HardwareAddr, vip netip.Addr, router bool) []byte {
	return unsolicitedAdvertisement(MAC(mac), vip, router).appendFrame(b, MAC(mac))
}
