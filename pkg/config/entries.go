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

// MaxVIPs is the maximum number of VIPs. The Master renews the lease of each twice a
// second.
const MaxVIPs = 4096

// Entry is the configuration of one VIP.
type Entry struct {
	// Key is the key of the entry in the ConfigMap.
	Key string
	// Value identifies the entry in Problems: its value in the short form,
	// shortened if it is long, and the names of the Services in the long form.
	Value string
	// VIP is the address that Key contains or, in the long form, one of the listed
	// addresses.
	VIP netip.Addr
	// Services are the Services behind the VIP, sorted by name. An entry without
	// Services is an address only.
	Services []Service
	// Refused reports whether the entry is invalid except for its address. The node
	// keeps the address, and the VIP refuses every port. Services is empty then.
	Refused bool
	// AllowHostPorts admits traffic to the ports of the VIP that no Service has: it
	// reaches the sockets of the node. Without it such traffic is rejected.
	AllowHostPorts bool
	// ProxyProtocol is the version of the PROXY protocol header with which the TCP
	// ports are proxied, 1 or 2. If it is 0, they are not proxied.
	ProxyProtocol int
	// Interfaces are the names of the interfaces that may have the VIP: a node takes
	// the first that it has. If the list is empty, --iface or the node's addresses
	// decide.
	Interfaces []string
	// VirtualMAC reports whether the VIP is advertised with the virtual router MAC
	// address (RFC 9568 section 7.3). If it is nil, --virtual-mac decides.
	VirtualMAC *bool
	// VRID is the virtual router identifier of the VIP, 1 to 255, or 0 if the entry
	// has none.
	VRID uint8
	// Force starts the virtual router even if other routers use the VRID for other
	// addresses.
	Force bool
}

// Service is a Service behind a VIP.
type Service struct {
	Name ObjectName
	// Ports map ports of the VIP to ports of the Service, sorted by port and
	// protocol, without duplicates. If Ports is nil, the VIP has all ports of the
	// Service, with the same numbers.
	Ports []PortMapping
}

// PortMapping maps a port of a VIP to a port of a Service.
type PortMapping struct {
	Port uint16
	// Protocol is TCP, UDP or SCTP. If it is empty, the mapping is for every
	// protocol of ServicePort. So two Services of an entry may map the same port
	// without a protocol.
	Protocol string
	// ServicePort is the name of a port of the Service or, if it consists of digits,
	// its number.
	ServicePort string
}

// Forwards reports whether the daemon forwards or refuses traffic to the ports of
// the VIP. If not, e is an address only: its ports are those of the host.
func (e Entry) Forwards() bool { return e.Refused || len(e.Services) > 0 }

// Problem returns a Problem with e and this message.
func (e Entry) Problem(message string) Problem {
	return Problem{Key: e.Key, Value: e.Value, Message: message}
}

// ParseEntries parses the data of the ConfigMap. If a value is a YAML mapping, its
// key is a name, and its fields are those of the long form. Otherwise the key is an
// address, with '-' for ':' in an IPv6 address, and the value is
//
//	namespace/service         all ports of the Service
//	namespace/service:NAT     the same
//	namespace/service:DR      served as NAT
//	namespace/service:PROXY   proxied with a PROXY protocol header, version 1
//	""                        the address only
//
// The entries are sorted by address, each address once, and the Problems by key.
// Beyond the first 16 Problems of a key, one more gives the number of the others. An
// error in an entry does not affect other entries.
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

// entryParser parses the entries of a ConfigMap, and collects the results.
type entryParser struct {
	entries  []Entry
	problems []Problem
	// keys maps every address in entries to its key.
	keys map[netip.Addr]string
	// problemsOfKey counts the Problems of the current key.
	problemsOfKey int
}

// maxProblems is the maximum number of Problems of a key that are reported.
const maxProblems = 16

// problem adds a Problem about an error in e.
func (p *entryParser) problem(e Entry, err error) {
	if p.problemsOfKey++; p.problemsOfKey <= maxProblems {
		p.problems = append(p.problems, e.Problem(err.Error()))
	}
}

// fieldProblem adds a Problem about an error in n, a part of an entry in the long
// form. It formats n only if the Problem is reported.
func (p *entryParser) fieldProblem(key string, n *yaml.Node, err error) {
	e := Entry{Key: key}
	if p.problemsOfKey < maxProblems {
		e.Value = formatNode(n)
	}
	p.problem(e, err)
}

// notice adds a Problem about e that does not keep it from being served.
func (p *entryParser) notice(e Entry, message string) {
	if p.problemsOfKey++; p.problemsOfKey <= maxProblems {
		n := e.Problem(message)
		n.Notice = true
		p.problems = append(p.problems, n)
	}
}

// canAdd reports whether e can have its address. If not, it adds a Problem.
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

// vipRefused adds the consequence for the VIP to an error in the short form.
func vipRefused(err error) error { return fmt.Errorf("%w; until then the VIP refuses every port", err) }

var broadcastIPv4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// checkVIP returns an error if vip cannot be a VIP.
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

// parseVIP parses an address, in which '-' stands for ':'. A key of a ConfigMap
// cannot contain ':'.
func parseVIP(s string) (netip.Addr, error) {
	if len(s) > maxShown {
		return netip.Addr{}, errors.New("too long for an address")
	}
	vip, err := netip.ParseAddr(strings.ReplaceAll(s, "-", ":"))
	return vip.Unmap(), err
}
