package vrrp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// These tests go through the checks of a received packet, row by row in their order:
// RFC 9568 section 7.1 and, for version 2, RFC 3768 section 7.1 and RFC 2338 section
// 7.1, each after a summary of it. A test notes if its row is in none of them. The
// counters are named after RFC 6527 and RFC 2787.
//
// Package lan makes the checks that need a socket: row 1, that the packet arrived at
// the router's interface, and of row 2, that the kernel did not truncate it.

// validationConfigs are a virtual router of each kind.
func validationConfigs() map[string]Config {
	ipv4 := testConfig()
	v2 := testConfig()
	version2(&v2)
	pass := v2
	pass.Password = password("secret12")
	ipv6 := testConfig()
	ipv6.Family, ipv6.Source, ipv6.Addresses = IPv6, addr("fe80::5"), addrs("fe80::50", "2001:db8::50")
	unicast := func(c Config, peers ...string) Config {
		c.Unicast, c.Peers = true, addrs(peers...)
		return c
	}
	routed := ipv6
	routed.Source = addr("2001:db8::5")
	return map[string]Config{
		"V2": v2, "V2 password": pass, "V2 unicast": unicast(pass, "192.0.2.7", "192.0.2.9"),
		"IPv4": ipv4, "IPv4 unicast": unicast(ipv4, "192.0.2.9", "192.0.2.7"),
		"IPv6": ipv6, "IPv6 unicast": unicast(ipv6, "fe80::9"), "IPv6 global unicast": unicast(routed, "2001:db8::9"),
	}
}

// testPacket is a packet on its way to a virtual router. Its checksum is right.
type testPacket struct {
	Header
	Advertisement
	// message changes the message before its checksum is computed.
	message func(m []byte) []byte
}

// packetTo returns a packet that the virtual router of c accepts: from its peer,
// with priority 200.
func packetTo(c Config) testPacket {
	p := testPacket{
		Header: Header{Source: addr("192.0.2.9"), Destination: Group(c.Family), TTL: TTL},
		Advertisement: Advertisement{
			Version: c.Version, VRID: c.VRID, Priority: 200, Interval: c.AdvertisementInterval,
			Addresses: c.Addresses, Authentication: c.authentication(), Password: c.Password,
		},
	}
	if c.Family == IPv6 {
		p.Source = addr("fe80::9")
	}
	if c.Unicast {
		p.Source, p.Destination = c.Peers[len(c.Peers)-1], c.Source
		if c.Peers[0] == addr("192.0.2.9") {
			p.Source = c.Peers[0]
		}
	}
	return p
}

func (p testPacket) octets() []byte {
	m := p.Append(nil, p.Source, p.Destination)
	if p.message == nil {
		return packetFor(p.Header, m)
	}
	m = p.message(m)
	if len(m) >= fixedLength {
		var pseudo uint32
		if p.Version == V3 {
			pseudo = pseudoHeader(len(m), p.Source, p.Destination)
		}
		m[6], m[7] = 0, 0
		binary.BigEndian.PutUint16(m[6:], checksum(m, pseudo))
	}
	return packetFor(p.Header, m)
}

// setOctet changes one octet of a message.
func setOctet(offset int, value byte) func(m []byte) []byte {
	return func(m []byte) []byte {
		m[offset] = value
		return m
	}
}

// checkIgnored checks that a packet changes neither the state nor the timer of a
// Backup and a Master of c. counted reports whether the router counts the packet.
func checkIgnored(t *testing.T, what string, c Config, p []byte, want Discard, counted bool) {
	t.Helper()
	set := func(to *Config) { *to = c }
	for _, b := range []*routerTest{backup(t, set), master(t, set)} {
		state := b.r.State()
		what := fmt.Sprintf("%s: %v of version %d, IPv%d", what, state, c.Version, c.Family)
		b.pass(c.AdvertisementInterval / 2)
		left := b.r.deadline.Sub(b.now)
		out, d := b.deliver(p)
		if diff := cmp.Diff(Output{}, out, cmpAddr); diff != "" {
			t.Errorf("%s: output: -want +got\n%s", what, diff)
		}
		if d != want || b.r.State() != state || b.r.deadline.Sub(b.now) != left {
			t.Errorf("%s: discarded %v, want %v; now %v, timer in %v, want %v", what, d, want, b.r.State(), b.r.deadline.Sub(b.now), left)
		}
		var counters map[string]uint64
		if counted {
			counters = map[string]uint64{want.String(): 1}
		}
		got := b.r.Status().Counters
		if diff := cmp.Diff(Counters{Discarded: counters}, Counters{
			Discarded: got.Discarded, Warnings: got.Warnings, AdvertisementsReceived: got.AdvertisementsReceived,
		}); diff != "" {
			t.Errorf("%s: counters: -want +got\n%s", what, diff)
		}
	}
}

