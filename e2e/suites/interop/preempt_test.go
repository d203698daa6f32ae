package interop

import (
	"testing"
	"time"
)

// With preemption the higher priority is Master, whoever has it.
func TestNetnsInteropPreempt(t *testing.T) {
	t.Parallel()
	each(t, allModes, func(t *testing.T, peer peer, m mode) {
		p := newPair(t, peer, m, true)
		theirs := p.startTheirs(100, true)
		p.waitMaster(p.theirs, "theirs is alone")
		ours := p.startOurs(200, "--preempt")
		p.waitHeld(p.ours, "we preempt")
		p.waitAnnounced(time.Time{})
		p.waitBackup(theirs, 2)
		p.checkMasters(time.Time{}, p.theirs, p.ours)
		p.check(theirs.Terminate())
		p.checkNoComplaints(theirs)

		again := time.Now()
		theirs = p.startTheirs(250, true)
		p.waitHeld(p.theirs, "theirs preempts")
		p.waitState(ours, "Backup")
		p.waitSent(p.theirs, again, 3)
		p.checkMasters(again, p.ours, p.theirs)
		p.checkNoComplaints(theirs)
		p.checkWire()
	})
}
