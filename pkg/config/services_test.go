package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseServices(t *testing.T) {
	t.Parallel()
	a, b := ObjectName{Namespace: "vip", Name: "a"}, ObjectName{Namespace: "vip", Name: "b"}
	const (
		refused   = "; until then its VIPs refuse every port"
		badPort   = "services: ports: the number before the colon must be a port of the VIP, from 1 to 65535 in decimal digits, such as 8080 or 53/UDP" + refused
		badTarget = "services: ports: the value after the colon must be the name of a port of the Service, or its number from 1 to 65535 in decimal digits" + refused
		noMapping = "services: ports: must map ports of the VIP to ports of the Service, such as {8080: http}: leave it out for all ports of the Service" + refused
	)
	one := func(ports ...PortMapping) []Service { return []Service{{Name: a, Ports: ports}} }

	tests := []struct {
		name     string
		services string
		want     []Service
		problems []string
	}{
		{name: "none", services: "[]"},
		{
			name:     "several, sorted by name",
			services: "[{name: vip/b}, {name: vip-x/a}, {name: vip/a}]",
			want:     []Service{{Name: a}, {Name: b}, {Name: ObjectName{Namespace: "vip-x", Name: "a"}}},
		},
		{
			name:     "ports, sorted",
			services: `[{ports: {8080: http, 443: 8443, "80": "8081", 53/UDP: dns, 53/TCP: dns-tcp, 5060/SCTP: 5060}, name: vip/a}]`,
			want: one(
				PortMapping{53, "TCP", "dns-tcp"}, PortMapping{53, "UDP", "dns"}, PortMapping{80, "", "8081"},
				PortMapping{443, "", "8443"}, PortMapping{5060, "SCTP", "5060"}, PortMapping{8080, "", "http"},
			),
		},
		{
			name:     "names that YAML 1.1 decodes as true, and names in quotes",
			services: `[{name: vip/a, ports: {1: yes, 2: on, 3: "true", 4: "0x50", 5: "1e3", 65535: "1"}}]`,
			want: one(
				PortMapping{1, "", "yes"}, PortMapping{2, "", "on"}, PortMapping{3, "", "true"},
				PortMapping{4, "", "0x50"}, PortMapping{5, "", "1e3"}, PortMapping{65535, "", "1"},
			),
		},
		{
			name:     "two ports to one, and the same port of two protocols",
			services: `[{name: vip/a, ports: {80: http, 8080: http, 443/TCP: https, 443/UDP: quic}}]`,
			want:     one(PortMapping{80, "", "http"}, PortMapping{443, "TCP", "https"}, PortMapping{443, "UDP", "quic"}, PortMapping{8080, "", "http"}),
		},
		{
			name:     "the same Service twice with other ports",
			services: `[{name: vip/a, ports: {80: http}}, {name: vip/b}, {name: vip/a, ports: {443: https}}]`,
			want:     []Service{{Name: a, Ports: []PortMapping{{80, "", "http"}, {443, "", "https"}}}, {Name: b}},
		},
		{
			name:     "numbers that are not decimal",
			services: "[{name: vip/a, ports: {0x50: http, 080: http, 1e3: http, 0120: http, 80.0: http, +80: http, 8_0: http, ' 80': http}}]",
			problems: []string{
				`web: "{0x50: http}": ` + badPort, `web: "{080: http}": ` + badPort, `web: "{1e3: http}": ` + badPort, `web: "{0120: http}": ` + badPort,
				`web: "{80.0: http}": ` + badPort, `web: "{+80: http}": ` + badPort, `web: "{8_0: http}": ` + badPort, `web: "{' 80': http}": ` + badPort,
			},
		},
		{
			name:     "invalid ports",
			services: "[{name: vip/a, ports: {0: http, -1: http, 65536: http, http: 80, ~: http, /TCP: http, 1-9: http, ? [80] : http, 99999999999999999999: http}}]",
			problems: []string{
				`web: "{0: http}": ` + badPort, `web: "{-1: http}": ` + badPort, `web: "{65536: http}": ` + badPort, `web: "{http: 80}": ` + badPort, `web: "{~: http}": ` + badPort,
				`web: "{/TCP: http}": ` + badPort, `web: "{1-9: http}": ` + badPort, `web: "{? [80] : http}": ` + badPort, `web: "{99999999999999999999: http}": ` + badPort,
			},
		},
		{
			name:     "protocols",
			services: `[{name: vip/a, ports: {53/udp: dns, 1/: x, 2/ICMP: x, 80/TCP/x: http, "3/TCP ": x}}]`,
			problems: []string{
				`web: "{53/udp: dns}": services: ports: the protocol must be in capitals: 53/UDP` + refused,
				`web: "{1/: x}": services: ports: unknown protocol "": write TCP, UDP or SCTP, or leave it out to use the protocol of the Service's port` + refused,
				`web: "{2/ICMP: x}": services: ports: unknown protocol "ICMP": write TCP, UDP or SCTP, or leave it out to use the protocol of the Service's port` + refused,
				`web: "{80/TCP/x: http}": services: ports: unknown protocol "TCP/x": write TCP, UDP or SCTP, or leave it out to use the protocol of the Service's port` + refused,
				`web: "{\"3/TCP \": x}": services: ports: unknown protocol "TCP ": write TCP, UDP or SCTP, or leave it out to use the protocol of the Service's port` + refused,
			},
		},
		{
			name:     "invalid Service ports",
			services: `[{name: vip/a, ports: {1: 0, 2: 65536, 3: 080, 4: 0x50, 5: 1e3, 6: true, 7: , 8: HTTP, 9: "", 10: [80], 11: "0", 12: -1, 13: 80/TCP}}]`,
			problems: []string{
				`web: "{1: 0}": ` + badTarget, `web: "{2: 65536}": ` + badTarget, `web: "{3: 080}": ` + badTarget, `web: "{4: 0x50}": ` + badTarget, `web: "{5: 1e3}": ` + badTarget,
				`web: "{6: true}": ` + badTarget, `web: "{7: ''}": ` + badTarget, `web: "{8: HTTP}": ` + badTarget, `web: "{9: \"\"}": ` + badTarget, `web: "{10: [80]}": ` + badTarget,
				`web: "{11: \"0\"}": ` + badTarget, `web: "{12: -1}": ` + badTarget, `web: "{13: 80/TCP}": ` + badTarget,
			},
		},
		{
			name:     "no mapping",
			services: "[{name: vip/a, ports: [80]}]",
			problems: []string{`web: "[80]": ` + noMapping},
		},
		{
			name:     "no port",
			services: "[{name: vip/a, ports: {}}]",
			problems: []string{`web: "{}": ` + noMapping},
		},
		{
			name:     "nothing after ports",
			services: "[{name: vip/a, ports: }]",
			problems: []string{`web: ` + noMapping},
		},
		{
			name:     "a port twice, in two ways to write it",
			services: `[{name: vip/a, ports: {80: http, "80": web}}]`,
			problems: []string{`web: "[{name: vip/a, ports: {80: http, \"80\": web}}]": services: ports: vip/a lists 80 twice: remove one of the two, or add the protocol of each` + refused},
		},
		{
			name:     "a port twice, and the same",
			services: `[{name: vip/a, ports: {80/TCP: http, 80/TCP: http}}]`,
			problems: []string{`web: "[{name: vip/a, ports: {80/TCP: http, 80/TCP: http}}]": services: ports: vip/a lists 80/TCP twice: remove one of the two, or add the protocol of each` + refused},
		},
		{
			name:     "the same Service twice",
			services: `[{name: vip/a}, {name: vip/a}]`,
			problems: []string{`web: "[{name: vip/a}, {name: vip/a}]": services: vip/a is listed twice: list it once, with all its ports or without ports` + refused},
		},
		{
			name:     "the same Service twice, once without ports",
			services: `[{name: vip/a, ports: {80: http}}, {name: vip/a}]`,
			problems: []string{`web: "[{name: vip/a, ports: {80: http}}, {name: vip/a}]": services: vip/a is listed twice: list it once, with all its ports or without ports` + refused},
		},
		{
			name:     "the same Service twice with the same port",
			services: `[{name: vip/a, ports: {80: http}}, {name: vip/a, ports: {80: web}}]`,
			problems: []string{`web: "[{name: vip/a, ports: {80: http}}, {name: vip/a, ports: {80: web}}]": services: ports: vip/a lists 80 twice: remove one of the two, or add the protocol of each` + refused},
		},
		{
			name:     "fields of a Service twice",
			services: `[{name: vip/a, name: vip/b}, {name: vip/b, ports: {1: x}, ports: {2: y}}]`,
			problems: []string{
				`web: "{name: vip/a, name: vip/b}": services: name: set twice: remove one of the two` + refused,
				`web: "{name: vip/b, ports: {1: x}, ports: {2: y}}": services: ports: set twice: remove one of the two` + refused,
			},
		},
		{
			name:     "a merge key is not a port",
			services: `[{name: vip/a, ports: {<<: {80: http}, 443: https}}]`,
			problems: []string{`web: "{!!merge <<: {80: http}}": ` + badPort},
		},
		{
			name:     "the first of two Services gets a port",
			services: `[{name: vip/b, ports: {80/TCP: http, 81/TCP: x}}, {name: vip/a, ports: {80/TCP: web}}]`,
			want:     []Service{{Name: a, Ports: []PortMapping{{80, "TCP", "web"}}}, {Name: b, Ports: []PortMapping{{81, "TCP", "x"}}}},
			problems: []string{`web: "80/TCP: http": services: ports: 80/TCP leads to vip/a, which comes first by name, and not to vip/b: choose another port for one of the two`},
		},
		{
			name:     "a Service that keeps no port does not get all",
			services: `[{name: vip/b, ports: {80/TCP: http}}, {name: vip/a, ports: {80/TCP: web}}]`,
			want:     one(PortMapping{80, "TCP", "web"}),
			problems: []string{`web: "80/TCP: http": services: ports: 80/TCP leads to vip/a, which comes first by name, and not to vip/b: choose another port for one of the two`},
		},
		{
			name:     "no conflict without a protocol",
			services: `[{name: vip/b, ports: {53: dns}}, {name: vip/a, ports: {53: dns-tcp}}]`,
			want:     []Service{{Name: a, Ports: []PortMapping{{53, "", "dns-tcp"}}}, {Name: b, Ports: []PortMapping{{53, "", "dns"}}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			entries, problems := ParseEntries(map[string]string{"web": "addresses: [10.4.0.50]\nservices: " + tt.services, "10.4.0.51": "vip/b"})
			if len(entries) != 2 || entries[1].Key != "10.4.0.51" || entries[1].Refused {
				t.Fatalf("entries %+v", entries)
			}
			isRefused := len(problems) > 0 && strings.HasSuffix(problems[0].Message, refused)
			if diff := cmp.Diff(tt.want, entries[0].Services); diff != "" || entries[0].Refused != isRefused {
				t.Errorf("refused: %v, Services (-want +got):\n%s", entries[0].Refused, diff)
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

// TestParseServicesLimits: an entry beyond a limit is refused, and one at the limit is
// served.
func TestParseServicesLimits(t *testing.T) {
	t.Parallel()
	services := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "{name: vip/s%d}, ", i)
		}
		return b.String()
	}
	for _, tt := range []struct {
		services string
		problem  string
	}{
		{services(maxServices), ""},
		{services(maxServices + 1), "65 Services: at most 64 are allowed"},
		{"{name: vip/a, ports: {" + tcpPorts(maxPorts) + "}}", ""},
		{"{name: vip/a, ports: {" + tcpPorts(maxPorts+1) + "}}", "ports: more than 1024: an entry may have no more"},
		{"{name: vip/a, ports: {" + tcpPorts(maxPorts) + "}}, {name: vip/b, ports: {2000: 1}}", "more than 1024 ports: an entry may have no more"},
	} {
		entries, problems := ParseEntries(map[string]string{"web": "addresses: [10.4.0.50]\nservices: [" + tt.services + "]"})
		switch {
		case tt.problem == "" && (len(problems) > 0 || entries[0].Refused):
			t.Errorf("%v of %.60s", problems, tt.services)
		case tt.problem != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0].Message, "services: "+tt.problem+"; until") || !entries[0].Refused):
			t.Errorf("%v, want %s", problems, tt.problem)
		}
	}
}