// checkDiscarded checks that the router of c only counts a packet.
func checkDiscarded(t *testing.T, what string, c Config, p []byte, want Discard) {
	t.Helper()
	checkIgnored(t, what, c, p, want, true)
}

// checkUnmatched checks that a packet is discarded without being counted by the router.
func checkUnmatched(t *testing.T, what string, c Config, p []byte, want Discard) {
	t.Helper()
	checkIgnored(t, what, c, p, want, false)
}

// checkAccepted checks that a packet of priority 200 makes a Master yield and a Backup
// restart its timer, and which warnings the router counts.
func checkAccepted(t *testing.T, what string, c Config, p []byte, warnings ...string) {
	t.Helper()
	set := func(to *Config) { *to = c }
	for _, b := range []*routerTest{backup(t, set), master(t, set)} {
		what := fmt.Sprintf("%s: %v of version %d, IPv%d", what, b.r.State(), c.Version, c.Family)
		b.pass(c.AdvertisementInterval / 2)
		_, d := b.deliver(p)
		if d != DiscardNone || b.r.State() != Backup || b.r.lastHeard != b.now {
			t.Errorf("%s: discarded %v, then %v, heard %v ago", what, d, b.r.State(), b.now.Sub(b.r.lastHeard))
		}
		want := Counters{AdvertisementsReceived: 1}
		for _, w := range warnings {
			if want.Warnings == nil {
				want.Warnings = map[string]uint64{}
			}
			want.Warnings[w] = 1
		}
		got := b.r.Status().Counters
		if diff := cmp.Diff(want, Counters{
			Discarded: got.Discarded, Warnings: got.Warnings, AdvertisementsReceived: got.AdvertisementsReceived,
		}); diff != "" {
			t.Errorf("%s: counters: -want +got\n%s", what, diff)
		}
	}
}

// Nothing is wrong with the packets that the rows are made from.
func TestValidationGoodPackets(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		checkAccepted(t, name, c, packetTo(c).octets())
	}
}

// Row 2, RFC 791 section 3.1 and RFC 8200 section 3: the IP header is whole, and
// its lengths are right. Octets after the packet are Ethernet's padding.
func TestValidationRow02IPHeader(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		good := packetTo(c).octets()
		header, total := 20, 2
		if c.Family == IPv6 {
			header, total = 40, 4
		}
		checkUnmatched(t, name+" nothing", c, nil, DiscardPacketLength)
		checkUnmatched(t, name+" cut header", c, good[:header-1], DiscardPacketLength)
		checkUnmatched(t, name+" cut", c, good[:len(good)-1], DiscardPacketLength)
		checkAccepted(t, name+" padding", c, append(bytes.Clone(good), make([]byte, 30)...))
		long := bytes.Clone(good)
		binary.BigEndian.PutUint16(long[total:], binary.BigEndian.Uint16(long[total:])+1)
		checkUnmatched(t, name+" longer than it is", c, long, DiscardPacketLength)
		for version := range byte(16) {
			other := bytes.Clone(good)
			other[0] = version<<4 | other[0]&0x0f
			if version != 4 && version != 6 {
				checkUnmatched(t, fmt.Sprintf("%s IP version %d", name, version), c, other, DiscardPacketLength)
			}
		}
		if c.Family == IPv4 {
			for words := range byte(16) {
				other := bytes.Clone(good)
				other[0] = 0x40 | words
				if words < 5 || int(words)*4 > len(good) {
					checkUnmatched(t, fmt.Sprintf("%s header of %d words", name, words), c, other, DiscardPacketLength)
				}
			}
			p := packetTo(c)
			m := p.Append(nil, p.Source, p.Destination)
			withOptions := ipv4Packet(m, 0x94, 4, 0, 0)
			copy(withOptions[12:20], good[12:20])
			checkAccepted(t, name+" router alert", c, withOptions)
		}
		other := bytes.Clone(good)
		other[map[Family]int{IPv4: 9, IPv6: 6}[c.Family]] = 17
		checkUnmatched(t, name+" UDP", c, other, DiscardProtocol)
	}
}

