package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxVIPs is how many addresses are served. Each is renewed twice a second.
const MaxVIPs = 4096

// Entry is one VIP as the ConfigMap asks for it.
type Entry struct {
	// Key is the key of the ConfigMap.
	Key string
	// Value is what stands there, shortened if it is long; in the long form,
	// the names of the Services.
	Value string
	// VIP is the address that Key names, or one of those that the long form
	// lists.
	VIP netip.Addr
	// Services are what the VIP stands in front of, sorted by name; none for
	// an address only.
	Services []Service
	// Refused tells that Value could not be served: the address is kept and
	// refuses every port. There are no Services then.
	Refused bool
	// AllowHostPorts admits traffic to the ports of the VIP that no Service has:
	// they belong to the host. Without it they are refused.
	AllowHostPorts bool
	// ProxyProtocol is the version of the PROXY protocol header that the TCP
	// ports are proxied with, 1 or 2; 0: they are not proxied.
	ProxyProtocol int
	// Interfaces are the names of the interfaces that may have the VIP: the
	// first that exists. Empty: not named.
	Interfaces []string
	// VirtualMAC tells whether the LAN knows the VIP by the virtual router's MAC
	// address; nil: not said.
	VirtualMAC *bool
	// VRID is the VIP's virtual router identifier; 0: not named.
	VRID uint8
	// Force starts its virtual router although others use the VRID.
	Force bool
}

// Service is a Service behind a VIP.
type Service struct {
	Name ObjectName
	// Ports are the ports of the VIP that lead to it, sorted by port and
	// protocol, each once. Nil: all of the Service's, each by its own number.
	Ports []PortMapping
}

// PortMapping leads a port of a VIP to one of a Service.
type PortMapping struct {
	Port uint16
	// Protocol is TCP, UDP or SCTP; empty: whichever ServicePort has, which
	// may be several. So two Services of an entry may both have a port without
	// one.
	Protocol string
	// ServicePort is the name of a port of the Service, or its number if it is
	// all digits.
	ServicePort string
}

// Forwards tells whether the VIP's ports are the daemon's business. They are
// not for an address only, whose ports are those of the host.
func (e Entry) Forwards() bool { return e.Refused || len(e.Services) > 0 }

// Problem returns the Problem of e that message tells.
func (e Entry) Problem(message string) Problem {
	return Problem{Key: e.Key, Value: e.Value, Message: message}
}

// ParseEntries reads the data of the ConfigMap. If a value is a YAML mapping,
// its key is a name and the fields are those of the long form. Else the key is
// an address, an IPv6 address with '-' for ':', and the value is
//
//	namespace/service         all ports of the Service
//	namespace/service:NAT     the same
//	namespace/service:DR      served as NAT
//	namespace/service:PROXY   the same with a PROXY protocol header, version 1
//	""                        the address only
//
// The entries come sorted by address, each address once, and the Problems
// sorted by key, at most maxProblems and one of a key. Whatever is wrong with
// one entry leaves the others alone.
func ParseEntries(data map[string]string) ([]Entry, []Problem) {
	p := entryParser{keys: map[netip.Addr]string{}}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		e := Entry{Key: Shorten(key), Value: Shorten(data[key])}
		value := strings.TrimSpace(data[key])
		p.problemsOfKey = 0
		if fields, err := decodeLongForm(value); fields != nil {
			p.parseLongForm(e, fields, err)
		} else {
			p.parseShortForm(e, key, value)
		}
		if more := p.problemsOfKey - maxProblems; more > 0 {
			p.problems = append(p.problems, Problem{Key: e.Key, Message: fmt.Sprintf("%d more problems: they are shown once the problems above are fixed", more)})
		}
	}
	slices.SortFunc(p.entries, func(a, b Entry) int { return a.VIP.Compare(b.VIP) })
	return p.entries, p.problems
}

// entryParser is what was read so far.
type entryParser struct {
	entries  []Entry
	problems []Problem
	// keys has the key of every address in entries.
	keys map[netip.Addr]string
	// problemsOfKey is how many Problems the present key has.
	problemsOfKey int
}

// maxProblems is how many Problems of one key are shown.
const maxProblems = 16

// problem reports what is wrong with e.
func (p *entryParser) problem(e Entry, err error) {
	if p.problemsOfKey++; p.problemsOfKey <= maxProblems {
		p.problems = append(p.problems, e.Problem(err.Error()))
	}
}

// fieldProblem reports what is wrong with a part of an entry in the long form. What
// is not shown costs nothing.
func (p *entryParser) fieldProblem(key string, n *yaml.Node, err error) {
	e := Entry{Key: key}
	if p.problemsOfKey < maxProblems {
		e.Value = formatNode(n)
	}
	p.problem(e, err)
}

// notice reports how e is served otherwise than was asked for.
func (p *entryParser) notice(e Entry, message string) {
	if p.problemsOfKey++; p.problemsOfKey <= maxProblems {
		n := e.Problem(message)
		n.Notice = true
		p.problems = append(p.problems, n)
	}
}

// canAdd tells whether e may have its address, and reports why not.
func (p *entryParser) canAdd(e Entry) bool {
	first, taken := p.keys[e.VIP]
	switch {
	case taken && first == e.Key:
		p.problem(e, errors.New("the address is listed twice: remove one of the two"))
	case taken:
		p.problem(e, fmt.Errorf("key %s has the same address and comes first: the address is ignored here, remove one of the two", first))
	case len(p.entries) == MaxVIPs:
		p.problem(e, fmt.Errorf("not served: %d VIPs, the maximum, come before it in the order of the keys", MaxVIPs))
	default:
		return true
	}
	return false
}

func (p *entryParser) add(e Entry) {
	p.keys[e.VIP] = e.Key
	p.entries = append(p.entries, e)
}

// vipRefused adds what happens to a VIP whose entry is wrong.
func vipRefused(err error) error { return fmt.Errorf("%w; until then the VIP refuses every port", err) }

var broadcastIPv4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// checkVIP accepts what can be a VIP.
func checkVIP(vip netip.Addr) error {
	bare := vip.WithZone("")
	switch {
	case bare.Is6() && bare.IsLinkLocalUnicast():
		return fmt.Errorf("%s is a link-local address: write a global or unique local address", bare)
	case bare.IsUnspecified(), bare.IsLoopback(), bare.IsMulticast(), bare == broadcastIPv4:
		return fmt.Errorf("%s cannot be a VIP: write a free address of the nodes' network", bare)
	case bare != vip:
		return fmt.Errorf("%s has a zone: leave out '%%' and the name after it", bare)
	}
	return nil
}

// parseVIP reads an address; '-' stands for ':'.
func parseVIP(s string) (netip.Addr, error) {
	if len(s) > maxShown {
		return netip.Addr{}, errors.New("too long for an address")
	}
	vip, err := netip.ParseAddr(strings.ReplaceAll(s, "-", ":"))
	return vip.Unmap(), err
}
