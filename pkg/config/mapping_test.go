package config

import (
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
			problems: []string{`web: "vip/echo": addresses: not there: list the VIPs, a key with fields is only a name` + refused},
		},
		{
			name:     "empty list of addresses",
			value:    "addresses: []",
			problems: []string{`web: "[]": addresses: must be a list, such as [192.168.1.99]` + refused},
		},
		{
			name:     "no list of addresses",
			value:    "addresses: 10.4.0.50",
			entries:  kept,
			problems: []string{`web: "10.4.0.50": addresses: must be a list, such as [192.168.1.99]` + refused},
		},
		{
			name:    "a bad address costs only itself",
			value:   "addresses: [10.4.0.300, 10.4.0.50, 10.4.0.51/24, 7, fe80::1, 10.4.0.50]\nservices: [{name: vip/echo}]",
			entries: []Entry{{Key: "web", Value: "vip/echo", VIP: ipv4, Services: []Service{{Name: echo}}}},
			problems: []string{
				`web: "10.4.0.300": addresses: not an IP address: write one such as 192.168.1.99 or 2001:db8::10`,
				`web: "10.4.0.51/24": addresses: not an IP address: write one such as 192.168.1.99 or 2001:db8::10`,
				`web: "7": addresses: not an IP address: write one such as 192.168.1.99 or 2001:db8::10`,
				`web: "fe80::1": addresses: fe80::1 is a link-local address: write a global or unique local address`,
				`web: "10.4.0.50": the list has this address twice: remove one of the two`,
			},
		},
		{
			name:     "unknown field",
			value:    one + "service: vip/echo",
			entries:  kept,
			problems: []string{`web: "vip/echo": service: no such field: there are addresses, services, interface, vrid and force` + refused},
		},
		{
			name:    "every field is wrong",
			value:   one + "services: vip/echo\ninterface: [eth1, eth 2]\nvrid: 256\nforce: yes please",
			entries: kept,
			problems: []string{
				`web: "yes please": force: must be true or false` + refused,
				`web: "- eth1\n- eth 2": interface: must be names of network interfaces: at most 15 characters each, without '/' or blanks` + refused,
				`web: "vip/echo": services: must be a list, such as [{name: namespace/service}]` + refused,
				`web: "256": vrid: must be a number from 1 to 255` + refused,
			},
		},
		{
			name:     "a Service that is no mapping",
			value:    one + "services: [vip/echo]",
			entries:  kept,
			problems: []string{`web: "- vip/echo": services: must be a list, such as [{name: namespace/service}]` + refused},
		},
		{
			name:     "a Service without a name",
			value:    one + "services: [{}]",
			entries:  kept,
			problems: []string{`web: "- {}": services: the Service is not named in full: write namespace/service, or nothing for the address only` + refused},
		},
		{
			name:     "a Service's name is wrong",
			value:    one + "services: [{name: vip/Echo}]",
			entries:  kept,
			problems: []string{`web: "- name: vip/Echo": services: the Service name "Echo" must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit` + refused},
		},
		{
			name:     "several Services",
			value:    one + "services: [{name: vip/echo}, {name: vip/other}]",
			entries:  kept,
			problems: []string{`web: "- name: vip/echo\n- name: vip/other": services: more than one Service is not supported yet: name one` + refused},
		},
		{
			name:     "ports",
			value:    one + "services: [{name: vip/echo, ports: {8080: http}}]",
			entries:  kept,
			problems: []string{`web: "- name: vip/echo\n  ports:\n    \"8080\": http": services: ports is not supported yet: leave it out, every port of the Service is served` + refused},
		},
		{
			name:     "unknown field of a Service",
			value:    one + "services: [{name: vip/echo, port: 80}]",
			entries:  kept,
			problems: []string{`web: "- name: vip/echo\n  port: 80": services: no such field "port": there is name` + refused},
		},
		{
			name:     "VRID in quotes",
			value:    one + `vrid: "60"`,
			entries:  kept,
			problems: []string{`web: "\"60\"": vrid: must be a number from 1 to 255` + refused},
		},
		{
			name:     "VRID that is no whole number",
			value:    one + "vrid: 60.5",
			entries:  kept,
			problems: []string{`web: "60.5": vrid: must be a number from 1 to 255` + refused},
		},
		{
			name:    "a field twice",
			value:   one + "vrid: 60\nvrid: 61",
			entries: []Entry{{Key: "web", VIP: ipv4, Refused: true, VRID: 61}},
			problems: []string{
				`web: "addresses: [10.4.0.50]\nvrid: 60\nvrid: 61": the value is not right: yaml: unmarshal errors: line 3: key "vrid" already set in map` + refused,
			},
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

// TestSameAddressInTwoForms: the first key has it, whatever the form, and the
// other addresses of the other key are served.
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
		{Key: "b", Value: "10.4.0.50", Message: "key 10.4.0.50 has the same address and comes first: it is ignored here, remove one of the two"},
		{Key: "b", Value: "10.4.0.51", Message: "key a has the same address and comes first: it is ignored here, remove one of the two"},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestMappingProblemsAreShort(t *testing.T) {
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
