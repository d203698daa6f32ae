package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The maximum numbers of Services and of port mappings in an entry. All of them
// apply to each of its addresses.
const (
	maxServices = 64
	maxPorts    = 1024
)

// serviceNames returns the names of the Services, as the Value of an entry in the
// long form.
func (e Entry) serviceNames() string {
	names := make([]string, len(e.Services))
	for i, s := range e.Services {
		names[i] = s.Name.String()
	}
	return Shorten(strings.Join(names, ", "))
}

// parseServices parses the field services. An error in it is a Problem, and e is
// refused.
func (p *entryParser) parseServices(e *Entry, n *yaml.Node) {
	refuse := func(n *yaml.Node, err error) {
		e.Refused = true
		p.fieldProblem(e.Key, n, vipsRefused(fmt.Errorf("services: %w", err)))
	}
	list, ok := sequenceItems(n)
	switch {
	case !ok:
		refuse(n, errors.New("must be a list, such as [{name: namespace/service}]"))
	case len(list) > maxServices:
		refuse(n, fmt.Errorf("%d Services: at most %d are allowed", len(list), maxServices))
		return
	}
	count := 0
	for _, item := range list {
		s, ok := p.parseServiceFields(item, refuse)
		if !ok {
			continue
		}
		if count += len(s.Ports); count > maxPorts {
			refuse(n, fmt.Errorf("more than %d ports: an entry may have no more", maxPorts))
			return
		}
		e.Services = append(e.Services, s)
	}
	slices.SortStableFunc(e.Services, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	p.mergeServices(e, n, refuse)
}

// parseServiceFields parses an element of the list of Services. It calls refuse for
// each error.
func (p *entryParser) parseServiceFields(n *yaml.Node, refuse func(*yaml.Node, error)) (s Service, ok bool) {
	fields, ok := mappingPairs(n)
	if !ok {
		refuse(n, errors.New("must be a list, such as [{name: namespace/service}]"))
		return s, false
	}
	field := map[string]*yaml.Node{}
	for _, f := range fields {
		switch name := f.key.Value; {
		case name != "name" && name != "ports":
			refuse(n, fmt.Errorf("unknown field %q: the fields are name and ports", Shorten(name)))
			return s, false
		case field[name] != nil:
			refuse(n, fmt.Errorf("%s: set twice: remove one of the two", name))
			return s, false
		default:
			field[name] = f.value
		}
	}
	name := ""
	if n := field["name"]; n != nil {
		name = scalar(n)
	}
	s.Name, ok = ObjectName{}, true
	var err error
	if s.Name, err = parseServiceName(name); err != nil {
		refuse(n, err)
		ok = false
	}
	ports := field["ports"]
	if ports == nil {
		return s, ok
	}
	list, isMapping := mappingPairs(ports)
	switch {
	case !isMapping || len(list) == 0:
		refuse(ports, errors.New("ports: must map ports of the VIP to ports of the Service, such as {8080: http}: leave it out for all ports of the Service"))
		return s, false
	case len(list) > maxPorts:
		refuse(ports, fmt.Errorf("ports: more than %d: an entry may have no more", maxPorts))
		return s, false
	}
	for _, f := range list {
		m, err := parsePortMapping(f)
		if err != nil {
			refuse(&yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{f.key, f.value}}, fmt.Errorf("ports: %w", err))
			ok = false
			continue
		}
		s.Ports = append(s.Ports, m)
	}
	return s, ok
}

// parsePortMapping parses PORT[/PROTOCOL]: SERVICEPORT.
func parsePortMapping(f pair) (m PortMapping, err error) {
	number, protocol, found := strings.Cut(scalar(f.key), "/")
	port, err := parseNumber(number, 16)
	if err != nil {
		return m, errors.New("the number before the colon must be a port of the VIP, from 1 to 65535 in decimal digits, such as 8080 or 53/UDP")
	}
	switch upper := strings.ToUpper(protocol); {
	case !found:
	case upper != "TCP" && upper != "UDP" && upper != "SCTP":
		return m, fmt.Errorf("unknown protocol %q: write TCP, UDP or SCTP, or leave it out to use the protocol of the Service's port", Shorten(protocol))
	case upper != protocol:
		return m, fmt.Errorf("the protocol must be in capitals: %s/%s", number, upper)
	}
	target := scalar(f.value)
	if strings.Trim(target, "0123456789") == "" { // With or without quotes.
		_, err = parseNumber(target, 16)
	} else if err = checkLabel(target); stringScalar(f.value) == "" {
		err = errors.New("not a string: 1e3, 0x50 and true are numbers and booleans")
	}
	if err != nil {
		return m, errors.New("the value after the colon must be the name of a port of the Service, or its number from 1 to 65535 in decimal digits")
	}
	return PortMapping{Port: uint16(port), Protocol: protocol, ServicePort: target}, nil
}

// mergeServices merges the Services of e that have the same name, sorts their ports,
// and removes ports that an earlier Service has. It compares ports with a protocol
// only: the protocol of the others depends on the Service in the cluster, so the
// controller resolves conflicts between these.
func (p *entryParser) mergeServices(e *Entry, n *yaml.Node, refuse func(*yaml.Node, error)) {
	type vipPort struct {
		port     uint16
		protocol string
	}
	var merged []Service
	for _, s := range e.Services {
		last := len(merged) - 1
		switch {
		case last < 0 || merged[last].Name != s.Name:
			merged = append(merged, s)
		case s.Ports == nil || merged[last].Ports == nil:
			refuse(n, fmt.Errorf("%s is listed twice: list it once, with all its ports or without ports", s.Name))
		default:
			merged[last].Ports = append(merged[last].Ports, s.Ports...)
		}
	}
	owner := map[vipPort]ObjectName{}
	e.Services = nil
	for _, s := range merged {
		slices.SortFunc(s.Ports, comparePorts)
		var ports []PortMapping
		for i, m := range s.Ports {
			first, taken := owner[vipPort{m.Port, m.Protocol}]
			switch {
			case i > 0 && s.Ports[i-1].Port == m.Port && s.Ports[i-1].Protocol == m.Protocol:
				refuse(n, fmt.Errorf("ports: %s lists %s twice: remove one of the two, or add the protocol of each", s.Name, m.vipPort()))
			case taken && m.Protocol != "":
				p.problem(Entry{Key: e.Key, Value: m.vipPort() + ": " + m.ServicePort}, fmt.Errorf("services: ports: %s leads to %s, which comes first by name, and not to %s: choose another port for one of the two", m.vipPort(), first, s.Name))
			default:
				owner[vipPort{m.Port, m.Protocol}] = s.Name
				ports = append(ports, m)
			}
		}
		if s.Ports == nil || ports != nil { // A nil Ports would mean all ports.
			e.Services = append(e.Services, Service{Name: s.Name, Ports: ports})
		}
	}
}

// vipPort returns the port of the VIP as the ConfigMap has it.
func (m PortMapping) vipPort() string {
	if m.Protocol == "" {
		return fmt.Sprint(m.Port)
	}
	return fmt.Sprintf("%d/%s", m.Port, m.Protocol)
}

func comparePorts(a, b PortMapping) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.ServicePort, b.ServicePort))
}
