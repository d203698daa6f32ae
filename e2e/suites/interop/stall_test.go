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
			p.waitMaster(p.theirs, "theirs is alone")
			ours := p.startOurs(200)
			p.waitState(ours, "Backup")
			p.waitHeard(p.theirs)
			at := time.Now()
			p.check(theirs.SignalAll(syscall.SIGSTOP))
			p.waitState(ours, "Master")
			p.waitAnnouncedAll(at)
			p.checkMasters(time.Time{}, p.theirs, p.ours)

			// Its addresses are still there, and it sends before it listens.
			at = time.Now()
			p.check(theirs.SignalAll(syscall.SIGCONT))
			p.waitBackup(theirs, 2)
			p.waitHeld(p.ours, "theirs has yielded")
			p.waitSent(p.ours, time.Now(), 5)
			p.waitCorrected(at)
			p.waitState(ours, "Master")
			p.checkNoComplaints(theirs)
			p.checkWire()
		})
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		each(t, modes, func(t *testing.T, peer peer, m mode) {
			p := newPair(t, peer, m, true)
			ours := p.startOurs(200)
			p.waitMaster(p.ours, "ours is alone")
			theirs := p.startTheirs(150, false)
			p.waitBackup(theirs, 1)
			p.waitHeard(p.ours)
			p.check(ours.SignalAll(syscall.SIGSTOP))
			p.waitSent(p.theirs, time.Time{}, 1)
			p.waitHeld(p.theirs, "the lease of ours has ended")

			at := time.Now()
			p.check(ours.SignalAll(syscall.SIGCONT))
			p.waitState(ours, "Backup")
			p.waitSent(p.theirs, time.Now(), 5)
			p.waitHeld(p.theirs, "ours has yielded")
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
			p.checkMasters(time.Time{}, p.ours, p.theirs)
			p.checkNoComplaints(theirs)
			p.checkWire()
		})
	})
}
