package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseShortForm parses an entry in the short form.
func (p *entryParser) parseShortForm(e Entry, key, value string) {
	var err error
	if e.VIP, err = parseKey(key, value); err != nil {
		p.problem(e, err)
		return
	}
	if !p.canAdd(e) {
		return
	}
	notice, err := parseValue(&e, value)
	switch {
	case err != nil:
		e.Services, e.Refused = nil, true
		p.problem(e, vipRefused(err))
	case notice != "":
		p.notice(e, notice)
	}
	p.add(e)
}

// parseKey parses the key of an entry in the short form. A key that is not an
// address may belong to the long form: value decides which error parseKey returns
// then.
func parseKey(key, value string) (netip.Addr, error) {
	vip, err := parseVIP(key)
	if err == nil {
		return vip, checkVIP(vip)
	}
	var v yaml.Node
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return vip, fmt.Errorf("the key is not an IP address, and the value is not YAML: %s", yamlError(err))
	}
	return vip, errors.New("the key is not an IP address: write one such as 192.168.1.99 or 2001-db8--10")
}

// parseValue sets e.Services and e.ProxyProtocol from the value of an entry. The
// notice is not empty if the entry is not served as written.
func parseValue(e *Entry, value string) (notice string, err error) {
	if value == "" {
		return "", nil
	}
	name, method, found := strings.Cut(value, ":")
	service, err := parseServiceName(name)
	if err != nil {
		return "", err
	}
	e.Services = []Service{{Name: service}}
	switch {
	case !found, method == "NAT":
		return "", nil
	case method == "DR":
		return "DR is served as NAT: write namespace/service instead", nil
	case method == "PROXY":
		e.ProxyProtocol = 1 // Like send-proxy of HAProxy.
		return "", nil
	}
	if upper := strings.ToUpper(strings.TrimSpace(method)); upper == "NAT" || upper == "DR" || upper == "PROXY" {
		return "", fmt.Errorf("the method %q must be written %s, in capitals and without blanks", Shorten(method), upper)
	}
	return "", fmt.Errorf("unknown method %q: leave it out, or write NAT or PROXY", Shorten(method))
}
