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

// mapping reads an entry in the long form:
//
//	addresses: [192.168.1.102, "2001:db8::102"]   the VIPs
//	services: [{name: namespace/service}]         one at most
//	interface: [eth1, ens3]                       or one name
//	vrid: 60
//	force: true
//
// Every field that is wrong is a Problem, and then the VIPs are kept and
// refuse every port. An address that is wrong costs only itself.
func (p *parsed) mapping(e Entry, value string) {
	var fields map[string]any
	// That a field is there twice is an error of UnmarshalStrict only.
	if err := yaml.UnmarshalStrict([]byte(value), &fields); err != nil {
		e.Refused = true
		p.problem(e, vipsUntilThen(fmt.Errorf("the value is not right: %s", yamlError(err))))
		fields = nil
		_ = yaml.Unmarshal([]byte(value), &fields) // isMapping has seen it work.
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := e.setField(name, fields[name]); err != nil {
			e.Refused = true
			p.problem(Entry{Key: e.Key, Value: show(fields[name])}, vipsUntilThen(fmt.Errorf("%s: %w", Shorten(name), err)))
		}
	}
	e.Value = ""
	switch {
	case e.Refused:
		e.Services = nil
	case len(e.Services) > 0:
		e.Value = e.Services[0].Name.String()
	}

	addresses, found := fields["addresses"]
	if !found {
		p.problem(e, vipsUntilThen(errors.New("addresses: not there: list the VIPs, a key with fields is only a name")))
		// Whoever meant the key to be the VIP keeps it.
		e.Refused, e.Services = true, nil
		if vip, err := parseVIP(e.Key); err == nil && checkVIP(vip) == nil {
			addresses = e.Key
		}
	}
	list, _ := addresses.([]any)
	if text, ok := addresses.(string); ok {
		list = []any{text} // setField has said what is wrong.
	}
	for _, a := range list {
		one := Entry{Key: e.Key, Value: show(a)}
		text, _ := a.(string)
		vip, err := parseVIP(text)
		if err != nil {
			err = errors.New("not an IP address: write one such as 192.168.1.99 or 2001:db8::10")
		} else {
			err = checkVIP(vip)
		}
		if err != nil {
			p.problem(one, fmt.Errorf("addresses: %w", err))
			continue
		}
		one.VIP, e.VIP = vip, vip
		if p.isFree(one) {
			p.add(e)
		}
	}
}

func vipsUntilThen(err error) error {
	return fmt.Errorf("%w; until then its VIPs refuse every port", err)
}

// setField sets what a field other than addresses says.
func (e *Entry) setField(name string, v any) (err error) {
	switch name {
	case "addresses":
		if list, _ := v.([]any); len(list) == 0 {
			return errors.New("must be a list, such as [192.168.1.99]")
		}
	case "services":
		e.Services, err = parseServices(v)
	case "interface":
		e.Interfaces, err = parseInterfaces(v)
	case "vrid":
		n, _ := v.(float64)
		if n < 1 || n > 255 || n != float64(uint8(n)) {
			return errors.New("must be a number from 1 to 255")
		}
		e.VRID = uint8(n)
	case "force":
		force, ok := v.(bool)
		if e.Force = force; !ok {
			return errors.New("must be true or false")
		}
	default:
		return errors.New("no such field: there are addresses, services, interface, vrid and force")
	}
	return err
}

// parseServices reads the field services.
func parseServices(v any) ([]Service, error) {
	list, ok := v.([]any)
	switch {
	case !ok:
		return nil, errors.New("must be a list, such as [{name: namespace/service}]")
	case len(list) == 0:
		return nil, nil
	case len(list) > 1:
		return nil, errors.New("more than one Service is not supported yet: name one")
	}
	fields, ok := list[0].(map[string]any)
	if !ok {
		return nil, errors.New("must be a list, such as [{name: namespace/service}]")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch name {
		case "name":
		case "ports":
			return nil, errors.New("ports is not supported yet: leave it out, every port of the Service is served")
		default:
			return nil, fmt.Errorf("no such field %q: there is name", Shorten(name))
		}
	}
	name, _ := fields["name"].(string)
	service, err := parseService(name)
	if err != nil {
		return nil, err
	}
	return []Service{{Name: service}}, nil
}

// parseInterfaces reads the field interface.
func parseInterfaces(v any) (names []string, err error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, v := range list {
		name, _ := v.(string)
		if name == "" || !isInterfaceName(name) {
			return nil, errors.New("must be names of network interfaces: at most 15 characters each, without '/' or blanks")
		}
		names = append(names, name)
	}
	return names, nil
}

// parseVIP reads an address; '-' stands for ':'.
func parseVIP(s string) (netip.Addr, error) {
	vip, err := netip.ParseAddr(strings.ReplaceAll(s, "-", ":"))
	return vip.Unmap(), err
}

// yamlError returns the text of an error of the YAML package as one line.
func yamlError(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return Shorten(strings.TrimPrefix(text, "error converting YAML to JSON: "))
}

// show returns the value of a field as YAML, shortened.
func show(v any) string {
	text, err := yaml.Marshal(v)
	if err != nil {
		return ""
	}
	return Shorten(strings.TrimSpace(string(text)))
}
