package vrrp

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Bugs that other implementations have or had, one test each. The comment describes the
// bug, the test the correct behaviour.

func ipv6(c *Config) {
	c.Family, c.Source, c.Addresses = IPv6, linkLocal(4), addrs("fe80::50", "2001:db8::50")
}

// packetFrom returns the packet of another router with the same configuration, written
// by the code of the models.
func (b *routerTest) packetFrom(source netip.Addr, priority uint8, changes ...func(c *Config)) []byte {
	c := b.c
	c.Source = source
	for _, change := range changes {
		change(&c)
	}
	return writeMessage(c, priority, Group(c.Family))
}

// checkAccepted delivers a packet that must be accepted, and checks the Output.
func (b *routerTest) checkAccepted(p []byte, wants ...want) {
	b.t.Helper()
	out, d := b.deliver(p)
	b.checkOutput(out, wants...)
	if d != DiscardNone {
		b.t.Errorf("discarded %v", d)
	}
}

// checkDiscarded delivers a packet that must be discarded.
func (b *routerTest) checkDiscarded(p []byte, want Discard) {
	b.t.Helper()
	left := b.r.deadline.Sub(b.now)
	out, d := b.deliver(p)
	b.checkOutput(out)
	b.checkDeadline(left)
	if d != want {
		b.t.Errorf("discarded %v, want %v", d, want)
	}
}

// govrrp and VRRP-go select on the packets and on Master_Down_Timer, and Go chooses at
// random when both are ready: a stalled Backup takes over from a Master whose
// advertisements wait in its socket.
func TestRegressionSelectBetweenSocketAndTimer(t *testing.T) {
	t.Parallel()
	for d := 50 * ms; d < 2*time.Second; d += 37 * ms {
		s, master, backup := pair(t, interval(10*ms))
		backup.suspend(d, false)
		s.run(d + time.Second)
		if backup.router.Status().Counters.MasterTransitions != 0 || s.masters()[0] != master {
			s.failf("took over after standing still for %v", d)
		}
	}
}

// govrrp takes its own advertisements, looped back, for another router's.
func TestRegressionHearsItself(t *testing.T) {
	t.Parallel()
	for _, family := range []func(*Config){func(*Config) {}, ipv6} {
		for _, p := range []uint8{0, 1, 100, 255} {
			b := master(t, family)
			b.checkDiscarded(b.packetFrom(b.c.Source, p), DiscardOwnSource)
			b.checkState(Master)
		}
	}
}

// govrrp swaps source and destination over IPv6, so that among equal priorities
// it compares the group's address with its own, and always yields.
func TestKnownBugTieBreakComparesTheGroup(t *testing.T) {
	t.Parallel()
	b := master(t, ipv6)
	b.checkAccepted(b.packetFrom(linkLocal(3), 100), sends(100), announces())
	b.checkState(Master)
	b.checkAccepted(b.packetFrom(linkLocal(5), 100), sends(100), transition(Master, Backup, ReasonHigherPriority))
}

// govrrp decodes its whole buffer, with the rest of a longer packet before.
func TestRegressionStaleBytesOfTheLastPacket(t *testing.T) {
	t.Parallel()
	b := backup(t)
	buffer := make([]byte, 1500)
	var a Advertisement
	for _, list := range [][]netip.Addr{addrs("192.0.2.1", "192.0.2.2", "192.0.2.3"), addrs("192.0.2.4")} {
		n := copy(buffer, b.packetFrom(hostAddr(9), 200, func(c *Config) { c.Addresses = list }))
		// Ethernet's padding is the rest of an older packet.
		h, payload, d := ParseIP(buffer[:max(n, 46)])
		if d == DiscardNone {
			_, d = Parse(h, payload, &a)
		}
		if d != DiscardNone || !slices.Equal(a.Addresses, list) {
			t.Errorf("discarded %v, addresses %v, want %v", d, a.Addresses, list)
		}
	}
}

// govrrp's Master ignores another Master's resignation, on which Backups have
// begun to wait for Skew_Time.
func TestKnownBugMasterIgnoresResignation(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.pass(50 * ms)
	b.checkAccepted(b.packetFrom(hostAddr(9), 0), sends(100), announces())
}

