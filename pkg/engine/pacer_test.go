package engine

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// numbered are n VIPs of IPv4.
func numbered(n int) (vips []netip.Addr) {
	for i := range n {
		vips = append(vips, netip.AddrFrom4([4]byte{10, 4, byte(1 + i/250), byte(1 + i%250)}))
	}
	return vips
}

// sentFrame is a frame and when it went out.
type sentFrame struct {
	frame
	at time.Duration
}

// drain lets a pacer send all that waits from a time on.
func (p *pacer) drain(from vrrp.Time) (sent []sentFrame, end vrrp.Time) {
	now := from
	for {
		for batch := p.next(now); len(batch) > 0; batch = p.next(now) {
			for _, f := range batch {
				sent = append(sent, sentFrame{f, now.Sub(from)})
			}
		}
		next := p.deadline(now)
		if next == never {
			return sent, now
		}
		now = max(next, now+1)
	}
}

// The first announcement of every VIP, on every link, comes before anything
// else; each frame once; and no more at a time than a switch takes.
func TestPacerOrder(t *testing.T) {
	t.Parallel()
	const each = 500
	p, vips := newPacer(), numbered(2*each)
	p.add(map[int]announcement{2: {first: vips[:each]}, 3: {first: vips[each:]}})
	p.add(map[int]announcement{2: {first: vips[:each]}, 3: {again: vips[each:]}})
	sent, _ := p.drain(vrrp.Time(time.Hour))
	count := map[frame]int{}
	for i, f := range sent {
		if first := i < 2*each; first && f.reply || first && count[f.frame] > 0 {
			t.Fatalf("frame %d is %+v, want the first of another VIP", i, f)
		}
		count[f.frame]++
	}
	// One of each form, and the repetition on the second link.
	if len(sent) != 2*each+2*each+each || len(count) != 4*each {
		t.Errorf("%d frames, %d of them different, want %d and %d", len(sent), len(count), 5*each, 4*each)
	}
	last := sent[2*each-1].at
	if want := (2*each-firstBurst)*firstPause + paceStep; last > want {
		t.Errorf("the last first announcement after %s, want %s", last, want)
	}
	if pause := sent[2*each].at - last; pause < quietTime {
		t.Errorf("something else %s after the last first announcement, want %s", pause, quietTime)
	}
	for i := range sent {
		burst, pause := firstBurst, firstPause
		if i >= 2*each {
			burst, pause = laterBurst, laterPause
		}
		if j := i + burst; j < 2*each || i >= 2*each && j < len(sent) {
			if gap := sent[j].at - sent[i].at; gap < pause {
				t.Fatalf("%d frames from number %d on within %s", burst+1, i, gap)
			}
		}
	}
}

// A node that is busy between the calls of next and the sending does not send more
// frames in a time than a switch takes.
func TestPacerLateSend(t *testing.T) {
	t.Parallel()
	p, now := newPacer(), vrrp.Time(time.Hour)
	p.add(map[int]announcement{2: {first: numbered(1000)}})
	var at []vrrp.Time
	for n := 0; ; n++ {
		batch := p.next(now)
		if len(batch) == 0 {
			if now = p.deadline(now); len(p.first) == 0 {
				break
			}
			continue
		}
		if n%3 == 0 {
			now = now.Add(20 * time.Millisecond)
		}
		for range batch {
			at = append(at, now)
		}
		p.done(now)
	}
	for i := range at[:len(at)-firstBurst] {
		if gap := at[i+firstBurst].Sub(at[i]); gap < firstPause {
			t.Fatalf("%d frames from number %d on within %v", firstBurst+1, i, gap)
		}
	}
}

// A few VIPs are not paced, and both forms of a repetition go out.
func TestPacerFew(t *testing.T) {
	t.Parallel()
	p, now := newPacer(), vrrp.Time(0)
	vips := append(numbered(2), vip6A)
	p.add(map[int]announcement{2: {first: vips}})
	sent, now := p.drain(now)
	if len(sent) != 5 || sent[2].at != 0 || sent[3].at != quietTime || sent[4].at != quietTime {
		t.Errorf("sent %+v, want three first ones at once, and two replies after %s", sent, quietTime)
	}
	p.add(map[int]announcement{2: {again: vips}})
	if sent, _ = p.drain(now.Add(quietTime)); len(sent) != 5 || sent[4].at != 0 || !sent[4].reply {
		t.Errorf("repeated by %+v, want both forms at once", sent)
	}
}

