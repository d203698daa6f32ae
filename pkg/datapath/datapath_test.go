package datapath

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
)

func TestContents(t *testing.T) {
	t.Parallel()
	d := &Rules{zones: *newZones()}
	v6 := netip.MustParseAddr("fd10:96::10")
	to := netip.MustParseAddrPort
	prefixes := func(all ...string) []netip.Prefix {
		var result []netip.Prefix
		for _, p := range all {
			result = append(result, netip.MustParsePrefix(p))
		}
		return result
	}
	next := newState(desired.Datapath{
		PodCIDRs: prefixes("10.244.1.0/24", "255.0.0.0/8", "fd00::/64"),
		Forwards: []desired.Forward{
			{VIP: vipA, Ports: []desired.Port{
				{Protocol: desired.TCP, Port: 80, Target: to("10.96.0.10:80")},
				{Protocol: desired.TCP, Port: 258, Target: to("10.96.0.10:80")},
				{Protocol: desired.UDP, Port: 258, Target: to("10.96.0.10:258")},
				{Protocol: desired.SCTP, Port: 80, Target: to("10.96.0.11:80"), Restricted: true, Sources: prefixes("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32")},
			}},
			{VIP: vipB, Open: true, Ports: []desired.Port{
				{Protocol: desired.TCP, Port: 443, Target: to("192.0.2.2:40000"), Proxy: desired.ProxyV1},
				{Protocol: desired.TCP, Port: 444, Target: to("192.0.2.2:444"), KeepSource: true},
			}},
			{VIP: v6, Ports: []desired.Port{{Protocol: desired.TCP, Port: 80, Target: to("[fd10:96::11]:80"), Restricted: true, Sources: prefixes("::/0", "10.0.0.0/8")}}},
			{VIP: v6},
			{},
			{VIP: netip.MustParseAddr("::ffff:192.0.2.100")},
			{VIP: vipC, Ports: []desired.Port{
				{Protocol: desired.TCP, Port: 80, Target: netip.AddrPortFrom(v6, 80)},
				{Protocol: desired.TCP, Port: 81, Target: netip.AddrPortFrom(netip.Addr{}, 81)},
				{Protocol: 1, Port: 82, Target: to("10.96.0.10:82")},
				{Protocol: desired.TCP, Port: 83, Target: to("10.96.0.10:83")},
			}},
			{VIP: vipA},
		},
	})
	got := d.allElements(next, nil)
	problems := next.errors()
	const (
		a    = "\xc0\x00\x02\x64"
		b    = "\xc0\x00\x02\x65"
		c    = "\xc0\x00\x02\x66"
		key6 = "\xfd\x10\x00\x96\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10"

		sctp80 = a + "\x84\x00\x00\x00\x00\x50\x00\x00"
		tcp258 = a + "\x06\x00\x00\x00\x01\x02\x00\x00"
		tcp443 = b + "\x06\x00\x00\x00\x01\xbb\x00\x00"
		tcp444 = b + "\x06\x00\x00\x00\x01\xbc\x00\x00"
		tcp80  = key6 + "\x06\x00\x00\x00\x00\x50\x00\x00"
	)
	zero16, ones16 := strings.Repeat("\x00", 16), strings.Repeat("\xff", 16)
	zone := zoneBytes
	want := elements{
		"vip4":     {a: "", b: "", c: ""},
		"guarded4": {a: "", c: ""},
		"svc4": {
			a + "\x06\x00\x00\x00\x00\x50\x00\x00": "\x0a\x60\x00\x0a",
			a + "\x11\x00\x00\x00\x01\x02\x00\x00": "\x0a\x60\x00\x0a",
			c + "\x06\x00\x00\x00\x00\x53\x00\x00": "\x0a\x60\x00\x0a",
		},
		"zone4":        {a: zone(20000), b: zone(20002), c: zone(20005)},
		"back4":        {zone(20000): a, zone(20002): b, zone(20004): b, zone(20005): c},
		"mapped_svc4":  {sctp80: "\x0a\x60\x00\x0b", tcp258: "\x0a\x60\x00\x0a", tcp443: "\xc0\x00\x02\x02", tcp444: "\xc0\x00\x02\x02"},
		"mapped_port4": {sctp80: "\x00\x50", tcp258: "\x00\x50", tcp443: "\x9c\x40", tcp444: "\x01\xbc"},
		"mapped_zone4": {sctp80: zone(20000), tcp258: zone(20001), tcp443: zone(20003), tcp444: zone(20004)},
		"mapped_back4": {zone(20001): a, zone(20003): b},
		"limited4":     {sctp80: ""},
		"sources4": {
			sctp80 + "\x0a\x00\x00\x00" + sctp80 + "\x0a\xff\xff\xff": "",
			sctp80 + "\xc0\x00\x02\x01" + sctp80 + "\xc0\x00\x02\x01": "",
		},
		"pods4":       {"\x0a\xf4\x01\x00": "", "\x0a\xf4\x02\x00e": "", "\xff\x00\x00\x00": ""},
		"private4":    {"\xc0\x00\x02\x02\x9c\x40\x00\x00": ""},
		"icmp_error4": {"\x03": "", "\x0b": "", "\x0c": ""},

		"vip6":         {key6: ""},
		"guarded6":     {key6: ""},
		"svc6":         {},
		"zone6":        {key6: zone(20006)},
		"back6":        {zone(20006): key6},
		"mapped_svc6":  {tcp80: "\xfd\x10\x00\x96\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x11"},
		"mapped_port6": {tcp80: "\x00\x50"},
		"mapped_zone6": {tcp80: zone(20006)},
		"mapped_back6": {},
		"limited6":     {tcp80: ""},
		"sources6":     {tcp80 + zero16 + tcp80 + ones16: ""},
		"pods6":        {"\xfd" + zero16[1:]: "", "\xfd" + zero16[:6] + "\x01" + zero16[:8] + "e": ""},
		"private6":     {},
		"icmp_error6":  {"\x01": "", "\x02": "", "\x03": "", "\x04": ""},

		"mapped_back_port": {zone(20001): "\x01\x02", zone(20003): "\x01\xbb"},
		"masquerade_zones": {zone(20000): "", zone(20001): "", zone(20002): "", zone(20006): "", zone(20005): ""},
		"proxied_zones":    {zone(20003): ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	wantProblems := []string{
		"forward invalid IP: neither an IPv4 nor an IPv6 address",
		"forward 192.0.2.102 TCP port 80 to [fd10:96::10]:80: the target is no IPv4 address",
		"forward 192.0.2.102 TCP port 81 to invalid AddrPort: the target is no IPv4 address",
		"forward 192.0.2.102 unknown port 82 to 10.96.0.10:82: not TCP, UDP or SCTP",
		"forward ::ffff:192.0.2.100: neither an IPv4 nor an IPv6 address",
		"forward fd10:96::10 TCP port 80 to [fd10:96::11]:80: the source range 10.0.0.0/8 is not of IPv6",
	}
	if diff := cmp.Diff(strings.Join(wantProblems, "\n"), errors.Join(problems...).Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
