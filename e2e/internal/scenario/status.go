package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// statusPort is the daemon's --http-port.
const statusPort = 8080

// Status is what a daemon says about itself on /status.
type Status struct {
	Node   string
	Engine struct {
		Routers []Router
		Applied bool
	}
	Datapath struct {
		LastSync time.Time
		Error    string
	}
	Problems []struct{ Key, Value, Message string }
}

// Router is a virtual router in a Status.
type Router struct {
	VRID     int
	State    string
	Reason   string
	Since    time.Time
	Priority int
	Master   netip.Addr
	Unicast  []netip.Addr
	VIPs     []struct {
		Address netip.Addr
		Bound   bool
	}
}

// Status asks the daemon on a node, from the client.
func (s *Site) Status(ctx context.Context, node string) (Status, error) {
	body, err := s.get(ctx, node, "/status")
	if err != nil {
		return Status{}, err
	}
	defer body.Close()
	var st Status
	if err := json.NewDecoder(body).Decode(&st); err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", node, err)
	}
	return st, nil
}

// get asks the daemon on a node for a page, from the client. All of it has a second.
func (s *Site) get(ctx context.Context, node, path string) (io.ReadCloser, error) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, s.NetNS("client"), network, addr)
		},
	}}
	url := "http://" + net.JoinHostPort(s.Addr(node).String(), strconv.Itoa(statusPort)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return resp.Body, nil
}

// Master returns the node that says it is Master, of those named or of all; an error
// if it is not exactly one.
func (s *Site) Master(ctx context.Context, nodes ...string) (string, error) {
	if len(nodes) == 0 {
		nodes = s.Nodes()
	}
	var masters []string
	for _, n := range nodes {
		st, err := s.Status(ctx, n)
		if err == nil && len(st.Engine.Routers) == 1 && st.Engine.Routers[0].State == "Master" {
			masters = append(masters, n)
		}
	}
	if len(masters) != 1 {
		return "", fmt.Errorf("masters: %v", masters)
	}
	return masters[0], nil
}

// Settled waits until the daemons of the nodes, all if none is named, agree: one is
// Master and holds just these VIPs, the others are its Backups and hold none, and
// all have written their tables. It returns the Master's node.
func (s *Site) Settled(ctx context.Context, vips []netip.Addr, nodes ...string) (master string, err error) {
	if len(nodes) == 0 {
		nodes = s.Nodes()
	}
	vips = slices.Clone(vips)
	slices.SortFunc(vips, netip.Addr.Compare)
	err = Eventually(ctx, "wait for a settled cluster", func(ctx context.Context) error {
		master = ""
		for _, n := range nodes {
			st, err := s.Status(ctx, n)
			if err != nil {
				return err
			}
			isMaster, err := settled(st, vips)
			if err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			if isMaster && master != "" {
				return fmt.Errorf("%s and %s are both Master", master, n)
			}
			if isMaster {
				master = n
			}
		}
		if master == "" && len(vips) > 0 {
			return errors.New("no Master")
		}
		for _, n := range nodes {
			if st, err := s.Status(ctx, n); err != nil {
				return err
			} else if len(vips) > 0 && st.Engine.Routers[0].Master != s.Addr(master) {
				return fmt.Errorf("to %s the Master is %s, not %s", n, st.Engine.Routers[0].Master, s.Addr(master))
			}
		}
		return nil
	})
	return master, err
}

// settled reports whether a daemon is Master, or why it is not settled.
func settled(st Status, vips []netip.Addr) (isMaster bool, err error) {
	if err := written(st); err != nil {
		return false, err
	}
	if len(vips) == 0 && len(st.Engine.Routers) == 0 {
		return false, nil
	}
	if len(st.Engine.Routers) != 1 {
		return false, fmt.Errorf("%d virtual routers", len(st.Engine.Routers))
	}
	r := st.Engine.Routers[0]
	isMaster = r.State == "Master"
	if !isMaster && r.State != "Backup" {
		return false, fmt.Errorf("%s, %s", r.State, r.Reason)
	}
	var has []netip.Addr
	for _, v := range r.VIPs {
		has = append(has, v.Address)
		if v.Bound != isMaster {
			return false, fmt.Errorf("%s, and %s bound: %v", r.State, v.Address, v.Bound)
		}
	}
	if !slices.Equal(has, vips) {
		return false, fmt.Errorf("VIPs %v, not %v", has, vips)
	}
	return isMaster, nil
}

// written requires that a daemon has done what its configuration says.
func written(st Status) error {
	if !st.Engine.Applied || st.Datapath.LastSync.IsZero() || st.Datapath.Error != "" {
		return fmt.Errorf("applied %v, tables written %v %q", st.Engine.Applied, !st.Datapath.LastSync.IsZero(), st.Datapath.Error)
	}
	return nil
}