// govrrp advertises its addresses in the order of a Go map, another in each
// packet.
func TestKnownBugAddressesInRandomOrder(t *testing.T) {
	t.Parallel()
	var list []netip.Addr
	for i := range 100 {
		list = append(list, netip.AddrFrom4([4]byte{198, 51, 100, byte(7 * i)}))
	}
	b := master(t, func(c *Config) { c.Addresses = list })
	for range 3 {
		b.untilTimer()
		_, _, m := readMessage(ipPacket(b.c.Source, GroupIPv4, b.r.Expire(b.now).Send.Append(nil, b.c.Source, GroupIPv4)))
		if !slices.Equal(m.addresses, list) {
			t.Fatalf("sent %v", m.addresses)
		}
	}
}

// govrrp does not check the type.
func TestRegressionTypeUnchecked(t *testing.T) {
	t.Parallel()
	b := backup(t, vectorConfig)
	b.checkDiscarded(ipv4Packet(octets("3235c802000ade51c0000235c0000299")), DiscardType)
}

// govrrp's Backup compares addresses as a Master does, and takes over from a
// Master of the same priority whose address is lower.
func TestKnownBugBackupComparesAddresses(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.pass(300 * ms)
	b.checkAccepted(b.packetFrom(hostAddr(1), 100))
	b.checkDeadline(360937500)
}

// FRR 8.4 and govrrp compute Skew_Time in whole centiseconds, so that at an interval
// of 10 ms all Backups become Master together.
func TestRegressionSkewInCentiseconds(t *testing.T) {
	t.Parallel()
	old := frr{c: Config{Settings: Settings{Version: V3}}}
	for p := uint8(1); p < MaxPriority; p++ {
		c := Config{Settings: Settings{Version: V3, Priority: p}}
		next := Config{Settings: Settings{Version: V3, Priority: p + 1}}
		if got := c.SkewTime(10*ms) - next.SkewTime(10*ms); got < 39*time.Microsecond {
			t.Errorf("priorities %d and %d are %v apart", p, p+1, got)
		}
		if old.c.Priority = p; old.skew(10*ms) != 0 {
			t.Errorf("the model of FRR has Skew_Time %v", old.skew(10*ms))
		}
	}
}

// FRR 8.4 does not mask the reserved bits beside the interval, and learned
// 61450 centiseconds from 10.
func TestKnownBugReservedBitsInTheInterval(t *testing.T) {
	t.Parallel()
	b := backup(t, vectorConfig)
	b.checkAccepted(ipv4Packet(octets("3135c802f00aef50c0000235c0000299")))
	if got := b.r.Status().MasterAdverInterval; got != 100*ms {
		t.Errorf("learned %v, want 100ms", got)
	}
}

// keepalived 2.2.7 and FRR 8.4 learn an interval of 0, and take over at once.
func TestKnownBugIntervalZero(t *testing.T) {
	t.Parallel()
	zero := octets("3135c8020000df5bc0000235c0000299")
	b := backup(t, vectorConfig)
	b.checkDiscarded(ipv4Packet(zero), DiscardAdvertisementInterval)
	b = master(t, vectorConfig)
	b.checkDiscarded(ipv4Packet(zero), DiscardAdvertisementInterval)
}

// FRR 8.4 keeps Master_Down_Interval in 16 bits of centiseconds, which 3 x
// 21846 overflow.
func TestKnownBugMasterDownIntervalOverflows(t *testing.T) {
	t.Parallel()
	c := Config{Settings: Settings{Version: V3, Priority: 1, AdvertisementInterval: 40950 * ms, DownAdverts: MaxDownAdverts}}
	if got := c.MasterDownInterval(c.AdvertisementInterval); got < 100*40950*ms {
		t.Errorf("Master_Down_Interval %v", got)
	}
	old := frr{c: Config{Settings: Settings{Version: V3, Priority: 1}}}
	if down, _ := old.timers(61450); down >= 3*21845 {
		t.Errorf("the model of FRR waits for %d cs", down)
	}
}

// ze discards IPv6 advertisements whose first address is not link-local, and so
// cannot work with FRR 8.4, which sends such.
func TestKnownBugFirstAddressNotLinkLocal(t *testing.T) {
	t.Parallel()
	b := backup(t, ipv6)
	b.pass(100 * ms)
	b.checkAccepted(b.packetFrom(linkLocal(8), 200, func(c *Config) { c.Addresses = addrs("2001:db8::50") }))
	b.checkDeadline(360937500)
}

