package interop

import (
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

// Our daemon and another implementation take over from each other whatever way
// the Master goes: silent, stopped or killed.
func TestNetnsInteropFailover(t *testing.T) {
	t.Parallel()
	each(t, allModes, func(t *testing.T, peer peer, m mode) {
		p := newPair(t, peer, m, true)
		theirs := p.startTheirs(150, false)
		p.waitMaster(p.theirs, "theirs is alone")
		ours := p.startOurs(200)
		p.waitState(ours, "Backup")

		p.waitHeard(p.theirs)
		at := time.Now()
		p.check(p.Cut(p.theirs.Index))
		p.waitHeld(p.ours, "theirs is silent")
		p.waitAnnounced(at)
		p.measureTakeover("silent", p.theirs, p.ours, at, m.masterDown(200))
		p.checkMasters(time.Time{}, p.theirs, p.ours)
		// FRR is Master without a carrier, too, and so for a moment when it is back.
		p.check(p.Restore(p.theirs.Index))
		p.waitBackup(theirs, 2)
		p.waitHeld(p.ours, "theirs is back, and does not preempt")
		p.waitResolved()

		at = time.Now()
		again := at
		p.check(ours.Terminate())
		p.waitHeld(p.theirs, "ours was stopped")
		p.checkReleased(at)
		p.measureTakeover("ours_stopped", p.ours, p.theirs, at, m.skew(150)+5*time.Millisecond)

		ours = p.startOurs(200)
		p.waitState(ours, "Backup")
		at = time.Now()
		p.check(theirs.Terminate())
		p.waitHeld(p.ours, "theirs was stopped")
		p.waitAnnounced(at)
		p.measureTakeover("theirs_stopped", p.theirs, p.ours, at, m.skew(200)+m.interval()/4+5*time.Millisecond)
		p.checkNoComplaints(theirs)

		theirs = p.startTheirs(150, false)
		p.waitBackup(theirs, 1)
		p.waitHeard(p.ours)
		at = time.Now()
		ours.Kill()
		p.waitHeld(p.theirs, "ours was killed")
		p.measureTakeover("ours_killed", p.ours, p.theirs, at, m.masterDown(150))
		p.checkNoComplaints(theirs)

		want := []*lab.Host{p.theirs, p.ours, p.theirs}
		// Of a slow Master nothing may have been heard between its return and its end.
		if sent := from(p.ours, p.adverts(again)); sent[0].VRRP.Priority > 0 {
			want = append([]*lab.Host{p.ours}, want...)
		}
		p.checkMasters(again, want...)
		p.checkWire()
	})
}