// A new takeover does not wait for the repetitions of an older one.
func TestPacerOvertakes(t *testing.T) {
	t.Parallel()
	p, now := newPacer(), vrrp.Time(time.Hour)
	p.add(map[int]announcement{2: {again: numbered(1000)}})
	for range 10 {
		p.next(now)
		now = now.Add(paceStep)
	}
	p.add(map[int]announcement{3: {first: []netip.Addr{vipA}}})
	want := frame{host.VirtualAddress{Link: 3, Address: vipA}, false}
	if got := p.next(now); len(got) != 1 || got[0] != want {
		t.Errorf("next are %v, want %v", got, want)
	}
	p.drop(2)
	if sent, _ := p.drain(now); len(sent) != 1 || sent[0].Link != 3 || !sent[0].reply {
		t.Errorf("after the first link was dropped: %v, want the reply on the second", sent)
	}
}

// deafLink is an announcer one of whose links transmits nothing.
type deafLink struct {
	mu   sync.Mutex
	at   map[netip.Addr]time.Time
	deaf int
	hung int
}

func (d *deafLink) Announce(link int, _ net.HardwareAddr, vips []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if link == d.deaf {
		d.hung++
		time.Sleep(time.Second)
		return os.ErrDeadlineExceeded
	}
	for _, vip := range vips {
		d.at[vip] = time.Now()
	}
	return nil
}

func (d *deafLink) AnnounceReply(int, net.HardwareAddr, []netip.Addr) error { return nil }

// A link that transmits nothing holds the others up once, and no lease at all.
func TestHostWorkersDeafLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, d := &fakeKernel{}, &deafLink{at: map[netip.Addr]time.Time{}, deaf: 2}
		w := newHostWorkers(fakeAddresses{k}, d, fakeNeighbors{k}, func(leaseResult) {}, func(outcome) {})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.run(ctx) })
		vips := numbered(1000)
		o := hostState{announce: map[int]announcement{2: {first: vips[:500]}, 3: {first: vips[500:]}}}
		for i, vip := range vips {
			o.addresses = append(o.addresses, host.VirtualAddress{Link: 2 + i/500, Address: vip})
		}
		began := time.Now()
		for range 4 {
			w.post(o)
			o.announce = nil
			time.Sleep(leaseRefresh)
		}
		stop()
		wg.Wait()
		if got := len(k.did); got < 4 {
			t.Errorf("leases renewed %d times of 4", got)
		}
		var last time.Time
		for _, at := range d.at {
			if at.After(last) {
				last = at
			}
		}
		if len(d.at) != 500 || d.hung != 1 || last.Sub(began) > 1100*time.Millisecond {
			t.Errorf("announced %d of 500 addresses of the other link, the last after %s, %d attempts at the deaf one", len(d.at), last.Sub(began), d.hung)
		}
	})
}

// The instants of a takeover's announcements, which of them are the first ones,
// and the refresh.
func TestAnnounceSchedule(t *testing.T) {
	t.Parallel()
	start := vrrp.Time(time.Hour)
	var s announceSchedule
	s.stop()
	if s.due(start) {
		t.Error("due while it is stopped")
	}
	s.start(start)
	var at []time.Duration
	var first []bool
	for range 7 {
		now := s.next
		first = append(first, s.step == 0)
		if s.due(now-1) || !s.due(now) || s.due(now) {
			t.Fatalf("not due once at %s", now.Sub(start))
		}
		at = append(at, now.Sub(start))
	}
	want := []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second, 65 * time.Second, 125 * time.Second}
	if !slices.Equal(at, want) || slices.Index(first, false) != 1 || slices.Contains(first[1:], true) {
		t.Errorf("due at %v, first %v, want %v and the first only", at, first, want)
	}
	// Another Master that is heard again and again starts it once a second.
	s.start(start)
	s.due(start)
	s.again(start.Add(announcePause - 1))
	if s.step == 0 {
		t.Error("started again within the pause")
	}
	s.again(start.Add(announcePause))
	if s.step != 0 {
		t.Error("not started again after the pause")
	}
}
