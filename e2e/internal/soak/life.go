package soak

import "time"

// Vitals are what is counted of a daemon.
type Vitals struct {
	// Started tells a process from another one on the same node, by its start.
	Started    time.Time
	Goroutines int
	Files      int
	MemoryMB   int
}

// Lives keeps the first and the last Vitals of each daemon process that was seen
// more than once.
type Lives struct {
	// WarmUp is how old a process has to be to be looked at.
	WarmUp time.Duration
	lives  []life
}

type life struct {
	node        string
	first, last Vitals
	seen        time.Time // last
	again       bool
}

// See notes what a node's daemon has at a time.
func (l *Lives) See(node string, now time.Time, v Vitals) {
	if now.Sub(v.Started) < l.WarmUp {
		return
	}
	for i := range l.lives {
		if l.lives[i].node == node && l.lives[i].first.Started.Equal(v.Started) {
			l.lives[i].last, l.lives[i].seen, l.lives[i].again = v, now, true
			return
		}
	}
	l.lives = append(l.lives, life{node: node, first: v, last: v, seen: now})
}

// Leaks returns, of goroutines, files and memory, the daemon that has gained most, and
// how long it has lived through.
func (l *Lives) Leaks() []Leak {
	var leaks []Leak
	for _, m := range []struct {
		what    string
		of      func(Vitals) int
		allowed int
	}{
		{"goroutines", func(v Vitals) int { return v.Goroutines }, 20},
		{"open files", func(v Vitals) int { return v.Files }, 20},
		// A heap grows to twice what it holds before it is collected.
		{"memory, MB", func(v Vitals) int { return v.MemoryMB }, 32},
	} {
		var worst *life
		for i := range l.lives {
			if c := &l.lives[i]; c.again && (worst == nil || m.of(c.last)-m.of(c.first) > m.of(worst.last)-m.of(worst.first)) {
				worst = c
			}
		}
		if worst == nil {
			continue
		}
		leaks = append(leaks, Leak{
			What:  m.what + " of a daemon, " + worst.seen.Sub(worst.first.Started).Round(time.Second).String() + " old",
			Begin: m.of(worst.first), End: m.of(worst.last), Allowed: m.allowed,
		})
	}
	return leaks
}