// Row 3: fragments are discarded. This is in no RFC: advertisements are too
// short to be fragmented. In IPv6 they are behind an extension header.
func TestValidationRow03Fragment(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c).octets()
		if c.Family == IPv6 {
			p[6] = 44
			checkUnmatched(t, name, c, p, DiscardProtocol)
			continue
		}
		for _, flags := range []uint16{0x2000, 0x2001, 0x0001, 0x1fff} {
			binary.BigEndian.PutUint16(p[6:], flags)
			checkUnmatched(t, fmt.Sprintf("%s %#04x", name, flags), c, p, DiscardPacketLength)
		}
		binary.BigEndian.PutUint16(p[6:], 0x4000)
		checkAccepted(t, name+" don't fragment", c, p)
	}
}

// Row 4, RFC 9568 sections 5.1.1.2 and 5.1.2.2: the destination is the group.
// Unicast is in no RFC: there it is our own address.
func TestValidationRow04Destination(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		others := addrs("224.0.0.5", "255.255.255.255", "0.0.0.0", "127.0.0.1", "192.0.2.6")
		if c.Family == IPv6 {
			others = addrs("ff02::1", "ff05::12", "::", "::1", "fe80::6", "2001:db8::6", "::ffff:192.0.2.5")
		}
		if c.Unicast {
			others = append(others, Group(c.Family))
		} else {
			others = append(others, c.Source)
		}
		for _, to := range others {
			p := packetTo(c)
			p.Destination = to
			checkDiscarded(t, fmt.Sprintf("%s to %v", name, to), c, p.octets(), DiscardWrongDestination)
		}
	}
}

// Row 5, RFC 9568 sections 5.1.1.1 and 5.1.2.1: the source is the primary
// address of an interface, with IPv6 the link-local one. With unicast it may be
// any host's. That unusable sources are discarded is in no RFC: keepalived and
// FRR yield to 0.0.0.0.
func TestValidationRow05Source(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		others := addrs("0.0.0.0", "224.0.0.18", "239.1.1.1", "127.0.0.1", "255.255.255.255")
		if c.Family == IPv6 {
			others = addrs("::", "::1", "ff02::12", "ff02::1", "::ffff:192.0.2.9")
			if !c.Unicast {
				others = append(others, addrs("2001:db8::9", "fd00::9", "fec0::9")...)
			}
		}
		for _, from := range others {
			p := packetTo(c)
			p.Source = from
			checkDiscarded(t, fmt.Sprintf("%s from %v", name, from), c, p.octets(), DiscardSource)
		}
	}
}

// Row 5 as well: no other host may have our own address.
func TestValidationRow05OwnSource(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c)
		p.Source = c.Source
		checkDiscarded(t, name, c, p.octets(), DiscardOwnSource)
	}
}

// Row 6, in no RFC: with unicast only peers are accepted. With multicast any router
// on the link is.
func TestValidationRow06Peer(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c)
		p.Source = addr("192.0.2.66")
		if c.Family == IPv6 {
			p.Source = addr("fe80::66")
		}
		if c.Unicast {
			checkDiscarded(t, name, c, p.octets(), DiscardUnknownPeer)
			c.Peers = nil
			checkDiscarded(t, name+" without peers", c, p.octets(), DiscardUnknownPeer)
			continue
		}
		c.Peers = addrs("192.0.2.9")
		if c.Family == IPv6 {
			c.Peers = addrs("fe80::9")
		}
		checkAccepted(t, name, c, p.octets())
	}
}

