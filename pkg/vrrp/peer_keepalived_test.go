package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// keepalived is keepalived 2.2.7 with its default settings. It discards an
// advertisement with another address list or, in version 2, another interval or
// password; knows only the checksum with the pseudo-header in version 3; takes
// an interval of 0 and a source of 0.0.0.0; answers a Master of lower priority
// and announces then; but does not announce when it merely stayed Master.
type keepalived struct {
	c    Config
	now  State
	down Time // ms_down_timer or the advertisement timer
	// masterInterval is master_adver_int; keepalived reckons in microseconds.
	masterInterval time.Duration
	// garps is when the second batch of announcements is due.
	garps Time
}

const (
	keepalivedGarps      = 5
	keepalivedGarpsDelay = 5 * time.Second
)

func (k *keepalived) state() State { return k.now }

func (k *keepalived) skew(interval time.Duration) time.Duration {
	if k.c.Version == V2 {
		interval = time.Second
	}
	return (256 - time.Duration(k.c.Priority)) * (interval / time.Microsecond) / 256 * time.Microsecond
}

func (k *keepalived) masterDown(interval time.Duration) time.Duration {
	return 3*interval + k.skew(interval)
}

func (k *keepalived) deadline() Time {
	switch k.now {
	case Initialize:
		return never
	case Backup:
		return k.down
	default:
		return min(k.down, k.garps)
	}
}

func (k *keepalived) startup(now Time) actions {
	k.now, k.masterInterval, k.garps = Backup, k.c.AdvertisementInterval, never
	k.down = now.Add(k.masterDown(k.masterInterval))
	return actions{event: "startup"}
}

// shutdown sends priority 0 first and then removes its addresses.
func (k *keepalived) shutdown(Time) actions {
	was := k.now
	k.now = Initialize
	if was == Master {
		return actions{send: []uint8{0}, event: "shutdown"}
	}
	return actions{event: "shutdown"}
}

func (k *keepalived) expire(now Time) actions {
	switch {
	case k.now == Backup && now >= k.down:
		k.now = Master
		k.down, k.garps = now.Add(k.c.AdvertisementInterval), now.Add(keepalivedGarpsDelay)
		return actions{send: []uint8{k.c.Priority}, announce: keepalivedGarps, event: "master"}
	case k.now == Master && now >= k.down:
		k.down = now.Add(k.c.AdvertisementInterval)
		return actions{send: []uint8{k.c.Priority}}
	case k.now == Master && now >= k.garps:
		k.garps = never
		return actions{announce: keepalivedGarps}
	}
	return actions{}
}

func (k *keepalived) receive(now Time, packet []byte) actions {
	source, destination, m := readMessage(packet)
	if m.vrid != k.c.VRID || k.now == Initialize {
		return actions{}
	}
	if why := k.check(source, destination, m); why != "" {
		return actions{dropped: why}
	}
	interval := k.masterInterval
	if k.c.Version == V3 {
		interval = time.Duration(m.interval&0xfff) * 10 * ms
	}
	if k.now == Backup {
		switch {
		case m.priority == 0:
			k.down = now.Add(k.skew(k.masterInterval))
		case !k.c.Preempt || m.priority >= k.c.Priority:
			k.masterInterval = interval
			k.down = now.Add(k.masterDown(interval))
		}
		return actions{}
	}
	higher := source.Compare(k.c.Source)
	switch {
	case m.priority == 0:
		return actions{send: []uint8{k.c.Priority}}
	case m.priority < k.c.Priority || m.priority == k.c.Priority && higher < 0:
		// "forcing new election"
		k.garps = now.Add(keepalivedGarpsDelay)
		return actions{send: []uint8{k.c.Priority}, announce: keepalivedGarps}
	case m.priority > k.c.Priority || higher > 0:
		k.now, k.masterInterval, k.garps = Backup, interval, never
		k.down = now.Add(k.masterDown(interval))
		return actions{event: "backup"}
	}
	return actions{}
}

// check is vrrp_check_packet. It returns the reason to drop a packet.
func (k *keepalived) check(source, destination netip.Addr, m message) string {
	multicast := destination == Group(k.c.Family)
	switch {
	case !m.exact:
		return "packet length"
	case m.version != uint8(k.c.Version):
		return "version"
	case k.c.Version == V2 && m.authentication != authenticationOf(k.c):
		return "authentication type"
	case k.c.Version == V2 && m.authentication == 1 && m.data != k.c.Password:
		return "password"
	case k.c.Version == V2 && m.interval != int(k.c.AdvertisementInterval/time.Second):
		return "advertisement interval"
	case m.kind != 1:
		return "type"
	case m.count != len(k.c.Addresses):
		return "unexpected ip number count"
	case !m.right:
		return "checksum"
	case multicast == k.c.Unicast:
		return "destination"
	}
	for _, a := range m.addresses {
		if !slices.Contains(k.c.Addresses, a) {
			return "address not present"
		}
	}
	if k.c.Unicast && !slices.Contains(k.c.Peers, source) {
		return "unicast source"
	}
	return ""
}

func authenticationOf(c Config) uint8 {
	if c.Password != (Password{}) {
		return 1
	}
	return 0
}
