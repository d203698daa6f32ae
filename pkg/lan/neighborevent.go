package lan

import "net/netip"

// maxNeighborPacket is the number of bytes that are read of an ARP or Neighbor
// Discovery packet. The options that matter end long before.
const maxNeighborPacket = 256

// NeighborEvent is a claim of an address: a host on the LAN sent an ARP packet
// (RFC 826) or a Neighbor Discovery message (RFC 4861) as the owner of the address.
type NeighborEvent struct {
	// Index is the index of the interface that received the packet.
	Index int
	// IP is the claimed address.
	IP netip.Addr
	// MAC is the Ethernet address that the host claims for IP.
	MAC MAC
}
