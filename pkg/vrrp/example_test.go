package vrrp_test

import (
	"fmt"
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// packet is an IP packet in the socket's receive queue.
type packet struct {
	arrived vrrp.Time // the kernel's timestamp
	octets  []byte
}

// daemon is a caller with one virtual router. A real one has a map of them by
// family and VRID.
type daemon struct {
	config vrrp.Config
	router *vrrp.Router
	advert vrrp.Advertisement // reused by Parse
	// discarded counts the packets that belong to no virtual router.
	discarded map[vrrp.Discard]int
}

// iterate is one iteration of the loop. It processes the received packets BEFORE
// the timers: otherwise a Backup would take over from a Master whose advertisement
// waits in the socket.
func (d *daemon) iterate(now vrrp.Time, received []packet) {
	for _, p := range received {
		d.receive(now, p)
	}
	if deadline, running := d.router.Deadline(); running && now >= deadline {
		d.carryOut(now, d.router.Stalled(now, now.Sub(deadline)))
		d.carryOut(now, d.router.Expire(now))
	}
}

// receive finds the virtual router of a packet by its VRID before anything else is
// checked, so that packets of other virtual routers cost little.
func (d *daemon) receive(now vrrp.Time, p packet) {
	h, payload, discard := vrrp.ParseIP(p.octets)
	if discard != vrrp.DiscardNone {
		d.discarded[discard]++
		return
	}
	vrid, ok := vrrp.PeekVRID(payload)
	if !ok {
		d.discarded[vrrp.DiscardPacketLength]++
		return
	}
	if vrid != d.config.VRID || vrrp.FamilyOf(h.Source) != d.config.Family {
		d.discarded[vrrp.DiscardVRID]++
		return
	}
	form, discard := vrrp.Parse(h, payload, &d.advert)
	if discard != vrrp.DiscardNone {
		d.router.Discard(now, h, discard)
		return
	}
	d.router.CountChecksum(form)
	d.carryOut(now, d.router.Receive(now, p.arrived, h, &d.advert))
}

// carryOut carries out an Output in the order of its fields.
func (d *daemon) carryOut(now vrrp.Time, out vrrp.Output) {
	if out.Send != nil {
		d.send(now, out.Send)
	}
	if t := out.Transition; t != nil {
		logf(now, "%v to %v: %s", t.From, t.To, t.Reason)
		if t.To == vrrp.Master {
			logf(now, "add and announce %v", d.config.Addresses)
		}
		if t.From == vrrp.Master {
			logf(now, "remove %v", d.config.Addresses)
		}
	}
	if out.Announce {
		logf(now, "announce %v again", d.config.Addresses)
	}
}

func (d *daemon) send(now vrrp.Time, a *vrrp.Advertisement) {
	message := a.Append(nil, d.config.Source, vrrp.GroupIPv4)
	logf(now, "send %d octets, priority %d", len(message), a.Priority)
}

func logf(now vrrp.Time, format string, args ...any) {
	fmt.Printf("%v: %s\n", now.Sub(0), fmt.Sprintf(format, args...))
}

// The loop of a caller: packets in, deadlines, Outputs carried out. A Backup hears
// two advertisements, then no more, and becomes Master; at the end it resigns.
func Example() {
	c := vrrp.Config{
		Settings:  vrrp.Settings{Version: vrrp.V3, Priority: 100, AdvertisementInterval: 100 * time.Millisecond, Preempt: true},
		Family:    vrrp.IPv4,
		VRID:      50,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.50")},
		Source:    netip.MustParseAddr("192.0.2.5"),
	}
	d := &daemon{config: c, router: vrrp.NewRouter(c), discarded: map[vrrp.Discard]int{}}

	// A real caller sleeps in poll until a packet arrives or the deadline comes.
	// Here a virtual clock jumps to the earlier of the two.
	at := func(ms int) vrrp.Time { return vrrp.Time(0).Add(time.Duration(ms) * time.Millisecond) }
	socket := []packet{{at(50), advertisement(200)}, {at(150), advertisement(200)}, {at(600), advertisement(90)}}
	now, end := at(0), at(700)
	d.carryOut(now, d.router.Startup(now))
	for now < end {
		wake := end
		if deadline, running := d.router.Deadline(); running {
			wake = min(wake, deadline)
		}
		var received []packet
		if len(socket) > 0 && socket[0].arrived <= wake {
			received, socket = socket[:1], socket[1:]
			wake = received[0].arrived
		}
		now = wake
		d.iterate(now, received)
	}
	// After Shutdown the addresses are removed BEFORE the resignation is sent.
	out := d.router.Shutdown(now)
	logf(now, "remove %v", c.Addresses)
	d.send(now, out.Send)

	// Output:
	// 0s: Initialize to Backup: startup
	// 510.9375ms: send 12 octets, priority 100
	// 510.9375ms: Backup to Master: masterDown
	// 510.9375ms: add and announce [192.0.2.50]
	// 600ms: send 12 octets, priority 100
	// 600ms: announce [192.0.2.50] again
	// 610.9375ms: send 12 octets, priority 100
	// 700ms: remove [192.0.2.50]
	// 700ms: send 12 octets, priority 0
}

// advertisement returns the IP packet of another router's advertisement.
func advertisement(priority uint8) []byte {
	source := netip.MustParseAddr("192.0.2.9")
	a := vrrp.Advertisement{
		Version: vrrp.V3, VRID: 50, Priority: priority, Interval: 100 * time.Millisecond,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.50")},
	}
	const headerLength = 20
	p := make([]byte, headerLength, 64)
	from, to := source.As4(), vrrp.GroupIPv4.As4()
	p[0], p[8], p[9] = 0x45, vrrp.TTL, vrrp.Protocol
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	p = a.Append(p, source, vrrp.GroupIPv4)
	p[3] = byte(len(p))
	return p
}
