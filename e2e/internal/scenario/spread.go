package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Spread returns the node that holds each of these VIPs, which may be of several
// virtual routers; an error unless all daemons agree: each virtual router has one
// Master, which holds its VIPs, and is Backup elsewhere.
func (s *Site) Spread(ctx context.Context, vips []netip.Addr) (holders map[netip.Addr]string, err error) {
	statuses := map[string]Status{}
	for _, n := range s.Nodes() {
		if statuses[n], err = s.Status(ctx, n); err != nil {
			return nil, err
		}
	}
	return spread(statuses, vips)
}

// spread is Spread for what the daemons say.
func spread(statuses map[string]Status, vips []netip.Addr) (holders map[netip.Addr]string, err error) {
	vips = slices.Clone(vips)
	slices.SortFunc(vips, netip.Addr.Compare)
	holders = map[netip.Addr]string{}
	for n, st := range statuses {
		if err := written(st); err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		var has []netip.Addr
		for _, r := range st.Engine.Routers {
			isMaster := r.State == "Master"
			if !isMaster && r.State != "Backup" {
				return nil, fmt.Errorf("%s: VRID %d: %s, %s", n, r.VRID, r.State, r.Reason)
			}
			for _, v := range r.VIPs {
				if v.Bound != isMaster {
					return nil, fmt.Errorf("%s: VRID %d: %s, and %s bound: %v", n, r.VRID, r.State, v.Address, v.Bound)
				}
				if other := holders[v.Address]; isMaster && other != "" {
					return nil, fmt.Errorf("%s and %s both hold %s", other, n, v.Address)
				}
				if isMaster {
					holders[v.Address] = n
				}
				has = append(has, v.Address)
			}
		}
		if slices.SortFunc(has, netip.Addr.Compare); !slices.Equal(has, vips) {
			return nil, fmt.Errorf("%s: VIPs %v, not %v", n, has, vips)
		}
	}
	if len(holders) != len(vips) {
		return nil, errors.New("not all VIPs are held")
	}
	return holders, nil
}

// Holder returns the node that alone has a VIP, and is Master; the others are Backups
// or, as their reason says, may not be Master.
func (s *Site) Holder(ctx context.Context, vip netip.Addr) (node string, err error) {
	statuses := map[string]Status{}
	for _, n := range s.Nodes() {
		if statuses[n], err = s.Status(ctx, n); err != nil {
			return "", err
		}
	}
	return holder(statuses, vip)
}

// holder is Holder for what the daemons say.
func holder(statuses map[string]Status, vip netip.Addr) (node string, err error) {
	for n, st := range statuses {
		if err := written(st); err != nil {
			return "", fmt.Errorf("%s: %w", n, err)
		}
		known := false
		for _, r := range st.Engine.Routers {
			for _, v := range r.VIPs {
				if v.Address != vip {
					continue
				}
				known = true
				if isMaster := r.State == "Master"; v.Bound != isMaster {
					return "", fmt.Errorf("%s: %s, and %s bound: %v", n, r.State, vip, v.Bound)
				}
				if v.Bound && node != "" {
					return "", fmt.Errorf("%s and %s both hold %s", node, n, vip)
				}
				if v.Bound {
					node = n
				}
			}
		}
		if !known {
			return "", fmt.Errorf("%s does not know %s", n, vip)
		}
	}
	if node == "" {
		return "", fmt.Errorf("nobody holds %s", vip)
	}
	return node, nil
}