// Row 7, RFC 9568 sections 5.1.1.3 and 5.1.2.3: the time to live, or hop limit,
// is 255. Unicast is no exception.
func TestValidationRow07TTL(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c)
		for ttl := range TTL {
			if ttl < 3 || ttl > 252 || ttl == 64 {
				p.TTL = uint8(ttl)
				checkDiscarded(t, fmt.Sprintf("%s TTL %d", name, ttl), c, p.octets(), DiscardIPTTL)
			}
		}
	}
}

// Row 8, RFC 9568 section 7.1: the message has at least its fixed part. One that
// has not has no VRID.
func TestValidationRow08FixedPart(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		for n := range fixedLength {
			p := packetTo(c)
			p.message = func(m []byte) []byte { return m[:n] }
			checkUnmatched(t, fmt.Sprintf("%s %d octets", name, n), c, p.octets(), DiscardPacketLength)
			h, payload, _ := ParseIP(p.octets())
			var a Advertisement
			if _, d := Parse(h, payload, &a); d != DiscardPacketLength {
				t.Errorf("%s %d octets: parsed, discarded %v", name, n, d)
			}
		}
	}
}

// Row 9, RFC 9568 section 7.1: the version is one that there is. Version 2 has
// no IPv6.
func TestValidationRow09Version(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		for version := range byte(16) {
			if version == 3 || version == 2 && c.Family == IPv4 {
				continue
			}
			p := packetTo(c)
			p.message = setOctet(0, version<<4|typeAdvertisement)
			checkDiscarded(t, fmt.Sprintf("%s version %d", name, version), c, p.octets(), DiscardVersion)
		}
	}
}

// Row 10, RFC 9568 section 7.1: the VRID is configured on the interface, for
// the address family.
func TestValidationRow10VRID(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		for _, vrid := range []uint8{0, 1, 49, 51, 255} {
			p := packetTo(c)
			p.VRID = vrid
			checkUnmatched(t, fmt.Sprintf("%s VRID %d", name, vrid), c, p.octets(), DiscardVRID)
			// A caller that does not look makes no difference.
			b := master(t, func(to *Config) { *to = c })
			b.checkOutput(b.r.Receive(b.now, b.now, p.Header, &p.Advertisement))
			if got := b.r.Status().Counters.Discarded[DiscardVRID.String()]; got != 1 {
				t.Errorf("%s VRID %d: counted %d", name, vrid, got)
			}
		}
		other := validationConfigs()["IPv6"]
		if c.Family == IPv6 {
			other = validationConfigs()["IPv4"]
		}
		checkUnmatched(t, name+" other family", c, packetTo(other).octets(), DiscardVRID)
		b := master(t, func(to *Config) { *to = c })
		p := packetTo(other)
		b.checkOutput(b.r.Receive(b.now, b.now, p.Header, &p.Advertisement))
		b.checkState(Master)
	}
}

// Row 11, RFC 9568 section 7.1: the version is the virtual router's.
func TestValidationRow11OtherVersion(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		if c.Family == IPv6 {
			continue // Row 9.
		}
		p := packetTo(c)
		p.Version, p.Interval = V2+V3-c.Version, time.Second
		p.Authentication, p.Password = AuthenticationNone, Password{}
		checkDiscarded(t, name, c, p.octets(), DiscardVersion)
	}
}

// Row 12, RFC 9568 section 5.2.2: a message of a type that is not known is
// discarded.
func TestValidationRow12Type(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		for kind := range byte(16) {
			if kind != typeAdvertisement {
				p := packetTo(c)
				p.message = setOctet(0, byte(c.Version)<<4|kind)
				checkDiscarded(t, fmt.Sprintf("%s type %d", name, kind), c, p.octets(), DiscardType)
			}
		}
	}
}

// Row 13, RFC 9568 section 5.2.5: there is an address; a message without any is
// ignored (erratum 8299).
func TestValidationRow13Count(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c)
		p.message = setOctet(3, 0)
		checkDiscarded(t, name+" count 0 of 2", c, p.octets(), DiscardAddressList)
		p = packetTo(c)
		p.Addresses = nil
		checkDiscarded(t, name+" no addresses", c, p.octets(), DiscardAddressList)
	}
}

