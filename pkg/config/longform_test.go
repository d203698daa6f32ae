package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseMapping(t *testing.T) {
	t.Parallel()
	ipv4, ipv6 := netip.MustParseAddr("10.4.0.50"), netip.MustParseAddr("2001:db8::50")
	echo := ObjectName{Namespace: "vip", Name: "echo"}
	const (
		one     = "addresses: [10.4.0.50]\n"
		refused = "; until then its VIPs refuse every port"
		second  = `the value has text after the end of a YAML document ("---" or "..."): write one document, and another entry for the rest`
	)
	kept := []Entry{{Key: "web", VIP: ipv4, Refused: true}}

	tests := []struct {
		name     string
		value    string
		entries  []Entry
		problems []string
	}{
		{
			name:    "addresses only",
			value:   `addresses: [10.4.0.50, "2001:db8::50"]`,
			entries: []Entry{{Key: "web", VIP: ipv4}, {Key: "web", VIP: ipv6}},
		},
		{
			name:  "everything",
			value: "addresses:\n- 10.4.0.50\n- 2001-db8--50\nservices:\n- name: vip/echo\ninterface: [eth1, ens3]\nvrid: 60\nforce: true\n",
			entries: []Entry{
				{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}, Interfaces: []string{"eth1", "ens3"}, VRID: 60, Force: true},
				{Key: "web", Value: "vip/echo", VIP: ipv6, Services: []Service{{Name: echo}}, Interfaces: []string{"eth1", "ens3"}, VRID: 60, Force: true},
			},
		},
		{
			name:    "one interface, no Service",
			value:   one + "services: []\ninterface: eth1\nforce: false",
			entries: []Entry{{Key: "web", VIP: ipv4, Interfaces: []string{"eth1"}}},
		},
		{
			name:     "no addresses",
			value:    "services: [{name: vip/echo}]",
			problems: []string{`web: "vip/echo": addresses: missing: list the VIPs, since the key of the long form is only a name` + refused},
		},
		{
			name:     "empty list of addresses",
			value:    "addresses: []",
			problems: []string{`web: "[]": addresses: must be a list, such as [192.168.1.99]` + refused},
		},
		{
			name:     "addresses are not a list",
			value:    "addresses: 10.4.0.50",
			entries:  kept,
			problems: []string{`web: "10.4.0.50": addresses: must be a list, such as [192.168.1.99]` + refused},
		},
		{
			name:    "a bad address does not affect the others",
			value:   "addresses: [10.4.0.300, 10.4.0.50, 10.4.0.51/24, 7, fe80::1, 10.4.0.50]\nservices: [{name: vip/echo}]",
			entries: []Entry{{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}}},
			problems: []string{
				`web: "10.4.0.300": addresses: not an IP address: write one such as 192.168.1.99 or 2001:db8::10`,
				`web: "10.4.0.51/24": addresses: not an IP address: write one such as 192.168.1.99 or 2001:db8::10`,
				`web: "7": addresses: not an IP address: write one such as 192.168.1.99 or 2001:db8::10`,
				`web: "fe80::1": addresses: fe80::1 is a link-local address: write a global or unique local address`,
				`web: "10.4.0.50": the address is listed twice: remove one of the two`,
			},
		},
		{
			name:     "unknown field",
			value:    one + "service: vip/echo",
			entries:  kept,
			problems: []string{`web: "vip/echo": service: unknown field: the fields are addresses, services, guard, proxyProtocol, interface, virtualMAC, vrid and force` + refused},
		},
		{
			name:    "every field is wrong",
			value:   one + "services: vip/echo\ninterface: [eth1, eth 2]\nvrid: 256\nforce: yes please\nguard: maybe\nproxyProtocol: 1",
			entries: kept,
			problems: []string{
				`web: "vip/echo": services: must be a list, such as [{name: namespace/service}]` + refused,
				`web: "[eth1, eth 2]": interface: must be names of network interfaces: at most 15 characters each, without '/' or blanks` + refused,
				`web: "256": vrid: must be a number from 1 to 255` + refused,
				`web: "yes please": force: must be true or false` + refused,
				`web: "maybe": guard: must be true or false` + refused,
				`web: "1": proxyProtocol: must be v1 or v2` + refused,
			},
		},
		{
			name:     "a Service that is not a mapping",
			value:    one + "services: [vip/echo]",
			entries:  kept,
			problems: []string{`web: "vip/echo": services: must be a list, such as [{name: namespace/service}]` + refused},
		},
		{
			name:     "a Service without a name",
			value:    one + "services: [{}]",
			entries:  kept,
			problems: []string{`web: "{}": services: the name of the Service is incomplete: write namespace/service, or nothing for the address only` + refused},
		},
		{
			name:     "a Service's name is wrong",
			value:    one + "services: [{name: vip/Echo}]",
			entries:  kept,
			problems: []string{`web: "{name: vip/Echo}": services: the Service name "Echo" must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit` + refused},
		},
		{
			name:     "unknown field of a Service",
			value:    one + "services: [{name: vip/echo, port: 80}]",
			entries:  kept,
			problems: []string{`web: "{name: vip/echo, port: 80}": services: unknown field "port": the fields are name and ports` + refused},
		},
		{
			name:     "VRID in quotes",
			value:    one + `vrid: "60"`,
			entries:  kept,
			problems: []string{`web: "\"60\"": vrid: must be a number from 1 to 255` + refused},
		},
		{
			name:     "VRID that is not an integer",
			value:    one + "vrid: 60.5",
			entries:  kept,
			problems: []string{`web: "60.5": vrid: must be a number from 1 to 255` + refused},
		},
		{
			name:     "VRID in octal",
			value:    one + "vrid: 060",
			entries:  kept,
			problems: []string{`web: "060": vrid: must be a number from 1 to 255` + refused},
		},
		{
			name:    "fields that cannot be printed",
			value:   one + "\"\\e[31m\\n\": 1\n? [vrid]\n: 2\n",
			entries: kept,
			problems: []string{
				`web: "1": "\x1b[31m\n": unknown field: the fields are addresses, services, guard, proxyProtocol, interface, virtualMAC, vrid and force` + refused,
				`web: "2": "": unknown field: the fields are addresses, services, guard, proxyProtocol, interface, virtualMAC, vrid and force` + refused,
			},
		},
		{
			name:    "a zone",
			value:   "addresses: [10.4.0.50, \"2001:db8::1%\\n\"]",
			entries: []Entry{{Key: "web", VIP: ipv4}},
			problems: []string{
				`web: "\"2001:db8::1%\n\"": addresses: 2001:db8::1 has a zone: leave out '%' and the name after it`,
			},
		},
		{
			name:    "a field twice",
			value:   one + "vrid: 60\nvrid: 61",
			entries: []Entry{{Key: "web", VIP: ipv4, Refused: true, VRID: 60}},
			problems: []string{
				`web: "61": vrid: set twice: remove one of the two` + refused,
			},
		},
		{
			name:    "addresses that need no quotes, an alias, comments",
			value:   "# IPv6\naddresses: &a # both\n- 2001:db8::50\n- \"10.4.0.50\"\ninterface: [&e eth1, *e]\n...\n# end",
			entries: []Entry{{Key: "web", VIP: ipv4, Interfaces: []string{"eth1", "eth1"}}, {Key: "web", VIP: ipv6, Interfaces: []string{"eth1", "eth1"}}},
		},
		{
			name:     "a second document",
			value:    one + "---\nservices: [{name: vip/echo}]",
			entries:  kept,
			problems: []string{`web: "addresses: [10.4.0.50]\n---\nservices: [{name: vip/echo}]": ` + second + refused},
		},
		{
			name:     "an empty second document",
			value:    one + "---\n",
			entries:  kept,
			problems: []string{`web: "addresses: [10.4.0.50]\n---\n": ` + second + refused},
		},
		{
			name:     "a second document that is not YAML",
			value:    one + "...\n}",
			entries:  kept,
			problems: []string{`web: "addresses: [10.4.0.50]\n...\n}": ` + second + refused},
		},
		{
			name:    "one document with a start marker",
			value:   "# web\n---\n" + one + "...\n",
			entries: []Entry{{Key: "web", VIP: ipv4}},
		},
		{
			name:    "the guard is off",
			value:   one + "services: [{name: vip/echo}]\nguard: false",
			entries: []Entry{{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}, AllowHostPorts: true}},
		},
		{
			name:    "the guard is on",
			value:   one + "guard: true\nservices: [{name: vip/echo}]",
			entries: []Entry{{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}}},
		},
		{
			name:     "guard without services",
			value:    one + "guard: false",
			entries:  []Entry{{Key: "web", VIP: ipv4}},
			problems: []string{`web: "false": guard: no effect without services: leave it out`},
		},
		{
			name:     "the guard of a VIP that refuses every port stays on",
			value:    one + "guard: false\nservices: [{name: vip/echo}]\nproxyProtocol: v1\nvrid: 0",
			entries:  kept,
			problems: []string{`web: "0": vrid: must be a number from 1 to 255` + refused},
		},
		{
			name:    "virtual MAC",
			value:   one + "virtualMAC: true",
			entries: []Entry{{Key: "web", VIP: ipv4, VirtualMAC: new(true)}},
		},
		{
			name:    "no virtual MAC",
			value:   one + "virtualMAC: false",
			entries: []Entry{{Key: "web", VIP: ipv4, VirtualMAC: new(false)}},
		},
		{
			name:     "virtual MAC that is not a bool",
			value:    one + "services: [{name: vip/echo}]\nvirtualMAC: 00:00:5e:00:01:32",
			entries:  kept,
			problems: []string{`web: "00:00:5e:00:01:32": virtualMAC: must be true or false` + refused},
		},
		{
			name:     "guard that is empty",
			value:    one + "services: [{name: vip/echo}]\nguard:",
			entries:  kept,
			problems: []string{`web: guard: must be true or false` + refused},
		},
		{
			name:    "PROXY protocol",
			value:   one + "services: [{name: vip/echo}]\nproxyProtocol: v1",
			entries: []Entry{{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}, ProxyProtocol: 1}},
		},
		{
			name:    "PROXY protocol, version 2",
			value:   "proxyProtocol: 'v2'\n" + one + "services: [{name: vip/echo}]",
			entries: []Entry{{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}, ProxyProtocol: 2}},
		},
		{
			name:     "unknown version of the PROXY protocol",
			value:    one + "services: [{name: vip/echo}]\nproxyProtocol: true",
			entries:  kept,
			problems: []string{`web: "true": proxyProtocol: must be v1 or v2` + refused},
		},
		{
			name:     "PROXY protocol without services",
			value:    one + "proxyProtocol: v2",
			entries:  kept,
			problems: []string{`web: "v2": proxyProtocol: requires services: name the Service to proxy to, or leave it out` + refused},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			entries, problems := ParseEntries(map[string]string{"web": tt.value})
			if diff := cmp.Diff(tt.entries, entries, compareAddr); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.problems, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSameAddressInTwoForms: the first key in the order of the keys gets the address,
// in either form, and the other addresses of the other key are served.
func TestSameAddressInTwoForms(t *testing.T) {
	t.Parallel()
	entries, problems := ParseEntries(map[string]string{
		"10.4.0.50": "vip/echo",
		"a":         "addresses: [10.4.0.51]",
		"b":         "addresses: [10.4.0.50, 10.4.0.51, 10.4.0.52]",
	})
	var got []string
	for _, e := range entries {
		got = append(got, e.Key+" "+e.VIP.String())
	}
	if diff := cmp.Diff([]string{"10.4.0.50 10.4.0.50", "a 10.4.0.51", "b 10.4.0.52"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	want := []Problem{
		{Key: "b", Value: "10.4.0.50", Message: "key 10.4.0.50 has the same address and comes first: the address is ignored here, remove one of the two"},
		{Key: "b", Value: "10.4.0.51", Message: "key a has the same address and comes first: the address is ignored here, remove one of the two"},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestLongFormProblemsAreShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1<<16)
	_, problems := ParseEntries(map[string]string{
		"web": long[:1000] + ": 1\n" + `addresses: [` + long + `]` + "\nservices: [{name: vip/" + long + "}]\ninterface: " + long + "\nvrid: " + long,
	})
	if len(problems) != 5 {
		t.Errorf("%d problems", len(problems))
	}
	for _, p := range problems {
		if s := p.String(); len(s) > 1024 || !utf8.ValidString(s) {
			t.Errorf("%d bytes: %.100s", len(s), s)
		}
	}
}

// TestLongFormProblemsAreFew: any number of errors in an entry causes a few Problems,
// and needs little memory and time.
func TestLongFormProblemsAreFew(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<19)
	for name, value := range map[string]string{
		"addresses":     "addresses: [10.4.0.50" + strings.Repeat(", 7", 1<<14) + "]",
		"address twice": "addresses: [10.4.0.50" + strings.Repeat(", 10.4.0.50", 1<<12) + "]",
		"long aliases":  "force: &a " + long + "\naddresses: [10.4.0.50" + strings.Repeat(", *a", 1<<14) + "]",
		"fields":        "addresses: [10.4.0.50]" + strings.Repeat("\nx: 1", 1<<12),
		"services":      "addresses: [10.4.0.50]\nservices: [" + strings.Repeat("1,", maxServices) + "]",
		"ports":         "addresses: [10.4.0.50]\nservices: [{name: vip/echo, ports: {" + strings.Repeat("x: y,", maxPorts) + "}}]",
		"clashes":       "addresses: [10.4.0.50]\nservices: [{name: vip/a, ports: &p {" + tcpPorts(100) + "}}, {name: vip/b, ports: *p}]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entries, problems := ParseEntries(map[string]string{"web": value, "10.4.0.51": "vip/echo", "x": "addresses: [7]"})
			if len(entries) != 2 || entries[1].Refused || len(entries[1].Services) != 1 {
				t.Errorf("entries %+v", entries)
			}
			if len(problems) != maxProblems+2 {
				t.Fatalf("%d problems", len(problems))
			}
			if p := problems[maxProblems]; p.Key != "web" || !strings.HasSuffix(p.Message, " more problems: they are shown once the problems above are fixed") {
				t.Errorf("the last is %s", p)
			}
			if problems[maxProblems+1].Key != "x" {
				t.Errorf("the other entry's problem is %s", problems[maxProblems+1])
			}
		})
	}
}

// tcpPorts returns n port mappings, each to the same number.
func tcpPorts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d/TCP: %d,", i+1, i+1)
	}
	return b.String()
}
