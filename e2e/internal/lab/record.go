package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Err returns why the recording ended, if it did.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Packets returns what was recorded since a time, in the order of time, of those
// that match.
func (r *Recorder) Packets(since time.Time, match func(Packet) bool) []Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Packet
	for _, p := range slices.Backward(r.packets) {
		// Packets of different ports may be out of order by a little.
		if p.At.Before(since.Add(-time.Second)) {
			break
		}
		if !p.At.Before(since) && match(p) {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b Packet) int { return a.At.Compare(b.At) })
	return found
}

// Advertisements returns the advertisements of one virtual router since a time.
// IPv6 tells which of the two of that VRID.
func (r *Recorder) Advertisements(since time.Time, ipv6 bool, vrid int) []Packet {
	return r.Packets(since, func(p Packet) bool { return p.VRRP != nil && p.VRRP.VRID == vrid && p.VRRP.Source.Is6() == ipv6 })
}

// Announcements returns the announcements of an address since a time.
func (r *Recorder) Announcements(since time.Time, a netip.Addr) []Packet {
	return r.Packets(since, func(p Packet) bool { return p.Neighbor != nil && p.Neighbor.Gratuitous && p.Neighbor.Address == a })
}

// Bindings returns what hosts got and lost an address since a time.
func (r *Recorder) Bindings(since time.Time, a netip.Addr) []Binding {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Binding
	for _, b := range r.bindings {
		if b.Address == a && !b.At.Before(since) {
			found = append(found, b)
		}
	}
	return found
}

// Holders returns the hosts that hold an address now.
func (r *Recorder) Holders(a netip.Addr) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	holders := []int{}
	for _, b := range r.bindings {
		if b.Address != a {
			continue
		}
		holders = slices.DeleteFunc(holders, func(i int) bool { return i == b.Host })
		if b.Held {
			holders = append(holders, b.Host)
		}
	}
	slices.Sort(holders)
	return holders
}

// Holding is for how long an address was held in a time.
type Holding struct {
	// None is the time in which no host held it, Several that in which more
	// than one did, and LongestNone the longest part of None.
	None, LongestNone, Several time.Duration
}

// Holding adds up who held an address between two times.
func (r *Recorder) Holding(a netip.Addr, from, to time.Time) Holding {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum Holding
	holders, at := 0, from
	var none time.Duration
	until := func(t time.Time) {
		if t.After(to) {
			t = to
		}
		d := t.Sub(at)
		if d <= 0 {
			return
		}
		switch {
		case holders == 0:
			sum.None += d
			none += d
			sum.LongestNone = max(sum.LongestNone, none)
		case holders > 1:
			sum.Several += d
		}
		if holders > 0 {
			none = 0
		}
		at = t
	}
	for _, b := range r.bindings {
		if b.Address != a {
			continue
		}
		until(b.At)
		if b.Held {
			holders++
		} else {
			holders--
		}
	}
	until(to)
	return sum
}

// Text shows what was recorded since a time. Advertisements that only repeat
// their sender's last are counted, not shown, and of questions and answers only
// changes of who answers.
func (r *Recorder) Text(since time.Time) string {
	type line struct {
		at   time.Time
		text string
	}
	type sender struct {
		host, vrid int
		ipv6       bool
	}
	var lines []line
	last, repeated := map[sender]string{}, map[sender]int{}
	answered := map[netip.Addr]string{}
	for _, p := range r.Packets(since, func(p Packet) bool { return p.VRRP != nil || p.Neighbor.Gratuitous || p.Neighbor.Answer }) {
		text := p.String()
		if p.VRRP != nil {
			key := sender{p.Host, p.VRRP.VRID, p.VRRP.Source.Is6()}
			if last[key] == text {
				repeated[key]++
				continue
			}
			if repeated[key] > 0 {
				text = fmt.Sprintf("%s (after %d more of those before)", text, repeated[key])
			}
			last[key], repeated[key] = p.String(), 0
		} else if !p.Neighbor.Gratuitous {
			if answered[p.Neighbor.Address] == text {
				continue
			}
			answered[p.Neighbor.Address] = text
		}
		lines = append(lines, line{p.At, fmt.Sprintf("n%d sent %s", p.Host, text)})
	}
	for key, text := range last {
		if repeated[key] > 0 {
			lines = append(lines, line{r.lastPacket(), fmt.Sprintf("n%d sent until now %d more of %s", key.host, repeated[key], text)})
		}
	}
	r.mu.Lock()
	for _, b := range r.bindings {
		if !b.At.Before(since) {
			lines = append(lines, line{b.At, fmt.Sprintf("n%d holds %s: %v", b.Host, b.Address, b.Held)})
		}
	}
	r.mu.Unlock()
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%10.6f %s\n", l.at.Sub(since).Seconds(), l.text)
	}
	return b.String()
}

func (r *Recorder) lastPacket() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.packets) == 0 {
		return time.Time{}
	}
	return r.packets[len(r.packets)-1].At
}
