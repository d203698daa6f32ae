package interop

import (
	"syscall"
	"testing"
	"time"
)

// A Master that stands still, as a paused virtual machine does, comes back when
// the other is Master: it believes that it still is.
func TestNetnsInteropStall(t *testing.T) {
	t.Parallel()
	modes := func(peer) []mode { return []mode{modeV3, modeV3IPv6} }
	t.Run("theirs", func(t *testing.T) {
		t.Parallel()
		each(t, modes, func(t *testing.T, peer peer, m mode) {
			p := newPair(t, peer, m, true)
			theirs := p.startTheirs(150, false)
			p.master(p.theirs, "theirs is alone")
			ours := p.startOurs(200)
			p.state(ours, "Backup")
			p.heard(p.theirs)
			at := time.Now()
			p.check(theirs.SignalAll(syscall.SIGSTOP))
			p.state(ours, "Master")
			p.announcedAll(at)
			p.turns(time.Time{}, p.theirs, p.ours)

			// Its addresses are still there, and it sends before it listens.
			at = time.Now()
			p.check(theirs.SignalAll(syscall.SIGCONT))
			p.backup(theirs, 2)
			p.held(p.ours, "theirs has yielded")
			p.sent(p.ours, time.Now(), 5)
			p.corrected(at)
			p.state(ours, "Master")
			p.uncomplaining(theirs)
			p.wire()
		})
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		each(t, modes, func(t *testing.T, peer peer, m mode) {
			p := newPair(t, peer, m, true)
			ours := p.startOurs(200)
			p.master(p.ours, "ours is alone")
			theirs := p.startTheirs(150, false)
			p.backup(theirs, 1)
			p.heard(p.ours)
			p.check(ours.SignalAll(syscall.SIGSTOP))
			p.sent(p.theirs, time.Time{}, 1)
			p.held(p.theirs, "the lease of ours has ended")

			at := time.Now()
			p.check(ours.SignalAll(syscall.SIGCONT))
			p.state(ours, "Backup")
			p.sent(p.theirs, time.Now(), 5)
			p.held(p.theirs, "ours has yielded")
			for _, a := range from(p.ours, p.adverts(at)) {
				t.Errorf("our daemon has sent %s after it stood still", a)
			}
			for _, a := range p.vips {
				for _, n := range p.Recorder.Announcements(at, a) {
					if n.Host == p.ours.Index {
						t.Errorf("our daemon has announced %s after it stood still", a)
					}
				}
			}
			p.turns(time.Time{}, p.ours, p.theirs)
			p.uncomplaining(theirs)
			p.wire()
		})
	})
}
