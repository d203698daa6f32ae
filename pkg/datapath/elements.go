package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/internal/prefix"
	"kube-vrrp-vip/pkg/nft"
)

// elements are the elements of the datapath's table.
type elements nft.Elements

// emptyElements returns the elements without any VIP.
func emptyElements() elements {
	c := make(elements)
	for _, s := range datapathSpec.Sets {
		c[s.Name] = make(map[string]string)
	}
	for _, f := range families {
		for _, typ := range f.icmpErrors {
			c[f.named(setErrors)][string(typ)] = ""
		}
	}
	return c
}

// addPods adds the networks of the node's pods. The kernel refuses ranges that
// overlap.
func (c elements) addPods(prefixes []netip.Prefix) {
	for _, p := range prefix.Outermost(prefixes) {
		if f, ok := familyOf(p.Addr()); ok {
			for _, key := range nft.RangeKeys("", p) {
				c[f.named(setPods)][key] = ""
			}
		}
	}
}

// addForward adds the elements of one forward, and of no other one, given its
// zones and whether SCTP ports stay as they are. It returns the problems of the ports
// that cannot be added.
func (c elements) addForward(forward desired.Forward, zones map[zoneKey]uint16, sctpPortStays bool) []error {
	f, ok := familyOf(forward.VIP)
	if !ok {
		return []error{fmt.Errorf("forward %s: neither an IPv4 nor an IPv6 address", forward.VIP)}
	}
	vip := string(forward.VIP.AsSlice())
	c[f.named(setVIP)][vip] = ""
	if !forward.Open {
		c[f.named(setGuarded)][vip] = ""
	}
	if zone, ok := zones[zoneKey{vip: forward.VIP}]; ok {
		c[f.named(mapZone)][vip] = zoneBytes(zone)
		c[f.named(mapBack)][zoneBytes(zone)] = vip
		c[setMasquerade][zoneBytes(zone)] = ""
	}
	var problems []error
	for _, p := range forward.Ports {
		if err := c.addPort(f, forward, p, zones, sctpPortStays); err != nil {
			problems = append(problems, fmt.Errorf("forward %s %s port %d to %s: %w", forward.VIP, p.Protocol, p.Port, p.Target, err))
		}
	}
	return problems
}

func (c elements) addPort(f ipFamily, forward desired.Forward, p desired.Port, zones map[zoneKey]uint16, sctpPortStays bool) error {
	if target, ok := familyOf(p.Target.Addr()); !ok || target.number != f.number {
		return fmt.Errorf("the target is no IPv%s address", f.suffix)
	}
	if p.Protocol != desired.TCP && p.Protocol != desired.UDP && p.Protocol != desired.SCTP {
		return fmt.Errorf("not TCP, UDP or SCTP")
	}
	if sctpPortStays && p.Protocol == desired.SCTP && p.Target.Port() != p.Port {
		return fmt.Errorf("an SCTP port that leads to another port number needs Linux 5.11 or later")
	}
	vip, target := string(forward.VIP.AsSlice()), string(p.Target.Addr().AsSlice())
	port := portKey(forward.VIP, p.Protocol, p.Port)
	key := keyOfPort(forward, p)
	zone, ok := zones[key]
	if !ok {
		return nil // The zones have an error of their own.
	}
	if key == (zoneKey{vip: forward.VIP}) && !p.Restricted {
		c[f.named(mapTarget)][port] = target
		return nil
	}
	c[f.named(mapMappedTarget)][port] = target
	c[f.named(mapMappedPort)][port] = portBytes(p.Target.Port())
	c[f.named(mapMappedZone)][port] = zoneBytes(zone)
	if key.port == 0 {
		c[f.named(mapBack)][zoneBytes(zone)] = vip
	} else {
		c[f.named(mapMappedBack)][zoneBytes(zone)] = vip
		c[mapMappedBackPort][zoneBytes(zone)] = portBytes(key.port)
	}
	if !key.keep {
		c[setMasquerade][zoneBytes(zone)] = ""
	}
	if p.Proxied() {
		c[setProxied][zoneBytes(zone)] = ""
		c.addPrivate(p)
	}
	if !p.Restricted {
		return nil
	}
	c[f.named(setLimited)][port] = ""
	var problem error
	for _, s := range prefix.Outermost(p.Sources) {
		source, ok := familyOf(s.Addr())
		if !ok || source.number != f.number {
			problem = fmt.Errorf("the source range %s is not of IPv%s", s, f.suffix)
			continue
		}
		for _, key := range nft.RangeKeys(port, s) {
			c[f.named(setSources)][key] = ""
		}
	}
	return problem
}

// addPrivate adds the listener of a port, if the daemon serves it itself.
func (c elements) addPrivate(p desired.Port) {
	if f, ok := familyOf(p.Target.Addr()); ok && p.Protocol == desired.TCP && p.Proxied() {
		c[f.named(setPrivate)][string(p.Target.Addr().AsSlice())+portBytes(p.Target.Port())+"\x00\x00"] = ""
	}
}

// familyOf returns the family of an address, if it has one.
func familyOf(a netip.Addr) (ipFamily, bool) {
	switch {
	case a.Is4():
		return ipv4, true
	case a.Is6() && !a.Is4In6():
		return ipv6, true
	default:
		return ipFamily{}, false
	}
}

// portKey returns the key of a VIP's port: the address, and then protocol and port,
// each padded to four bytes.
func portKey(vip netip.Addr, protocol desired.Protocol, port uint16) string {
	key := append(vip.AsSlice(), byte(protocol), 0, 0, 0)
	key = binary.BigEndian.AppendUint16(key, port)
	return string(append(key, 0, 0))
}

func portBytes(port uint16) string { return string(binary.BigEndian.AppendUint16(nil, port)) }

func zoneBytes(zone uint16) string { return string(binary.NativeEndian.AppendUint16(nil, zone)) }
