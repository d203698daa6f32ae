package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decodeLongForm returns the YAML mapping in value, or nil if value is not in the
// long form. It returns an error together with the mapping if value has more YAML
// after it. A mapping with a single key that contains a slash is not the long form:
// "ns/svc: NAT" is the short form with a blank too many.
func decodeLongForm(value string) (*yaml.Node, error) {
	if !strings.Contains(value, ":") {
		return nil, nil // The common case: a decoder costs more than all the rest.
	}
	var document, next yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(value))
	if decoder.Decode(&document) != nil || len(document.Content) == 0 {
		return nil, nil
	}
	fields := document.Content[0]
	if fields.Kind != yaml.MappingNode || len(fields.Content) == 0 || len(fields.Content) == 2 && strings.Contains(fields.Content[0].Value, "/") {
		return nil, nil
	}
	if err := decoder.Decode(&next); !errors.Is(err, io.EOF) {
		return fields, errors.New(`the value has text after the end of a YAML document ("---" or "..."): write one document, and another entry for the rest`)
	}
	return fields, nil
}

// parseLongForm parses an entry in the long form:
//
//	addresses: [192.168.1.102, "2001:db8::102"]   the VIPs
//	services:                                     the Services behind them
//	  - name: namespace/service
//	    ports: {8080: http, 53/UDP: dns}          port of the VIP: of the Service
//	guard: false
//	proxyProtocol: v2
//	interface: [eth1, ens3]                       or one name
//	virtualMAC: true
//	vrid: 60
//	force: true
//
// Each invalid field is a Problem, and the VIPs of the entry then refuse every port.
// But an invalid address does not affect the others, and of two Services with the
// same port only the later one loses it. The error trailing, if any, is that of
// decodeLongForm.
func (p *entryParser) parseLongForm(e Entry, fields *yaml.Node, trailing error) {
	refuse := func(n *yaml.Node, err error) {
		e.Refused = true
		p.fieldProblem(e.Key, n, vipsRefused(err))
	}
	if trailing != nil {
		e.Refused = true
		p.problem(e, vipsRefused(trailing))
	}
	list, _ := mappingPairs(fields)
	field := map[string]*yaml.Node{}
	for _, f := range list {
		name := f.key.Value
		if field[name] != nil {
			refuse(f.value, fmt.Errorf("%s: set twice: remove one of the two", fieldName(f.key)))
			continue
		}
		field[name] = f.value
		if name == "services" {
			p.parseServices(&e, f.value)
		} else if err := e.setField(name, f.value); err != nil {
			refuse(f.value, fmt.Errorf("%s: %w", fieldName(f.key), err))
		}
	}
	if proxy := field["proxyProtocol"]; proxy != nil && !e.Refused && len(e.Services) == 0 {
		refuse(proxy, errors.New("proxyProtocol: requires services: name the Service to proxy to, or leave it out"))
	}
	addresses := field["addresses"]
	if addresses == nil {
		e.Value = e.serviceNames()
		e.Refused = true
		p.problem(e, vipsRefused(errors.New("addresses: missing: list the VIPs, since the key of the long form is only a name")))
	}

	if e.Refused {
		e.Services, e.AllowHostPorts, e.ProxyProtocol = nil, false, 0
	}
	if guard := field["guard"]; guard != nil && !e.Refused && len(e.Services) == 0 {
		e.AllowHostPorts = false
		p.notice(Entry{Key: e.Key, Value: formatNode(guard)}, "guard: no effect without services: leave it out")
	}
	e.Value = e.serviceNames()
	p.parseAddresses(e, addresses)
}

// parseAddresses adds e for each of the addresses in n, which is nil if the field is
// missing.
func (p *entryParser) parseAddresses(e Entry, n *yaml.Node) {
	if n == nil {
		// The operator may have meant the key to be the VIP.
		if vip, err := parseVIP(e.Key); err == nil && checkVIP(vip) == nil {
			p.addAddress(e, vip, e.Key)
		}
		return
	}
	list, ok := sequenceItems(n)
	if !ok {
		list = []*yaml.Node{n} // setField has returned the error.
	}
	for _, a := range list {
		vip, err := parseVIP(scalar(a))
		if err != nil {
			err = errors.New("not an IP address: write one such as 192.168.1.99 or 2001:db8::10")
		} else {
			err = checkVIP(vip)
		}
		switch {
		case err == nil:
			p.addAddress(e, vip, scalar(a))
		case ok || resolveAlias(n).Kind == yaml.ScalarNode:
			p.fieldProblem(e.Key, a, fmt.Errorf("addresses: %w", err))
		}
	}
}

// addAddress adds e as the entry of vip, which is written as shown, unless there is
// one.
func (p *entryParser) addAddress(e Entry, vip netip.Addr, shown string) {
	e.VIP = vip
	if p.canAdd(Entry{Key: e.Key, Value: shown, VIP: vip}) {
		p.add(e)
	}
}

// vipsRefused adds the consequence for the VIPs to an error in the long form.
func vipsRefused(err error) error {
	return fmt.Errorf("%w; until then its VIPs refuse every port", err)
}

// setField sets the field of e with this name, except for addresses, which it only
// checks, and services.
func (e *Entry) setField(name string, n *yaml.Node) (err error) {
	switch name {
	case "addresses":
		if list, _ := sequenceItems(n); len(list) == 0 {
			return errors.New("must be a list, such as [192.168.1.99]")
		}
	case "guard":
		var guard bool
		guard, err = parseBool(n)
		e.AllowHostPorts = !guard
	case "proxyProtocol":
		switch scalar(n) {
		case "v1":
			e.ProxyProtocol = 1
		case "v2":
			e.ProxyProtocol = 2
		default:
			return errors.New("must be v1 or v2")
		}
	case "interface":
		e.Interfaces, err = parseInterfaces(n)
	case "virtualMAC":
		var virtual bool
		if virtual, err = parseBool(n); err == nil {
			e.VirtualMAC = &virtual
		}
	case "vrid":
		vrid, err := parseNumber(scalar(n), 8)
		if err != nil || resolveAlias(n).ShortTag() != "!!int" {
			return errors.New("must be a number from 1 to 255")
		}
		e.VRID = uint8(vrid)
	case "force":
		e.Force, err = parseBool(n)
	default:
		return errors.New("unknown field: the fields are addresses, services, guard, proxyProtocol, interface, virtualMAC, vrid and force")
	}
	return err
}

// maxInterfaces is the maximum number of interfaces in an entry.
const maxInterfaces = 64

// parseInterfaces parses the field interface: a name, or a list of names.
func parseInterfaces(n *yaml.Node) (names []string, err error) {
	list, ok := sequenceItems(n)
	if !ok {
		list = []*yaml.Node{n}
	}
	if len(list) > maxInterfaces {
		return nil, fmt.Errorf("%d names: at most %d are allowed", len(list), maxInterfaces)
	}
	for _, n := range list {
		name := stringScalar(n)
		if name == "" || !isInterfaceName(name) {
			return nil, errors.New("must be names of network interfaces: at most 15 characters each, without '/' or blanks")
		}
		names = append(names, name)
	}
	return names, nil
}
