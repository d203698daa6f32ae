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
		p.master(p.theirs, "theirs is alone")
		ours := p.startOurs(200)
		p.state(ours, "Backup")

		p.heard(p.theirs)
		at := time.Now()
		p.check(p.Cut(p.theirs.Index))
		p.held(p.ours, "theirs is silent")
		p.announced(at)
		p.takeover("silent", p.theirs, p.ours, at, m.masterDown(200))
		p.turns(time.Time{}, p.theirs, p.ours)
		// FRR is Master without a carrier, too, and so for a moment when it is back.
		p.check(p.Restore(p.theirs.Index))
		p.backup(theirs, 2)
		p.held(p.ours, "theirs is back, and does not preempt")
		p.resolved()

		at = time.Now()
		again := at
		p.check(ours.Terminate())
		p.held(p.theirs, "ours was stopped")
		p.released(at)
		p.takeover("ours_stopped", p.ours, p.theirs, at, m.skew(150)+5*time.Millisecond)

		ours = p.startOurs(200)
		p.state(ours, "Backup")
		at = time.Now()
		p.check(theirs.Terminate())
		p.held(p.ours, "theirs was stopped")
		p.announced(at)
		p.takeover("theirs_stopped", p.theirs, p.ours, at, m.skew(200)+m.interval()/4+5*time.Millisecond)
		p.uncomplaining(theirs)

		theirs = p.startTheirs(150, false)
		p.backup(theirs, 1)
		p.heard(p.ours)
		at = time.Now()
		ours.Kill()
		p.held(p.theirs, "ours was killed")
		p.takeover("ours_killed", p.ours, p.theirs, at, m.masterDown(150))
		p.uncomplaining(theirs)

		want := []*lab.Host{p.theirs, p.ours, p.theirs}
		// Of a slow Master nothing may have been heard between its return and its end.
		if sent := from(p.ours, p.adverts(again)); sent[0].VRRP.Priority > 0 {
			want = append([]*lab.Host{p.ours}, want...)
		}
		p.turns(again, want...)
		p.wire()
	})
}
