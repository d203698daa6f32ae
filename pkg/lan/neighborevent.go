package lan

import (
	"net/netip"
)

// maxClaim is how much is read of what may be a claim: its options end long before.
const maxClaim = 256

// Claim is what a host on the LAN said: that it has an address.
type Claim struct {
	// Index is the interface it was heard on.
	Index   int
	Address netip.Addr
	MAC     MAC
}