// FRR 8.4 announces once, when it becomes Master, so that the LAN's hosts keep using a
// router that announced after that.
func TestRegressionAnnouncesOnce(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.checkAccepted(b.packetFrom(hostAddr(9), 99), sends(100), announces())
	b.checkAccepted(b.packetFrom(hostAddr(9), 99), announces())
}

// keepalived 2.2.7 discards an advertisement with another address list, and becomes
// Master beside its sender. We accept any list, and send such a peer its own.
func TestRegressionAddressListMismatch(t *testing.T) {
	t.Parallel()
	for _, priorities := range [][2]uint8{{200, 100}, {100, 200}} {
		s := newSegment(t, 1)
		c := testConfig()
		c.Priority, c.Source = priorities[0], hostSource(0)
		s.add(c).start()
		s.run(5 * time.Second)
		c.Priority, c.Source, c.Addresses = priorities[1], hostSource(1), c.Addresses[:1]
		old := s.addPeer(c, newKeepalived)
		old.start()
		s.run(5 * time.Second)
		drops := s.drops
		s.run(20 * time.Second)
		if masters := s.masters(); len(masters) != 1 || masters[0].config.Priority != 200 || s.drops > drops {
			s.failf("%d Masters, %d packets dropped by keepalived", len(masters), s.drops-drops)
		}
	}
}

// keepalived 2.2.7 and FRR 8.4 yield to the source 0.0.0.0.
func TestRegressionSourceUnspecified(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.checkDiscarded(b.packetFrom(netip.AddrFrom4([4]byte{}), 255), DiscardSource)
	b = master(t, ipv6)
	b.checkDiscarded(b.packetFrom(netip.IPv6Unspecified(), 255), DiscardSource)
}

// keepalived 2.2.7 stops reading its socket at a short packet, and the packets after it
// wait for the next. Here a short packet is only counted.
func TestRegressionShortPacketEndsTheLoop(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.pass(300 * ms)
	for n := range 8 {
		b.checkDiscarded(ipPacket(hostAddr(9), GroupIPv4, b.packetFrom(hostAddr(9), 200)[20:20+n]), DiscardPacketLength)
	}
	b.checkAccepted(b.packetFrom(hostAddr(9), 200))
	b.checkDeadline(360937500)
}

// keepalived 2.2.7 finds the password of a version 2 packet by a length that it
// has not checked, beyond the packet's end.
func TestKnownBugPasswordBeyondTheEnd(t *testing.T) {
	t.Parallel()
	b := backup(t, version2, func(c *Config) { c.Password = password("secret12") })
	good := b.packetFrom(hostAddr(9), 200)
	b.checkAccepted(good)
	for cut := 1; cut <= len(good)-20; cut++ {
		p := slices.Clone(good[:len(good)-cut])
		p[3] = byte(len(p))
		b.checkDiscarded(p, DiscardPacketLength)
	}
}

// keepalived before 2.3 writes an interval of 40.958 s as 0.
func TestKnownBugLongestIntervalBecomesZero(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{40950 * ms, 40958 * ms, 40960 * ms, time.Hour} {
		a := Advertisement{Version: V3, VRID: 50, Priority: 100, Interval: d, Addresses: testConfig().Addresses}
		_, _, m := readMessage(ipPacket(hostAddr(9), GroupIPv4, a.Append(nil, hostAddr(9), GroupIPv4)))
		if m.interval != 4095 || !m.right {
			t.Errorf("%v is sent as %d cs, want 4095", d, m.interval)
		}
	}
}