// Row 14, RFC 9568 section 7.1 and RFC 3768 section 7.1: the message is as long
// as its addresses, and with version 2 its authentication data, take.
func TestValidationRow14Length(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		for what, change := range map[string]func(m []byte) []byte{
			"no addresses":            func(m []byte) []byte { return m[:fixedLength] },
			"an octet less":           func(m []byte) []byte { return m[:len(m)-1] },
			"an octet more":           func(m []byte) []byte { return append(m, 0) },
			"8 octets more":           func(m []byte) []byte { return append(m, 255, 255, 255, 255, 255, 255, 255, 255) },
			"count too high":          setOctet(3, 3),
			"count too low":           setOctet(3, 1),
			"count 255":               setOctet(3, 255),
			"without the last octets": func(m []byte) []byte { return m[:len(m)-authenticationLength] },
		} {
			p := packetTo(c)
			p.message = change
			checkDiscarded(t, name+" "+what, c, p.octets(), DiscardPacketLength)
		}
	}
}

// Row 15, RFC 9568 section 5.2.8 and RFC 3768 section 5.3.8: the checksum covers
// the message and, with version 3, a pseudo-header. Over IPv4 it may be missing.
// The last form, of old keepalived's unicast, is in no RFC.
func TestValidationRow15Checksum(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c)
		good := p.octets()
		sum := len(good) - len(p.Append(nil, p.Source, p.Destination)) + 6
		for bit := range 16 {
			bad := bytes.Clone(good)
			bad[sum+bit/8] ^= 1 << (bit % 8)
			checkDiscarded(t, fmt.Sprintf("%s bit %d", name, bit), c, bad, DiscardChecksum)
		}
		last := bytes.Clone(good)
		last[len(last)-1] ^= 1
		checkDiscarded(t, name+" last octet", c, last, DiscardChecksum)

		for form, take := range map[ChecksumForm]bool{
			ChecksumMessage:           c.Family == IPv4,
			ChecksumPseudoHeader:      c.Version == V3,
			ChecksumGroupPseudoHeader: c.Version == V3 && c.Family == IPv4 && c.Unicast,
		} {
			m := p.Append(nil, p.Source, p.Destination)
			var pseudo uint32
			switch form {
			case ChecksumPseudoHeader:
				pseudo = pseudoHeader(len(m), p.Source, p.Destination)
			case ChecksumGroupPseudoHeader:
				pseudo = pseudoHeader(len(m), p.Source, Group(c.Family))
			case ChecksumNone, ChecksumMessage, checksumForms:
			}
			m[6], m[7] = 0, 0
			binary.BigEndian.PutUint16(m[6:], checksum(m, pseudo))
			packet, what := packetFor(p.Header, m), fmt.Sprintf("%s %v", name, form)
			switch {
			case form == ChecksumGroupPseudoHeader && !c.Unicast:
				// It is the other form.
			case !take:
				checkDiscarded(t, what, c, packet, DiscardChecksum)
			default:
				checkAccepted(t, what, c, packet)
				b := backup(t, func(to *Config) { *to = c })
				b.deliver(packet)
				want := map[string]uint64{form.String(): 1}
				if diff := cmp.Diff(want, b.r.Status().Counters.Checksums); diff != "" {
					t.Errorf("%s: -want +got\n%s", what, diff)
				}
			}
		}
	}
}

