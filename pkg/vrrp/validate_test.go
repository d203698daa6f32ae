package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	manyAddresses := make([]netip.Addr, maxConfigAddresses+1)
	for i := range manyAddresses {
		manyAddresses[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	v2 := func(i time.Duration) func(*Config) {
		return func(c *Config) { c.Version, c.AdvertisementInterval = V2, i }
	}
	v3 := func(i time.Duration) func(*Config) {
		return func(c *Config) { c.AdvertisementInterval = i }
	}
	v6 := func(changes ...func(*Config)) func(*Config) {
		return func(c *Config) {
			c.Family, c.Source, c.Addresses = IPv6, addr("fe80::5"), addrs("fe80::50", "2001:db8::50")
			for _, change := range changes {
				change(c)
			}
		}
	}
	unicast := func(peers ...string) func(*Config) {
		return func(c *Config) { c.Unicast, c.Peers = true, addrs(peers...) }
	}
	source := func(a string) func(*Config) { return func(c *Config) { c.Source = addr(a) } }
	pass := func(c *Config) { c.Password = password("secret12") }
	form := func(f ChecksumForm) func(*Config) { return func(c *Config) { c.Checksum = f } }
	const (
		wantV2 = ": want 1s to 255s in whole seconds, as version 2 has it"
		wantV3 = ": want 10ms to 40.95s in steps of 10ms"
	)
	tests := []struct {
		name   string
		change func(c *Config)
		want   string // empty: valid
	}{
		{"good", func(*Config) {}, ""},
		{"version 1", func(c *Config) { c.Version = 1 }, "version 1: want 2 or 3"},
		{"family 5", func(c *Config) { c.Family = 5 }, "family 5: want 4 (IPv4) or 6 (IPv6)"},
		{"IPv6", v6(), ""},
		{"IPv6 with version 2", v6(version2), "version 2: want 3, the only one over IPv6"},
		{"IPv6 without a source", v6(func(c *Config) { c.Source = netip.Addr{} }), "source invalid IP: want the IPv6 address of a host"},
		{"IPv6 from a global address", v6(source("2001:db8::5")), "source 2001:db8::5: want a link-local address, as IPv6 multicast is sent from"},
		{"IPv6 from an IPv4 address", v6(source("192.0.2.5")), "source 192.0.2.5: want the IPv6 address of a host"},
		{"IPv6 from an address with a zone", v6(source("fe80::5%eth0")), "source fe80::5%eth0: want the IPv6 address of a host"},
		{"IPv6 unicast", v6(unicast("2001:db8::6"), source("2001:db8::5")), ""},
		{"IPv6 unicast from the loopback", v6(unicast("2001:db8::6"), source("::1")), "source ::1: want the IPv6 address of a host"},
		{"IPv6 unicast to IPv4", v6(unicast("192.0.2.6")), "peer 192.0.2.6: want the IPv6 address of a host"},
		{"IPv6 with an IPv4 address", v6(func(c *Config) { c.Addresses = addrs("fe80::50", "192.0.2.50") }), "address 192.0.2.50: want the IPv6 address of a host"},
		{"unicast", unicast("192.0.2.6", "198.51.100.6"), ""},
		{"unicast without peers", unicast(), ""},
		{"unicast to a group", unicast("192.0.2.6", "224.0.0.18"), "peer 224.0.0.18: want the IPv4 address of a host"},
		{"multicast with peers", func(c *Config) { c.Peers = addrs("192.0.2.6") }, ""},
		{"password", func(c *Config) { version2(c); pass(c) }, ""},
		{"password with version 3", pass, "password hidden: want none, as version 3 has no authentication"},
		{"checksum message", form(ChecksumMessage), ""},
		{"checksum pseudo-header", form(ChecksumPseudoHeader), ""},
		{"checksum group pseudo-header", form(ChecksumGroupPseudoHeader), "checksum groupPseudoHeader: want pseudoHeader or message"},
		{"checksum 9", form(9), "checksum unknown: want pseudoHeader or message"},
		{"checksum of version 2", func(c *Config) { version2(c); form(ChecksumMessage)(c) }, "checksum message: want none, as only version 3 over IPv4 has a choice"},
		{"checksum of IPv6", v6(form(ChecksumPseudoHeader)), "checksum pseudoHeader: want none, as only version 3 over IPv4 has a choice"},
		{"VRID 0", func(c *Config) { c.VRID = 0 }, "VRID 0: want 1 to 255"},
		{"priority 0", func(c *Config) { c.Priority = 0 }, "priority 0: want 1 to 254"},
		{"priority 1", func(c *Config) { c.Priority = 1 }, ""},
		{"priority 254", func(c *Config) { c.Priority = 254 }, ""},
		{"priority 255", func(c *Config) { c.Priority = 255 }, "priority 255: want 1 to 254"},
		{"v3 0", v3(0), "advertisement interval 0s" + wantV3},
		{"v3 9 ms", v3(9 * time.Millisecond), "advertisement interval 9ms" + wantV3},
		{"v3 10 ms", v3(10 * time.Millisecond), ""},
		{"v3 15 ms", v3(15 * time.Millisecond), "advertisement interval 15ms" + wantV3},
		{"v3 40.95 s", v3(40950 * time.Millisecond), ""},
		{"v3 40.96 s", v3(40960 * time.Millisecond), "advertisement interval 40.96s" + wantV3},
		{"v2 100 ms", v2(100 * time.Millisecond), "advertisement interval 100ms" + wantV2},
		{"v2 1 s", v2(time.Second), ""},
		{"v2 1.5 s", v2(1500 * time.Millisecond), "advertisement interval 1.5s" + wantV2},
		{"v2 255 s", v2(255 * time.Second), ""},
		{"v2 256 s", v2(256 * time.Second), "advertisement interval 4m16s" + wantV2},
		{"down adverts -1", func(c *Config) { c.DownAdverts = -1 }, "down adverts -1: want 1 to 100, or 0 for 3"},
		{"down adverts 100", func(c *Config) { c.DownAdverts = 100 }, ""},
		{"down adverts 101", func(c *Config) { c.DownAdverts = 101 }, "down adverts 101: want 1 to 100, or 0 for 3"},
		{"takeover delay -1", func(c *Config) { c.TakeoverDelay = -1 }, "takeover delay -1ns: want 0 to 1m0s"},
		{"takeover step -1", func(c *Config) { c.TakeoverStep = -1 }, "takeover step -1ns: want 0 to 1m0s"},
		{"takeover delay 1 h", func(c *Config) { c.TakeoverDelay = time.Hour }, "takeover delay 1h0m0s: want 0 to 1m0s"},
		{"preempt delay -1", func(c *Config) { c.PreemptDelay = -1 }, "preempt delay -1ns: want 0 to 16m40s"},
		{"preempt delay 1000 s", func(c *Config) { c.PreemptDelay = 1000 * time.Second }, ""},
		{"preempt delay 1001 s", func(c *Config) { c.PreemptDelay = 1001 * time.Second }, "preempt delay 16m41s: want 0 to 16m40s"},
		{"adverts per interval -1", func(c *Config) { c.AdvertsPerInterval = -1 }, "adverts per interval -1: want 1 to 4, or 0 for 1"},
		{"adverts per interval 4", func(c *Config) { c.AdvertsPerInterval = 4 }, ""},
		{"adverts per interval 5", func(c *Config) { c.AdvertsPerInterval = 5 }, "adverts per interval 5: want 1 to 4, or 0 for 1"},
		{"v2, adverts per interval 1", func(c *Config) { version2(c); c.AdvertsPerInterval = 1 }, ""},
		{"v2, adverts per interval 2", func(c *Config) { version2(c); c.AdvertsPerInterval = 2 }, "adverts per interval 2: want 1, as version 2 has it"},
		{"no source", func(c *Config) { c.Source = netip.Addr{} }, "source invalid IP: want the IPv4 address of a host"},
		{"IPv6 source", func(c *Config) { c.Source = addr("fe80::1") }, "source fe80::1: want the IPv4 address of a host"},
		{"no addresses", func(c *Config) { c.Addresses = nil }, "addresses 0: want 1 to 4096 of them"},
		{"4096 addresses", func(c *Config) { c.Addresses = manyAddresses[1:] }, ""},
		{"4097 addresses", func(c *Config) { c.Addresses = manyAddresses }, "addresses 4097: want 1 to 4096 of them"},
		{"IPv6 address", func(c *Config) { c.Addresses = addrs("2001:db8::1") }, "address 2001:db8::1: want the IPv4 address of a host"},
		{"mapped address", func(c *Config) { c.Addresses = addrs("::ffff:192.0.2.1") }, "address ::ffff:192.0.2.1: want the IPv4 address of a host"},
		{"unspecified address", func(c *Config) { c.Addresses = addrs("0.0.0.0") }, "address 0.0.0.0: want the IPv4 address of a host"},
		{"twice", func(c *Config) { c.Addresses = addrs("192.0.2.50", "192.0.2.51", "192.0.2.50") }, "address 192.0.2.50: want each address once"},
		{"all wrong", func(c *Config) { *c = Config{} }, strings.Join([]string{
			"version 0: want 2 or 3",
			"priority 0: want 1 to 254",
			"advertisement interval 0s" + wantV3,
			"family 0: want 4 (IPv4) or 6 (IPv6)",
			"VRID 0: want 1 to 255",
			"source invalid IP: want the IPv4 address of a host",
			"addresses 0: want 1 to 4096 of them",
		}, "\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig()
			tt.change(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestFamilyOf(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Family{"192.0.2.1": IPv4, "::ffff:192.0.2.1": IPv6, "2001:db8::1": IPv6} {
		if got := FamilyOf(addr(s)); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
}
