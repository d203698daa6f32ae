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
				p.master(p.theirs, "theirs is alone")
				ours := p.startOurs(150)
				p.state(ours, "Backup")

				at := time.Now()
				// Of both families.
				p.check(p.Drop("ip protocol 112"))
				p.check(p.Drop("ip6 nexthdr 112"))
				p.state(ours, "Master")
				p.sent(p.ours, at, 2)
				p.heard(p.theirs)

				at = time.Now()
				p.check(p.Pass())
				p.held(winner, "the partition has healed")
				// As long as a takeover would need, and more.
				p.sent(winner, time.Now(), 5)
				for _, a := range from(loser, p.adverts(at)) {
					if after := a.At.Sub(at); after > m.interval()+5*crossing {
						t.Errorf("%s has the lower address and sends, %v after the partition: %s", loser.Name, after, a)
					}
				}
				if oursIsHigher {
					p.backup(theirs, 2)
					p.announced(at)
				} else if r := p.state(ours, "Backup"); r.Since.Sub(at) > m.interval()+5*crossing {
					t.Errorf("our daemon is Backup since %v after the partition", r.Since.Sub(at))
				}
				p.uncomplaining(theirs)
				p.wire()
			})
		})
	}
}