// Row 16, RFC 2338 sections 5.3.6, 5.3.10 and 7.1: the authentication type is
// known and the virtual router's, and so is the password.
func TestValidationRow16Authentication(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		if c.Version != V2 {
			continue
		}
		for _, kind := range []byte{2, 3, 128, 255} {
			p := packetTo(c)
			p.message = setOctet(4, kind)
			checkDiscarded(t, fmt.Sprintf("%s type %d", name, kind), c, p.octets(), DiscardInvalidAuthType)
		}
		p := packetTo(c)
		if c.Password == (Password{}) {
			p.Authentication = AuthenticationSimpleTextPassword
			checkDiscarded(t, name+" empty password", c, p.octets(), DiscardAuthTypeMismatch)
			p.Password = password("secret12")
			checkDiscarded(t, name+" password", c, p.octets(), DiscardAuthTypeMismatch)
			p = packetTo(c)
			p.message = setOctet(len(p.octets())-20-1, 1)
			checkAccepted(t, name+" data without a type", c, p.octets())
			continue
		}
		p.Authentication = AuthenticationNone
		checkDiscarded(t, name+" password without a type", c, p.octets(), DiscardAuthTypeMismatch)
		p.Password = Password{}
		checkDiscarded(t, name+" none", c, p.octets(), DiscardAuthTypeMismatch)
		p = packetTo(c)
		for _, other := range []string{"", "secret1", "secret13", "Secret12", "12secret"} {
			p.Password = password(other)
			checkDiscarded(t, fmt.Sprintf("%s password %q", name, other), c, p.octets(), DiscardAuthFailure)
		}
		// A shorter one is padded with zeros.
		c.Password = password("short")
		checkDiscarded(t, name+" longer", c, packetTo(validationConfigs()[name]).octets(), DiscardAuthFailure)
		checkAccepted(t, name+" short", c, packetTo(c).octets())
	}
}

// Row 17, RFC 3768 section 7.1: with version 2 the interval is the virtual
// router's.
func TestValidationRow17Version2Interval(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		if c.Version != V2 {
			continue
		}
		for _, seconds := range []byte{0, 2, 10, 255} {
			p := packetTo(c)
			p.message = setOctet(5, seconds)
			checkDiscarded(t, fmt.Sprintf("%s %d s", name, seconds), c, p.octets(), DiscardAdvertisementInterval)
		}
	}
}

// Row 18, RFC 9568 section 5.2.7 as erratum 8301 has it: an interval is not 0.
func TestValidationRow18IntervalZero(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		if c.Version != V3 {
			continue
		}
		for _, reserved := range []byte{0, 0xf0} {
			p := packetTo(c)
			p.message = func(m []byte) []byte { return setOctet(4, reserved)(setOctet(5, 0)(m)) }
			checkDiscarded(t, fmt.Sprintf("%s %#02x", name, reserved), c, p.octets(), DiscardAdvertisementInterval)
		}
	}
}

// Row 19, RFC 9568 section 7.1: with version 3 another interval is used and
// warned about. The reserved bits are not part of it (section 5.2.6).
func TestValidationRow19OtherInterval(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		if c.Version != V3 {
			continue
		}
		p := packetTo(c)
		p.message = setOctet(4, 0xf0)
		checkAccepted(t, name+" reserved bits", c, p.octets())
		for _, cs := range []int{1, 9, 11, 50, 100} {
			p := packetTo(c)
			p.Interval = time.Duration(cs) * centisecond
			checkAccepted(t, fmt.Sprintf("%s %d cs", name, cs), c, p.octets(), "advertisementInterval")
			b := backup(t, func(to *Config) { *to = c })
			b.deliver(p.octets())
			b.checkDeadline(c.MasterDownInterval(p.Interval))
		}
	}
}

// Row 20, RFC 9568 section 7.1 as erratum 8298 has it: the address owner hears
// another one. Here no router is the owner, so any owner is another.
func TestValidationRow20AddressOwner(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		p := packetTo(c)
		p.Priority = PriorityOwner
		checkAccepted(t, name, c, p.octets(), "addressOwner")
	}
}

// Row 21, RFC 9568 section 7.1: another list of addresses is used and warned
// about, which is up to the implementation. The order does not matter.
func TestValidationRow21AddressList(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		unknown := addr("10.9.9.9")
		if c.Family == IPv6 {
			unknown = addr("fe80::9:9:9")
		}
		first, second := c.Addresses[0], c.Addresses[1]
		for what, list := range map[string][]netip.Addr{
			"one less":  {first},
			"one more":  {first, second, unknown},
			"another":   {first, unknown},
			"one twice": {first, first},
		} {
			p := packetTo(c)
			p.Addresses = list
			checkAccepted(t, name+" "+what, c, p.octets(), "addressList")
		}
		if c.Family == IPv4 {
			p := packetTo(c)
			p.Addresses = []netip.Addr{second, first}
			checkAccepted(t, name+" other order", c, p.octets())
		}
	}
}

