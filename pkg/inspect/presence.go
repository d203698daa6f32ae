package inspect

import "time"

// absence is how long kube-proxy must not have been seen to be taken for absent:
// on a node that boots it may come after this daemon.
const absence = time.Minute

// presence decides whether kube-proxy is there, from what the looks have found.
type presence struct {
	absent bool
	seen   time.Time // When it was last found, at first the start.
}

// found notes that a look has found it, and reports whether that is a change.
func (p *presence) found(now time.Time) (changed bool) {
	p.seen = now
	changed = p.absent
	p.absent = false
	return changed
}

// missed notes that a look has not found it, and reports whether it is taken for
// absent from now on.
func (p *presence) missed(now time.Time) (changed bool) {
	if p.absent || now.Sub(p.seen) < absence {
		return false
	}
	p.absent = true
	return true
}

// unknown notes that a look has failed, which is no absence.
func (p *presence) unknown(now time.Time) { p.seen = now }
