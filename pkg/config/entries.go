package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// MaxVIPs is how many addresses one virtual router can advertise: the Count
// IPvX Addr field is one byte (RFC 9568 section 5.2.5).
const MaxVIPs = 255

// Entry is one VIP as the ConfigMap asks for it.
type Entry struct {
	// Key is the key of the ConfigMap.
	Key string
	// Value is what stands there, shortened if it is long.
	Value string
	// VIP is the address that Key names.
	VIP netip.Addr
	// Service is what the VIP stands in front of; zero for an address only.
	Service ObjectName
	// Refused tells that Value could not be served: the address is kept and
	// refuses every port. Service is zero then.
	Refused bool
}

// Forwards tells whether the VIP's ports are the daemon's business. They are
// not for an address only, whose ports are those of the host.
func (e Entry) Forwards() bool { return e.Refused || !e.Service.IsZero() }

// Problem returns the Problem of e that message tells.
func (e Entry) Problem(message string) Problem {
	return Problem{Key: e.Key, Value: e.Value, Message: message}
}

// ParseEntries reads the data of the ConfigMap: a key is an IPv4 address, a
// value is
//
//	namespace/service         all ports of the Service
//	namespace/service:NAT     the same
//	namespace/service:DR      served as NAT
//	""                        the address only
//
// The entries come sorted by address, each address once, and the Problems
// sorted by key. Whatever is wrong with one entry leaves the others alone.
func ParseEntries(data map[string]string) ([]Entry, []Problem) {
	var (
		entries  []Entry
		problems []Problem
		keys     = map[netip.Addr]string{}
	)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		e := Entry{Key: Shorten(key), Value: Shorten(data[key])}
		value := strings.TrimSpace(data[key])
		vip, err := parseVIP(key, value)
		if err != nil {
			problems = append(problems, e.Problem(err.Error()))
			continue
		}
		if first, ok := keys[vip]; ok {
			problems = append(problems, e.Problem(fmt.Sprintf("key %s is the same address and comes first: this entry is ignored, remove one of the two", first)))
			continue
		}
		if len(entries) == MaxVIPs {
			problems = append(problems, e.Problem(fmt.Sprintf("not served: one virtual router advertises at most %d addresses", MaxVIPs)))
			continue
		}
		keys[vip] = e.Key
		e.VIP = vip
		notice, err := parseValue(&e, value)
		switch {
		case err != nil:
			e.Service, e.Refused = ObjectName{}, true
			problems = append(problems, e.Problem(err.Error()+"; until then the VIP refuses every port"))
		case notice != "":
			p := e.Problem(notice)
			p.Notice = true
			problems = append(problems, p)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return a.VIP.Compare(b.VIP) })
	return entries, problems
}

// parseVIP reads the key of an entry. The value only decides what the error
// says about a key that is no address.
func parseVIP(key, value string) (netip.Addr, error) {
	// No key of a ConfigMap may contain ':'.
	vip, err := netip.ParseAddr(strings.ReplaceAll(key, "-", ":"))
	switch vip = vip.Unmap(); {
	case err != nil && isMapping(value):
		return netip.Addr{}, errors.New("the long form is not supported yet: write an IPv4 address as the key and namespace/service as the value")
	case err != nil:
		return netip.Addr{}, errors.New("the key is not an IP address: write an IPv4 address such as 192.168.1.99")
	case vip.Is6():
		return netip.Addr{}, errors.New("IPv6 is not supported yet: write an IPv4 address")
	case vip.IsUnspecified(), vip.IsLoopback(), vip.IsMulticast(), vip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, fmt.Errorf("%s can not be a VIP: write a free address of the nodes' network", vip)
	}
	return vip, nil
}

// parseValue sets e.Service from the value of an entry. The notice says how
// what is served differs from what was asked for.
func parseValue(e *Entry, value string) (notice string, err error) {
	if value == "" {
		return "", nil
	}
	if isMapping(value) {
		return "", errors.New("the long form is not supported yet: write namespace/service")
	}
	service, method, found := strings.Cut(value, ":")
	if e.Service, err = parseObjectName(service); err != nil {
		return "", errors.New("the Service is not named in full: write namespace/service, or nothing for the address only")
	}
	if err := checkLabel(e.Service.Namespace); err != nil {
		return "", fmt.Errorf("the namespace %q %w", Shorten(e.Service.Namespace), err)
	}
	if err := checkLabel(e.Service.Name); err != nil {
		return "", fmt.Errorf("the Service name %q %w", Shorten(e.Service.Name), err)
	}
	switch {
	case !found, method == "NAT":
		return "", nil
	case method == "DR":
		return "DR is served as NAT: write namespace/service to say so", nil
	case method == "PROXY":
		return "", errors.New("PROXY is not supported yet: write namespace/service")
	}
	const right = "leave it out, or write NAT"
	if upper := strings.ToUpper(strings.TrimSpace(method)); upper == "NAT" || upper == "DR" || upper == "PROXY" {
		return "", fmt.Errorf("the method %q must be written %s: %s", method, upper, right)
	}
	return "", fmt.Errorf("the method %q does not exist: %s", Shorten(method), right)
}

// isMapping tells whether value is the YAML mapping of the long form. A
// mapping of a slash is none: "ns/svc: NAT" is the short form with a blank too
// many.
func isMapping(value string) bool {
	var m map[string]any
	if !strings.Contains(value, ":") || yaml.Unmarshal([]byte(value), &m) != nil || len(m) == 0 {
		return false
	}
	for k := range m {
		if strings.Contains(k, "/") {
			return false
		}
	}
	return true
}
