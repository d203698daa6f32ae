package engine

import (
	"maps"
	"net"
	"slices"
	"time"

	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

const (
	// firstBurst first announcements are sent at once: as many as a careful ARP
	// policer of a switch accepts. One more follows every firstPause.
	firstBurst = 128
	firstPause = time.Second / 8000
	// laterBurst and laterPause are the same for frames that can wait: the second
	// form and every repetition.
	laterBurst = 64
	laterPause = time.Second / 2000
	// paceStep is the shortest sleep: a wake-up for each frame would cost more
	// than sending it.
	paceStep = 2 * time.Millisecond
	// quietTime must pass after the last first announcement before any other frame
	// is sent. The virtual routers of a Master that has gone are not all taken over
	// in the same millisecond.
	quietTime = 10 * time.Millisecond
)

// frame is one frame that announces an address.
type frame struct {
	host.VirtualAddress
	// reply reports whether it has the second form, see announcer.
	reply bool
}

// pacer orders the frames of announcements in time: the first one of every address
// before all others, and no more at a time than a switch accepts. Its state depends
// only on the calls made to it.
type pacer struct {
	// hardwareAddrs are by link.
	hardwareAddrs map[int]net.HardwareAddr
	first, later  []frame
	// waiting are the frames of first and those of later.
	waitingFirst, waitingLater map[frame]bool

	firstBucket, laterBucket bucket
	// sent is the time at which the last frame of first was sent.
	sent vrrp.Time
	// taken is the number of frames that next returned last, from the bucket from.
	from  *bucket
	taken int
}

func newPacer() *pacer {
	return &pacer{
		hardwareAddrs: map[int]net.HardwareAddr{},
		waitingFirst:  map[frame]bool{}, waitingLater: map[frame]bool{},
		firstBucket: bucket{pause: firstPause, burst: firstBurst},
		laterBucket: bucket{pause: laterPause, burst: laterBurst},
		sent:        vrrp.Time(-quietTime),
	}
}

// add adds announcements. A frame that waits already is not sent twice.
func (p *pacer) add(all map[int]announcement) {
	links := slices.Sorted(maps.Keys(all))
	for _, link := range links {
		p.hardwareAddrs[link] = all[link].hardwareAddr
		for _, vip := range all[link].first {
			push(&p.first, p.waitingFirst, frame{host.VirtualAddress{Link: link, Address: vip}, false})
		}
	}
	for _, link := range links {
		for _, vip := range all[link].again {
			push(&p.later, p.waitingLater, frame{host.VirtualAddress{Link: link, Address: vip}, false})
		}
	}
	for _, link := range links {
		for _, vip := range slices.Concat(all[link].first, all[link].again) {
			if vip.Is4() {
				push(&p.later, p.waitingLater, frame{host.VirtualAddress{Link: link, Address: vip}, true})
			}
		}
	}
}

func push(queue *[]frame, waiting map[frame]bool, f frame) {
	if !waiting[f] {
		waiting[f] = true
		*queue = append(*queue, f)
	}
}

// next takes out the frames to send now: those of one link and one form. The
// caller sends them and calls done.
func (p *pacer) next(now vrrp.Time) []frame {
	var batch []frame
	switch {
	case len(p.first) > 0:
		p.from = &p.firstBucket
		batch = take(&p.first, p.waitingFirst, p.from, now)
		if len(batch) > 0 {
			p.sent = now
		}
	case len(p.later) > 0 && now.Sub(p.sent) >= quietTime:
		p.from = &p.laterBucket
		batch = take(&p.later, p.waitingLater, p.from, now)
	}
	p.taken = len(batch)
	return batch
}

// done records that the frames of the last next were sent at now, which may be
// late on a busy node: the rate is that of the frames on the wire, and not of the
// calls of next.
func (p *pacer) done(now vrrp.Time) {
	if p.taken == 0 {
		return
	}
	p.from.sent(p.taken, now)
	if p.from == &p.firstBucket {
		p.sent = now
	}
	p.taken = 0
}

func take(queue *[]frame, waiting map[frame]bool, b *bucket, now vrrp.Time) []frame {
	all := *queue
	n := 0
	for most := min(b.available(now), len(all)); n < most && all[n].Link == all[0].Link && all[n].reply == all[0].reply; n++ {
		delete(waiting, all[n])
	}
	b.take(n, now)
	*queue = all[n:]
	return all[:n]
}

// deadline returns the time at which next returns a frame; never if none waits.
func (p *pacer) deadline(now vrrp.Time) vrrp.Time {
	switch {
	case len(p.first) > 0:
		return p.firstBucket.deadline(now)
	case len(p.later) > 0:
		return max(p.laterBucket.deadline(now), p.sent.Add(quietTime))
	default:
		return never
	}
}

// drop forgets what waits for a link.
func (p *pacer) drop(link int) {
	p.first, p.later = withoutLink(p.first, p.waitingFirst, link), withoutLink(p.later, p.waitingLater, link)
}

func withoutLink(queue []frame, waiting map[frame]bool, link int) []frame {
	maps.DeleteFunc(waiting, func(f frame, _ bool) bool { return f.Link == link })
	return slices.DeleteFunc(queue, func(f frame) bool { return f.Link == link })
}

// bucket gives out burst tokens at once, and then one every pause.
type bucket struct {
	pause time.Duration
	burst int
	// full is the time at which it has all of its tokens again.
	full vrrp.Time
}

func (b *bucket) available(now vrrp.Time) int {
	missing := max(0, b.full.Sub(now))
	return b.burst - int((missing+b.pause-1)/b.pause)
}

func (b *bucket) take(n int, now vrrp.Time) {
	b.full = max(b.full, now).Add(time.Duration(n) * b.pause)
}

// sent records that the n tokens taken last were used at now.
func (b *bucket) sent(n int, now vrrp.Time) {
	b.full = max(b.full, now.Add(time.Duration(n)*b.pause))
}

// deadline returns now if there is a token, and else the time at which as many have
// come as do in a paceStep.
func (b *bucket) deadline(now vrrp.Time) vrrp.Time {
	if b.available(now) > 0 {
		return now
	}
	return now.Add(paceStep)
}
