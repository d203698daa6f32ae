package interop

import (
	"fmt"
	"testing"
	"time"
)

// Two Masters of equal priority, as a healed partition leaves them: the higher
// address stays, and the other yields once.
func TestNetnsInteropEqualPriority(t *testing.T) {
	t.Parallel()
	for _, oursIsHigher := range []bool{true, false} {
		t.Run(fmt.Sprintf("higher=%v", oursIsHigher), func(t *testing.T) {
			t.Parallel()
			each(t, allModes, func(t *testing.T, peer peer, m mode) {
				p := newPair(t, peer, m, oursIsHigher)
				winner, loser := p.theirs, p.ours
				if oursIsHigher {
					winner, loser = p.ours, p.theirs
				}
				theirs := p.startTheirs(150, false)
				p.waitMaster(p.theirs, "theirs is alone")
				ours := p.startOurs(150)
				p.waitState(ours, "Backup")

				at := time.Now()
				// Of both families.
				p.check(p.Drop("ip protocol 112"))
				p.check(p.Drop("ip6 nexthdr 112"))
				p.waitState(ours, "Master")
				if oursIsHigher {
					p.waitAnnouncedAll(at)
				}
				p.waitHeard(p.theirs)
				// The loser is likely to be heard before it hears the winner.
				p.waitHeard(winner)

				p.check(p.Pass())
				at = time.Now()
				p.waitHeld(winner, "the partition has healed")
				settled := time.Now()
				t.Logf("measured: interop_%s_%s_healed=%v target=%v", peer.name, m.name, settled.Sub(at).Round(time.Millisecond), m.interval()+crossing)
				// As long as a takeover would need, and more.
				p.waitSent(winner, settled, 5)
				for _, a := range from(loser, p.adverts(settled)) {
					t.Errorf("%s has the lower address and sends, %v after the end: %s", loser.Name, a.At.Sub(settled), a)
				}
				if oursIsHigher {
					p.waitBackup(theirs, 2)
					p.waitCorrected(at)
				} else if r := p.waitState(ours, "Backup"); r.Since.After(settled) {
					t.Errorf("our daemon became Backup once more, %v after the end", r.Since.Sub(settled))
				}
				p.checkNoComplaints(theirs)
				p.checkWire()
			})
		})
	}
}
