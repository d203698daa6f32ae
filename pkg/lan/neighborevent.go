package lan

import (
	"net/netip"
)

// maxNeighborPacket is how much is read of what may be a claim: its options end long before.
const maxNeighborPacket = 256

// NeighborEvent is what a host on the LAN said: that it has an address.
type NeighborEvent struct {
	// Index is the interface it was heard on.
	Index int
	IP    netip.Addr
	MAC   MAC
}
