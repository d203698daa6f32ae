package lan

import "testing"

// TestFramesDoNotAllocate builds and parses frames in one buffer: the number of
// VIPs, and a flood of packets, cost no memory.
func TestFramesDoNotAllocate(t *testing.T) {
	var frame []byte
	allocations := testing.AllocsPerRun(100, func() {
		frame = gratuitousARP(testMAC, testIP4, arpRequest).appendFrame(frame[:0])
		if _, ok := parseARP(withoutEthernet(frame)); !ok {
			t.Error("the ARP packet does not parse")
		}
		frame = unsolicitedAdvertisement(testMAC, testIP6, true).appendFrame(frame[:0], testMAC)
		if _, ok := parseNeighborMessage(withoutEthernet(frame)); !ok {
			t.Error("the Neighbor Advertisement does not parse")
		}
	})
	if allocations > 0 {
		t.Errorf("%.1f allocations for a frame of each kind", allocations)
	}
}
