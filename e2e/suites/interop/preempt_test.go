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
		p.master(p.theirs, "theirs is alone")
		ours := p.startOurs(200, "--preempt")
		p.held(p.ours, "we preempt")
		p.announced(time.Time{})
		p.backup(theirs, 2)
		p.turns(time.Time{}, p.theirs, p.ours)
		p.check(theirs.Terminate())
		p.uncomplaining(theirs)

		again := time.Now()
		theirs = p.startTheirs(250, true)
		p.held(p.theirs, "theirs preempts")
		p.state(ours, "Backup")
		p.sent(p.theirs, again, 3)
		p.turns(again, p.ours, p.theirs)
		p.uncomplaining(theirs)
		p.wire()
	})
}
