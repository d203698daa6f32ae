package vrrp

import "time"

// frr is FRR 8.4's vrrpd. It reckons in whole centiseconds of 16 bits, so that
// at short intervals every priority has the same Skew_Time; does not mask the
// reserved bits above the interval; takes any address list; says nothing to a
// Master of lower priority; and announces once, when it becomes Master.
type frr struct {
	c    Config
	now  State
	down Time
	// masterInterval, skewTime and downInterval are centiseconds.
	masterInterval, skewTime, downInterval uint16
}

func (f *frr) state() State { return f.now }

func (f *frr) skew(interval time.Duration) time.Duration {
	_, skew := f.timers(uint16(interval / (10 * ms)))
	return time.Duration(skew) * 10 * ms
}

func (f *frr) masterDown(interval time.Duration) time.Duration {
	down, _ := f.timers(uint16(interval / (10 * ms)))
	return time.Duration(down) * 10 * ms
}

// timers is vrrp_recalculate_timers.
func (f *frr) timers(interval uint16) (down, skew uint16) {
	scale := interval
	if f.c.Version == V2 {
		scale = 100
	}
	skew = uint16((256 - int(f.c.Priority)) * int(scale) / 256)
	return 3*interval + skew, skew
}

func (f *frr) learn(interval uint16) {
	f.masterInterval = interval
	f.downInterval, f.skewTime = f.timers(interval)
}

func (f *frr) after(now Time, cs uint16) Time { return now.Add(time.Duration(cs) * 10 * ms) }

func (f *frr) interval() uint16 { return uint16(f.c.AdvertisementInterval / (10 * ms)) }

func (f *frr) deadline() Time {
	if f.now == Initialize {
		return never
	}
	return f.down
}

func (f *frr) startup(now Time) actions {
	f.now = Backup
	f.learn(f.interval())
	f.down = f.after(now, f.downInterval)
	return actions{event: "startup"}
}

func (f *frr) shutdown(Time) actions {
	was := f.now
	f.now = Initialize
	if was == Master {
		return actions{send: []uint8{0}, event: "shutdown"}
	}
	return actions{event: "shutdown"}
}

func (f *frr) expire(now Time) actions {
	switch {
	case f.now == Backup && now >= f.down:
		f.now, f.down = Master, f.after(now, f.interval())
		return actions{send: []uint8{f.c.Priority}, announce: 1, event: "master"}
	case f.now == Master && now >= f.down:
		f.down = f.after(now, f.interval())
		return actions{send: []uint8{f.c.Priority}}
	}
	return actions{}
}

func (f *frr) receive(now Time, packet []byte) actions {
	source, destination, m := readMessage(packet)
	if m.vrid != f.c.VRID || f.now == Initialize {
		return actions{}
	}
	switch {
	case !m.exact || m.count == 0:
		return actions{dropped: "packet length"}
	case m.version != uint8(f.c.Version):
		return actions{dropped: "version"}
	case m.kind != 1:
		return actions{dropped: "type"}
	case !m.right:
		return actions{dropped: "checksum"}
	case m.authentication != 0:
		return actions{dropped: "authentication type"}
	case f.c.Version == V2 && m.interval*100 != int(f.interval()):
		return actions{dropped: "advertisement interval"}
	case destination != Group(f.c.Family):
		return actions{dropped: "destination"}
	}
	interval := uint16(m.interval)
	if f.c.Version == V2 {
		interval = f.interval()
	}
	if f.now == Backup {
		switch {
		case m.priority == 0:
			f.down = f.after(now, f.skewTime)
		case !f.c.Preempt || m.priority >= f.c.Priority:
			f.learn(interval)
			f.down = f.after(now, f.downInterval)
		}
		return actions{}
	}
	switch {
	case m.priority == 0:
		f.down = f.after(now, f.interval())
		return actions{send: []uint8{f.c.Priority}}
	case m.priority > f.c.Priority || m.priority == f.c.Priority && source.Compare(f.c.Source) > 0:
		f.now = Backup
		f.learn(interval)
		f.down = f.after(now, f.downInterval)
		return actions{event: "backup"}
	}
	return actions{}
}