// keepalived 2.2.7 switches to the checksum form that it received last, so that a single
// packet makes others discard its own.
func TestRegressionChecksumFollowsTheLastPeer(t *testing.T) {
	t.Parallel()
	b := master(t, vectorConfig)
	b.checkAccepted(ipv4Packet(octets("3135c802000a81eec0000235c0000299")), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.untilTimer()
	out := b.r.Expire(b.now)
	if _, _, m := readMessage(ipPacket(b.c.Source, GroupIPv4, out.Send.Append(nil, b.c.Source, GroupIPv4))); !m.right {
		t.Error("our checksum is another after one packet")
	}
}

// keepalived 2.2.7 with priority 255 skips the wait after the start.
func TestRegressionOwnerSkipsTheWait(t *testing.T) {
	t.Parallel()
	for _, p := range []uint8{PriorityResign, PriorityOwner} {
		c := testConfig()
		c.Priority = p
		if c.Validate() == nil {
			t.Errorf("priority %d is taken", p)
		}
	}
	b := backup(t, priority(254))
	b.checkDeadline(300781250)
}

// rVRRPd checks a flag once per Master_Down_Interval, and so detects a crash after one
// to two of them, depending on the phase.
func TestRegressionDetectionByPolling(t *testing.T) {
	t.Parallel()
	for phase := time.Duration(0); phase < 400*ms; phase += 7 * ms {
		s, master, backup := pair(t)
		s.run(phase)
		master.crash()
		crashed := s.now
		s.runUntil(crashed.Add(time.Second), func() bool { return backup.state() == Master })
		limit := backup.config.MasterDownInterval(100*ms) + s.maxDelay + s.maxLate
		if got := s.now.Sub(crashed); got > limit {
			s.failf("phase %v: noticed after %v, want at most %v", phase, got, limit)
		}
	}
}

// holo strips 20 octets whatever the IPv4 header's length is.
func TestKnownBugHeaderWithOptions(t *testing.T) {
	t.Parallel()
	b := backup(t, vectorConfig)
	b.checkAccepted(ipv4Packet(octets(base), 0x94, 4, 0, 0))
}

// holo sends an advertisement that was encoded before the configuration
// changed.
func TestKnownBugAdvertisementOfAnOldConfig(t *testing.T) {
	t.Parallel()
	b := master(t)
	b.c.Priority, b.c.AdvertisementInterval, b.c.Addresses = 77, 200*ms, addrs("192.0.2.99")
	b.checkOutput(b.r.SetConfig(b.now, b.c), sends(77))
	for range 2 {
		b.pass(200 * ms)
		b.checkOutput(b.r.Expire(b.now), sends(77))
	}
}

// holo panics when a timer fires in a state that it was not started in.
func TestKnownBugStaleTimer(t *testing.T) {
	t.Parallel()
	// Adver_Timer's deadline in Backup, and either deadline after Shutdown.
	b := master(t)
	due := b.r.deadline
	b.checkAccepted(b.packetFrom(hostAddr(9), 200), sends(100), transition(Master, Backup, ReasonHigherPriority))
	b.checkOutput(b.r.Expire(due))
	b.checkState(Backup)
	due = b.r.deadline
	b.checkOutput(b.r.Shutdown(b.now), transition(Backup, Initialize, ReasonShutdown))
	b.checkOutput(b.r.Expire(due))
	b.checkState(Initialize)
	b.checkOutput(b.r.Startup(due), transition(Initialize, Backup, ReasonStartup))
	b.checkOutput(b.r.Expire(due))
	b.checkState(Backup)
}

// ze counts silence while it could not listen: a Backup whose machine was suspended
// takes over from a Master that was up all the time.
func TestRegressionSuspendedBackupTakesOver(t *testing.T) {
	t.Parallel()
	for d := 300 * ms; d < 3*time.Second; d += 91 * ms {
		s, master, backup := pair(t)
		backup.suspend(d, true)
		s.run(d + time.Second)
		if backup.router.Status().Counters.MasterTransitions != 0 || s.masters()[0] != master {
			s.failf("took over after being suspended for %v", d)
		}
	}
}

// keepalived announces nothing when it stayed Master through a partition, so that the
// other side's hosts send to a router that no longer has the addresses.
func TestRegressionPartitionHealsSilently(t *testing.T) {
	t.Parallel()
	for phase := time.Duration(0); phase < 100*ms; phase += 7 * ms {
		// keepalived stays Master, and our last advertisement makes it announce.
		s := newSegment(t, 1)
		c := testConfig()
		c.Priority, c.Source = 200, hostSource(0)
		old := s.addPeer(c, newKeepalived)
		c.Priority, c.Source = 100, hostSource(1)
		ours := s.add(c)
		old.start()
		ours.start()
		s.run(10 * time.Second)
		s.cut(func(h *host) int { return h.index })
		s.run(time.Second + phase)
		if ours.cache != ours || old.cache != old {
			s.failf("want a Master on each side")
		}
		s.heal()
		s.run(150 * ms)
		if m := s.masters(); len(m) != 1 || m[0] != old || ours.cache != old {
			s.failf("the client of our side was told nothing")
		}
	}
}