// Row 22, RFC 9568 section 5.2.9 as erratum 8300 has it: over IPv6 the first
// address is link-local. FRR does not obey, so it only counts a warning.
func TestValidationRow22FirstLinkLocal(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		if c.Family != IPv6 {
			continue
		}
		p := packetTo(c)
		p.Addresses = []netip.Addr{c.Addresses[1], c.Addresses[0]}
		checkAccepted(t, name, c, p.octets(), "firstNotLinkLocal")
	}
}

// Row 23, RFC 6527: accepted packets are counted, and resignations once more.
func TestValidationRow23Counted(t *testing.T) {
	t.Parallel()
	for name, c := range validationConfigs() {
		b := backup(t, func(to *Config) { *to = c })
		p := packetTo(c)
		b.deliver(p.octets())
		p.Priority = PriorityResign
		b.deliver(p.octets())
		got := b.r.Status().Counters
		want := Counters{AdvertisementsReceived: 2, PriorityZeroReceived: 1, Checksums: map[string]uint64{"pseudoHeader": 2}}
		if c.Version == V2 {
			want.Checksums = map[string]uint64{"message": 2}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// TestValidationOrder: of several faults, the first in the order of the rows is
// counted. Checks that need the Config come last, except for the header: the faults
// of a packet that is not for us, or not from a member, do not matter. The VRID comes
// first after the length, so that other virtual routers cost nothing.
func TestValidationOrder(t *testing.T) {
	t.Parallel()
	c := validationConfigs()["V2 unicast"]
	p := packetTo(c)
	good := p
	// The packet has every fault; the steps correct one after the other.
	p.Destination, p.Source, p.TTL = addr("192.0.2.6"), addr("0.0.0.0"), 64
	p.VRID, p.Interval, p.Password = 99, 7*time.Second, password("wrong")
	kind, version, count, length, auth, sum := byte(7), byte(9), byte(0), 5, byte(3), byte(1)
	packet := func() []byte {
		p.message = func(m []byte) []byte {
			m[0], m[3], m[4] = version<<4|kind, count, auth
			return append(m, make([]byte, 9)...)[:len(m)+length]
		}
		b := p.octets()
		b[len(b)-1] ^= sum
		return b
	}
	steps := []struct {
		want  Discard
		right func()
	}{
		{DiscardVRID, func() { p.VRID = good.VRID }},
		{DiscardWrongDestination, func() { p.Destination = good.Destination }},
		{DiscardSource, func() { p.Source = c.Source }},
		{DiscardOwnSource, func() { p.Source = addr("192.0.2.66") }},
		{DiscardUnknownPeer, func() { p.Source = good.Source }},
		{DiscardIPTTL, func() { p.TTL = TTL }},
		{DiscardVersion, func() { version = 2 }},
		{DiscardType, func() { kind = typeAdvertisement }},
		{DiscardAddressList, func() { count = 2 }},
		{DiscardPacketLength, func() { length = 0 }},
		{DiscardChecksum, func() { sum = 0 }},
		{DiscardInvalidAuthType, func() { auth = 0 }},
		{DiscardAuthTypeMismatch, func() { auth = 1 }},
		{DiscardAuthFailure, func() { p.Password = good.Password }},
		{DiscardAdvertisementInterval, func() { p.Interval = good.Interval }},
	}
	for _, step := range steps {
		checkIgnored(t, step.want.String(), c, packet(), step.want, step.want != DiscardVRID)
		step.right()
	}
	checkAccepted(t, "all right", c, packet())

	// The first step there is about a length: the header comes before it.
	p = packetTo(c)
	p.Destination = addr("192.0.2.6")
	p.message = func(m []byte) []byte { return m[:len(m)-1] }
	checkDiscarded(t, "destination and length", c, p.octets(), DiscardWrongDestination)
}
