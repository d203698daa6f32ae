package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kube-vrrp-vip/pkg/desired"
)

// Datapath keeps the table inet kube_vrrp_vip of the network namespace it is
// used in. It is not safe for concurrent use.
type Datapath struct {
	table table
	zones zones
}

// NewDatapath returns a Datapath that has not looked at the kernel yet.
func NewDatapath() *Datapath {
	return &Datapath{table: table{spec: datapathSpec}, zones: zones{busy: busyZones}}
}

// Sync makes the table forward exactly this. The first call adopts the table
// that is there, later ones write the difference in one transaction, and a
// call without any difference only looks. What others changed in the table is
// put right.
//
// A forward that cannot be done does not keep the others from being done; the
// error names it.
func (d *Datapath) Sync(desired desired.Datapath) error {
	var problems []error
	err := d.table.update(func(have contents) contents {
		var want contents
		want, problems = d.contents(desired.Forwards, have)
		return want
	})
	return errors.Join(append(problems, err)...)
}

const (
	// retryMin is the wait after the first Sync that failed. It doubles with
	// each further one, up to recheck.
	retryMin = 100 * time.Millisecond
	// recheck is how often Run looks for changes by others: until then a
	// firewall that was loaded with "flush ruleset" leaves the VIPs without
	// their Services. A look is one question to the kernel as long as nobody
	// changed any table.
	recheck = 5 * time.Second
)

// Run syncs to the newest state it has received until ctx is done. It tries
// again after an error, and looks every 5 s whether the table is still what
// it wrote. After each attempt it reports the result, nil if all is well.
func (d *Datapath) Run(ctx context.Context, wanted <-chan desired.Datapath, report func(error)) {
	run(ctx, wanted, d.Sync, report)
}

func run(ctx context.Context, states <-chan desired.Datapath, sync func(desired.Datapath) error, report func(error)) {
	var wanted desired.Datapath
	received := false
	retry := retryMin
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case d, ok := <-states:
			if !ok {
				states = nil // What was last wanted stays.
				continue
			}
			wanted, received = d, true
			for len(states) > 0 {
				wanted = <-states
			}
		case <-timer.C:
		}
		next := recheck
		if received {
			err := sync(wanted)
			report(err)
			if err == nil {
				retry = retryMin
			} else {
				next = retry
				retry = min(2*retry, recheck)
			}
		}
		timer.Reset(next)
	}
}

// contents returns the elements for the forwards, given those that are there,
// and an error for each forward that cannot be done.
func (d *Datapath) contents(forwards []desired.Forward, have contents) (contents, []error) {
	want := contents{setErrors: {}}
	for _, name := range []string{setVIP, setVIP6, mapTarget, setNodePort, setNodePort6, mapZone, mapBack} {
		want[name] = make(map[string]string, len(forwards))
	}
	for _, typ := range icmpErrors {
		want[setErrors][string(typ)] = ""
	}
	var problems []error
	var vips []netip.Addr
	for _, f := range forwards {
		family := ipv4
		switch {
		case f.VIP.Is6() && !f.VIP.Is4In6():
			family = ipv6
		case !f.VIP.Is4():
			problems = append(problems, fmt.Errorf("forward %s: neither an IPv4 nor an IPv6 address", f.VIP))
			continue
		}
		key := string(f.VIP.AsSlice())
		if _, twice := want[family.vips][key]; !twice {
			want[family.vips][key] = ""
			if f.VIP.Is4() {
				vips = append(vips, f.VIP)
			}
		}
		for _, p := range f.Ports {
			if f.VIP.Is6() {
				problems = append(problems, fmt.Errorf("forward %s %s port %d to %s: no ports of an IPv6 VIP are forwarded, they are refused", f.VIP, p.Protocol, p.Port, p.Target))
				continue
			}
			if !p.Target.Addr().Is4() || p.Target.Port() != p.Port || !supportedProtocol(p.Protocol) {
				problems = append(problems, fmt.Errorf("forward %s %s port %d to %s: not TCP or UDP over IPv4", f.VIP, p.Protocol, p.Port, p.Target))
				continue
			}
			want[mapTarget][portKey(f.VIP, p.Protocol, p.Port)] = string(p.Target.Addr().AsSlice())
		}
		for _, p := range f.NodePorts {
			if !supportedProtocol(p.Protocol) {
				problems = append(problems, fmt.Errorf("forward %s %s NodePort %d: not TCP or UDP", f.VIP, p.Protocol, p.Port))
				continue
			}
			want[family.nodePorts][portKey(f.VIP, p.Protocol, p.Port)] = ""
		}
	}
	zones, err := d.zones.assign(vips, have[mapZone])
	if err != nil {
		problems = append(problems, err)
	}
	for vip, zone := range zones {
		id := string(binary.NativeEndian.AppendUint16(nil, zone))
		key := string(vip.AsSlice())
		want[mapZone][key] = id
		want[mapBack][id] = key
	}
	return want, problems
}

func supportedProtocol(p desired.Protocol) bool { return p == desired.TCP || p == desired.UDP }

// portKey is a key of mapTarget, setNodePort and setNodePort6: the address, and
// then protocol and port, each padded to four bytes.
func portKey(vip netip.Addr, protocol desired.Protocol, port uint16) string {
	key := append(vip.AsSlice(), byte(protocol), 0, 0, 0)
	key = binary.BigEndian.AppendUint16(key, port)
	return string(append(key, 0, 0))
}
