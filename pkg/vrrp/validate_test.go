package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	manyAddresses := make([]netip.Addr, MaxAddresses+1)
	for i := range manyAddresses {
		manyAddresses[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	v2 := func(i time.Duration) func(*Config) {
		return func(c *Config) { c.Version, c.AdvertisementInterval = V2, i }
	}
	v3 := func(i time.Duration) func(*Config) {
		return func(c *Config) { c.AdvertisementInterval = i }
	}
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
		{"IPv6", func(c *Config) { c.Family = IPv6 }, "family 6: want 4 (IPv4)"},
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
		{"takeover delay 1 h", func(c *Config) { c.TakeoverDelay = time.Hour }, "takeover delay 1h0m0s: want 0 to 1m0s"},
		{"no source", func(c *Config) { c.Source = netip.Addr{} }, "source invalid IP: want the IPv4 address of a host"},
		{"IPv6 source", func(c *Config) { c.Source = addr("fe80::1") }, "source fe80::1: want the IPv4 address of a host"},
		{"no addresses", func(c *Config) { c.Addresses = nil }, "addresses 0: want 1 to 255 of them"},
		{"255 addresses", func(c *Config) { c.Addresses = manyAddresses[1:] }, ""},
		{"256 addresses", func(c *Config) { c.Addresses = manyAddresses }, "addresses 256: want 1 to 255 of them"},
		{"IPv6 address", func(c *Config) { c.Addresses = addrs("2001:db8::1") }, "address 2001:db8::1: want the IPv4 address of a host"},
		{"mapped address", func(c *Config) { c.Addresses = addrs("::ffff:192.0.2.1") }, "address ::ffff:192.0.2.1: want the IPv4 address of a host"},
		{"unspecified address", func(c *Config) { c.Addresses = addrs("0.0.0.0") }, "address 0.0.0.0: want the IPv4 address of a host"},
		{"twice", func(c *Config) { c.Addresses = addrs("192.0.2.50", "192.0.2.51", "192.0.2.50") }, "address 192.0.2.50: want each address once"},
		{"all wrong", func(c *Config) { *c = Config{} }, strings.Join([]string{
			"version 0: want 2 or 3",
			"family 0: want 4 (IPv4)",
			"VRID 0: want 1 to 255",
			"priority 0: want 1 to 254",
			"advertisement interval 0s" + wantV3,
			"source invalid IP: want the IPv4 address of a host",
			"addresses 0: want 1 to 255 of them",
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
	for s, want := range map[string]Family{"192.0.2.1": IPv4, "::ffff:192.0.2.1": IPv4, "2001:db8::1": IPv6} {
		if got := FamilyOf(addr(s)); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
}
