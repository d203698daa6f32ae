package soak

import "math/rand/v2"

// Draw draws numbers from 0 to n-1 in random order, each once before any comes again.
type Draw struct {
	rand *rand.Rand
	n    int
	left []int
}

// NewDraw returns a Draw of n numbers, at least one.
func NewDraw(r *rand.Rand, n int) *Draw { return &Draw{rand: r, n: n} }

// Next returns the next number.
func (d *Draw) Next() int {
	if len(d.left) == 0 {
		d.left = d.rand.Perm(d.n)
	}
	i := d.left[0]
	d.left = d.left[1:]
	return i
}
