package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestParseEntries(t *testing.T) {
	t.Parallel()
	echo := ObjectName{Namespace: "vip", Name: "echo"}
	vip := netip.MustParseAddr("10.4.0.50")
	const untilThen = "; until then the VIP refuses every port"

	tests := []struct {
		name     string
		data     map[string]string
		entries  []Entry
		problems []string
		notice   bool
	}{
		{name: "nil"},
		{name: "empty", data: map[string]string{}},
		{
			name:    "service",
			data:    map[string]string{"10.4.0.50": "vip/echo"},
			entries: []Entry{{Key: "10.4.0.50", Value: "vip/echo", VIP: vip, Services: []Service{{Name: echo}}}},
		},
		{
			name:    "service with NAT",
			data:    map[string]string{"10.4.0.50": "vip/echo:NAT"},
			entries: []Entry{{Key: "10.4.0.50", Value: "vip/echo:NAT", VIP: vip, Services: []Service{{Name: echo}}}},
		},
		{
			name:     "service with DR",
			data:     map[string]string{"10.4.0.50": "vip/echo:DR"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo:DR", VIP: vip, Services: []Service{{Name: echo}}}},
			problems: []string{`10.4.0.50: "vip/echo:DR": DR is served as NAT: write namespace/service instead`},
			notice:   true,
		},
		{
			name:    "service with PROXY",
			data:    map[string]string{"10.4.0.50": "vip/echo:PROXY"},
			entries: []Entry{{Key: "10.4.0.50", Value: "vip/echo:PROXY", VIP: vip, Services: []Service{{Name: echo}}, ProxyProtocol: 1}},
		},
		{
			name:     "PROXY in lower case",
			data:     map[string]string{"10.4.0.50": "vip/echo:proxy"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo:proxy", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo:proxy": the method "proxy" must be written PROXY, in capitals and without blanks` + untilThen},
		},
		{
			name:     "short form with a second document",
			data:     map[string]string{"10.4.0.50": "vip/echo\n---\nvip/other"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo\n---\nvip/other", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo\n---\nvip/other": the name of the Service is incomplete: write namespace/service, or nothing for the address only` + untilThen},
		},
		{
			name:    "address only",
			data:    map[string]string{"10.4.0.50": ""},
			entries: []Entry{{Key: "10.4.0.50", VIP: vip}},
		},
		{
			name:    "blanks only",
			data:    map[string]string{"10.4.0.50": " \n"},
			entries: []Entry{{Key: "10.4.0.50", Value: " \n", VIP: vip}},
		},
		{
			name:    "blanks around the service",
			data:    map[string]string{"10.4.0.50": " \tvip/echo\r\n"},
			entries: []Entry{{Key: "10.4.0.50", Value: " \tvip/echo\r\n", VIP: vip, Services: []Service{{Name: echo}}}},
		},
		{
			name: "sorted by address, not by key",
			data: map[string]string{"10.4.0.9": "", "10.4.0.10": "", "10.4.0.100": ""},
			entries: []Entry{
				{Key: "10.4.0.9", VIP: netip.MustParseAddr("10.4.0.9")},
				{Key: "10.4.0.10", VIP: netip.MustParseAddr("10.4.0.10")},
				{Key: "10.4.0.100", VIP: netip.MustParseAddr("10.4.0.100")},
			},
		},
		{
			name: "a bad entry does not affect the others",
			data: map[string]string{"10.4.0.50": "vip/echo", "10.4.0.51": "echo", "web": "vip/echo"},
			entries: []Entry{
				{Key: "10.4.0.50", Value: "vip/echo", VIP: vip, Services: []Service{{Name: echo}}},
				{Key: "10.4.0.51", Value: "echo", VIP: netip.MustParseAddr("10.4.0.51"), Refused: true},
			},
			problems: []string{
				`10.4.0.51: "echo": the name of the Service is incomplete: write namespace/service, or nothing for the address only` + untilThen,
				`web: "vip/echo": the key is not an IP address: write one such as 192.168.1.99 or 2001-db8--10`,
			},
		},
		{
			name:     "method in lower case",
			data:     map[string]string{"10.4.0.50": "vip/echo:nat"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo:nat", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo:nat": the method "nat" must be written NAT, in capitals and without blanks` + untilThen},
		},
		{
			name:     "blank before the method",
			data:     map[string]string{"10.4.0.50": "vip/echo: NAT"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo: NAT", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo: NAT": the method " NAT" must be written NAT, in capitals and without blanks` + untilThen},
		},
		{
			name:     "unknown method",
			data:     map[string]string{"10.4.0.50": "vip/echo:XNATX"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo:XNATX", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo:XNATX": unknown method "XNATX": leave it out, or write NAT or PROXY` + untilThen},
		},
		{
			name:     "empty method",
			data:     map[string]string{"10.4.0.50": "vip/echo:"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo:", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo:": unknown method "": leave it out, or write NAT or PROXY` + untilThen},
		},
		{
			name:     "bad namespace",
			data:     map[string]string{"10.4.0.50": "VIP/echo"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "VIP/echo", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "VIP/echo": the namespace "VIP" must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit` + untilThen},
		},
		{
			name:     "bad service name",
			data:     map[string]string{"10.4.0.50": "vip/echo-"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo-", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo-": the Service name "echo-" must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit` + untilThen},
		},
		{
			name:     "too many slashes",
			data:     map[string]string{"10.4.0.50": "vip/echo/x"},
			entries:  []Entry{{Key: "10.4.0.50", Value: "vip/echo/x", VIP: vip, Refused: true}},
			problems: []string{`10.4.0.50: "vip/echo/x": the name of the Service is incomplete: write namespace/service, or nothing for the address only` + untilThen},
		},
		{
			name:     "long form under an address",
			data:     map[string]string{"10.4.0.50": "interface: eth1"},
			entries:  []Entry{{Key: "10.4.0.50", VIP: vip, Refused: true, Interfaces: []string{"eth1"}}},
			problems: []string{`10.4.0.50: addresses: missing: list the VIPs, since the key of the long form is only a name; until then its VIPs refuse every port`},
		},
		{
			name: "neither address nor YAML",
			data: map[string]string{"web": "addresses: [10.4.0.50\n"},
			problems: []string{
				`web: "addresses: [10.4.0.50\n": the key is not an IP address, and the value is not YAML: yaml: line 1: did not find expected ',' or ']'`,
			},
		},
		{
			name: "IPv6",
			data: map[string]string{"2001-db8--10": "vip/echo", "fd00--1": ""},
			entries: []Entry{
				{Key: "2001-db8--10", Value: "vip/echo", VIP: netip.MustParseAddr("2001:db8::10"), Services: []Service{{Name: echo}}},
				{Key: "fd00--1", VIP: netip.MustParseAddr("fd00::1")},
			},
		},
		{
			name: "IPv6 addresses that cannot be a VIP",
			data: map[string]string{"--": "", "--1": "", "fe80--1": "", "ff02--12": ""},
			problems: []string{
				`--: :: cannot be a VIP: write a free address of the nodes' network`,
				`--1: ::1 cannot be a VIP: write a free address of the nodes' network`,
				`fe80--1: fe80::1 is a link-local address: write a global or unique local address`,
				`ff02--12: ff02::12 cannot be a VIP: write a free address of the nodes' network`,
			},
		},
		{
			name:    "two ways to write one address",
			data:    map[string]string{"10.4.0.50": "vip/echo", "--ffff-10.4.0.50": "vip/other"},
			entries: []Entry{{Key: "--ffff-10.4.0.50", Value: "vip/other", VIP: vip, Services: []Service{{Name: ObjectName{Namespace: "vip", Name: "other"}}}}},
			problems: []string{
				`10.4.0.50: "vip/echo": key --ffff-10.4.0.50 has the same address and comes first: the address is ignored here, remove one of the two`,
			},
		},
		{
			name: "addresses that cannot be a VIP",
			data: map[string]string{"0.0.0.0": "", "127.0.0.1": "", "224.0.0.18": "", "255.255.255.255": ""},
			problems: []string{
				`0.0.0.0: 0.0.0.0 cannot be a VIP: write a free address of the nodes' network`,
				`127.0.0.1: 127.0.0.1 cannot be a VIP: write a free address of the nodes' network`,
				`224.0.0.18: 224.0.0.18 cannot be a VIP: write a free address of the nodes' network`,
				`255.255.255.255: 255.255.255.255 cannot be a VIP: write a free address of the nodes' network`,
			},
		},
		{
			name: "keys that look like an address",
			data: map[string]string{"10.4.0": "", "10.4.0.050": "", "10.4.0.256": ""},
			problems: []string{
				`10.4.0: the key is not an IP address: write one such as 192.168.1.99 or 2001-db8--10`,
				`10.4.0.050: the key is not an IP address: write one such as 192.168.1.99 or 2001-db8--10`,
				`10.4.0.256: the key is not an IP address: write one such as 192.168.1.99 or 2001-db8--10`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			entries, problems := ParseEntries(tt.data)
			if diff := cmp.Diff(tt.entries, entries, compareAddr); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
				if p.Notice != tt.notice {
					t.Errorf("Notice = %v, want %v: %s", p.Notice, tt.notice, p)
				}
			}
			if diff := cmp.Diff(tt.problems, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseEntriesLimit(t *testing.T) {
	t.Parallel()
	data := map[string]string{}
	for i := range MaxVIPs {
		data[fmt.Sprintf("10.4.%d.%d", i/200, i%200)] = "vip/echo"
	}
	data["z"] = `addresses: [10.5.0.1, "2001:db8::1"]`
	entries, problems := ParseEntries(data)
	if len(entries) != MaxVIPs || len(problems) != 2 {
		t.Fatalf("got %d entries and %d problems, want %d and 2", len(entries), len(problems), MaxVIPs)
	}
	for i, value := range []string{"10.5.0.1", "2001:db8::1"} {
		want := Problem{Key: "z", Value: value, Message: "not served: 4096 VIPs, the maximum, come before it in the order of the keys"}
		if problems[i] != want {
			t.Errorf("unclear problem: %s", problems[i])
		}
	}
}

func TestProblemsAreShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1<<20)
	_, problems := ParseEntries(map[string]string{
		"10.4.0.50":                      long,
		"10.4.0.51":                      "vip/" + long,
		"10.4.0.52":                      long + "/echo",
		"10.4.0.53":                      "vip/echo:" + long,
		long:                             "",
		"x\xff\xfe\x00":                  "\xff",
		"fe80--1%" + long[:100] + "\xd6": "",
	})
	if len(problems) != 7 {
		t.Fatalf("got %d problems, want 7", len(problems))
	}
	for _, p := range problems {
		if s := p.String(); len(s) > 1024 || !utf8.ValidString(s) {
			t.Errorf("%d bytes: %.100s", len(s), s)
		}
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add("10.4.0.50", "vip/echo", "10.4.0.51", "")
	f.Add("10.4.0.50", "vip/echo:PROXY", "--ffff-10.4.0.50", "vip/echo:DR")
	f.Add("web", "addresses: [10.4.0.50]", "2001-db8--10", "vip/echo")
	f.Add("web", "addresses: [10.4.0.50, \"2001:db8::50\"]\nservices: [{name: vip/echo}]\ninterface: [eth1, ens3]\nvrid: 60\nforce: true\n", "10.4.0.50", "")
	f.Add("web", "addresses: [10.4.0.50, 10.4.0.50, 7, fe80::1%eth0]\nvrid: 1e300\nvrid: -1\nports: {80: http}", "10.4.0.51", "services: [{name: vip/echo, ports: {80: 80}}, 1]")
	f.Add("web", "addresses: 10.4.0.50\nservices: vip/echo\ninterface: []\nforce: 1", "ff02--12", "services: []")
	f.Add("web", "addresses: [10.4.0.50]\nservices: [{name: vip/b, ports: {8080: http, 53/UDP: dns, 443/SCTP: \"8443\", \"443\": 1e3}}, {name: vip/a}]", "x", "addresses: [10.4.0.51]\nguard: false\nproxyProtocol: v2\nservices: [{name: vip/a, ports: {80/TCP: 080}}]")
	f.Add("web", "addresses: [10.4.0.50]\nservices: [{name: vip/b, ports: &p {80/TCP: http}}, {name: vip/a, ports: *p}, {name: vip/b, ports: {80/UDP: 0x50, 80: on}}]\n---\n<<: 1", "x", "addresses: [10.4.0.51]\nguard: off\nproxyProtocol: v1")
	f.Add("web", "addresses: [10.4.0.50]\nservices: [{name: vip/b, ports: {80: http, 80: web, 65536: 1, -1: 2, 7/tcp: x, 8/ICMP: y, 9: 65536, ? [1] : 2}}, {name: vip/b}]", "x", "a: &a [*a]\n...\n}")
	f.Add("--%\xd6", "", "web", "addresses: [\"fe80::1%é\"]")
	f.Add("255.255.255.255", "{a: &a [*a]}", "fe80--1%eth0", "a/b: {}")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		data := map[string]string{key1: value1, key2: value2}
		entries, problems := ParseEntries(data)
		again, problemsAgain := ParseEntries(data)
		if diff := cmp.Diff(entries, again, compareAddr) + cmp.Diff(problems, problemsAgain); diff != "" {
			t.Errorf("not the same twice:\n%s", diff)
		}
		if len(entries)+len(problems) < len(data) {
			t.Errorf("%d entries and %d problems of %d keys: one is lost", len(entries), len(problems), len(data))
		}
		for i, e := range entries {
			if checkVIP(e.VIP) != nil || e.VIP != e.VIP.Unmap() || e.VIP.Zone() != "" {
				t.Errorf("VIP %s", e.VIP)
			}
			for _, name := range e.Interfaces {
				if name == "" || !isInterfaceName(name) {
					t.Errorf("interface %q", name)
				}
			}
			if i > 0 && entries[i-1].VIP.Compare(e.VIP) >= 0 {
				t.Errorf("%s is not before %s", entries[i-1].VIP, e.VIP)
			}
			if e.Refused && len(e.Services) > 0 {
				t.Errorf("refused and has a Service: %+v", e)
			}
			for _, s := range e.Services {
				if checkLabel(s.Name.Namespace) != nil || checkLabel(s.Name.Name) != nil {
					t.Errorf("Service %q", s.Name)
				}
			}
			checkServices(t, e)
		}
		problemsOfKey := map[string]int{}
		for _, p := range problems {
			if s := p.String(); !utf8.ValidString(s) || len(s) > 2048 {
				t.Errorf("problem of %d bytes: %.200q", len(s), s)
			}
			// Kubernetes does not accept such keys.
			if !strings.ContainsFunc(key1+key2, unicode.IsControl) && strings.ContainsFunc(p.Message, unicode.IsControl) {
				t.Errorf("message %.200q", p.Message)
			}
			if problemsOfKey[p.Key]++; problemsOfKey[p.Key] > maxProblems+1 && Shorten(key1) != Shorten(key2) {
				t.Errorf("more problems of %q than are shown", p.Key)
			}
		}
	})
}

// checkServices checks the guarantees of ParseEntries for the Services of an Entry.
func checkServices(t *testing.T, e Entry) {
	t.Helper()
	if e.ProxyProtocol < 0 || e.ProxyProtocol > 2 || (e.ProxyProtocol > 0 || e.AllowHostPorts) && len(e.Services) == 0 {
		t.Errorf("ProxyProtocol %d, AllowHostPorts %v of %d Services", e.ProxyProtocol, e.AllowHostPorts, len(e.Services))
	}
	type vipPort struct {
		port     uint16
		protocol string
	}
	owner := map[vipPort]ObjectName{}
	for i, s := range e.Services {
		if i > 0 && e.Services[i-1].Name.String() >= s.Name.String() && e.Services[i-1].Name.Namespace >= s.Name.Namespace {
			t.Errorf("%s is not before %s", e.Services[i-1].Name, s.Name)
		}
		if s.Ports != nil && len(s.Ports) == 0 || len(s.Ports) > maxPorts {
			t.Errorf("%d ports of %s", len(s.Ports), s.Name)
		}
		for j, m := range s.Ports {
			if m.Port == 0 || m.Protocol != "" && m.Protocol != "TCP" && m.Protocol != "UDP" && m.Protocol != "SCTP" || checkLabel(m.ServicePort) != nil {
				t.Errorf("mapping %+v", m)
			}
			if j > 0 && comparePorts(s.Ports[j-1], m) >= 0 {
				t.Errorf("%+v is not before %+v", s.Ports[j-1], m)
			}
			v := vipPort{m.Port, m.Protocol}
			if first, taken := owner[v]; taken && (m.Protocol != "" || first == s.Name) {
				t.Errorf("%s and %s both have %+v", first, s.Name, v)
			}
			owner[v] = s.Name
		}
	}
}
