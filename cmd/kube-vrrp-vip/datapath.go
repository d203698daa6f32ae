package main

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/proxy"
	"kube-vrrp-vip/pkg/server"
	"kube-vrrp-vip/pkg/vrrp"
)

// table makes the kernel forward.
type table interface {
	// Run makes it forward by the newest state that it has taken, and again
	// every few seconds, until ctx is done. It reports after each attempt,
	// before it takes another state.
	Run(ctx context.Context, states <-chan desired.Datapath, report func(error))
}

// datapath hands the newest state to the proxy and to the nftables table, and
// keeps how that went, for the server.
type datapath struct {
	proxy  *proxy.Proxy
	table  table
	states chan desired.State

	mu   sync.Mutex
	last server.Datapath
}

func newDatapath(p *proxy.Proxy, t table) *datapath {
	return &datapath{proxy: p, table: t, states: make(chan desired.State, 1)}
}

// apply replaces the state that waits. It never blocks, and is called by one
// goroutine.
func (d *datapath) apply(s desired.State) {
	select {
	case <-d.states:
	default:
	}
	d.states <- s
}

// run opens the listeners that a state needs, has the rules written that lead
// to them, and closes what these led to before.
func (d *datapath) run(ctx context.Context) {
	defer d.proxy.Close()
	// Neither is buffered: a report that comes after a state was taken is
	// about that state.
	states, reports := make(chan desired.Datapath), make(chan error)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		d.table.Run(ctx, states, func(err error) {
			select {
			case reports <- err:
			case <-ctx.Done():
			}
		})
	})

	var wanted desired.State
	var rules desired.Datapath
	var unheard error                // What could not be listened on.
	var give chan<- desired.Datapath // Where rules are to go; nil: they were taken.
	for {
		select {
		case <-ctx.Done():
			return
		case wanted = <-d.states:
			rules, unheard = d.listen(wanted)
			give = states
		case give <- rules:
			give = nil
		case err := <-reports:
			if give == nil {
				// Also if they were not written: what is gone is refused.
				d.proxy.Prune()
			}
			d.note(klog.FromContext(ctx), err, unheard)
			if unheard == nil {
				continue
			}
			// Rules are looked at every so often, and so are listeners.
			var again desired.Datapath
			if again, unheard = d.listen(wanted); !reflect.DeepEqual(again, rules) {
				rules, give = again, states
			}
		}
	}
}

// listen opens what a state needs, and returns what the rules are to be: a port
// that the daemon serves itself leads to its listener, which sees the client's
// address. One without listener is refused: it is left out, and where the guard
// leaves what is left out to the host, it leads to port 0, on which nothing can
// listen.
func (d *datapath) listen(s desired.State) (desired.Datapath, error) {
	var ports []proxy.Port
	for _, f := range s.Datapath.Forwards {
		for _, p := range f.Ports {
			if p.Proxy != desired.NoProxy {
				ports = append(ports, proxy.Port{
					VIP:     netip.AddrPortFrom(f.VIP, p.Port),
					Address: s.NodeAddress(vrrp.FamilyOf(f.VIP)),
					Target:  p.Target,
					Header:  p.Proxy,
				})
			}
		}
	}
	private, err := d.proxy.Open(ports)
	rules := s.Datapath
	rules.Forwards = slices.Clone(rules.Forwards)
	for i, f := range rules.Forwards {
		if !f.Proxied() {
			continue
		}
		rules.Forwards[i].Ports = nil
		for _, p := range f.Ports {
			if p.Proxy != desired.NoProxy {
				listener, ok := private[netip.AddrPortFrom(f.VIP, p.Port)]
				switch {
				case ok:
					p.Target = listener
				case f.Open:
					p.Target, p.Proxy = netip.AddrPortFrom(f.VIP, 0), desired.NoProxy
				default:
					continue
				}
				p.KeepSource = true
			}
			rules.Forwards[i].Ports = append(rules.Forwards[i].Ports, p)
		}
	}
	return rules, err
}

// note keeps the outcome of an attempt, and logs it if it is another than the
// one before it.
func (d *datapath) note(logger klog.Logger, unwritten, unheard error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if unwritten == nil {
		d.last.LastSync = time.Now()
	}
	if unwritten != nil || unheard != nil {
		d.last.Errors++
	}
	switch text(unwritten) {
	case d.last.Err:
	case "":
		logger.Info("Forwarding rules written again")
	default:
		logger.Error(unwritten, "Forwarding rules not written")
	}
	switch text(unheard) {
	case d.last.ProxyErr:
	case "":
		logger.Info("Proxy listens on all ports again")
	default:
		logger.Error(unheard, "Proxy does not listen on all ports")
	}
	d.last.Err, d.last.ProxyErr = text(unwritten), text(unheard)
}

// text is empty for no error.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (d *datapath) status() server.Datapath {
	d.mu.Lock()
	defer d.mu.Unlock()
	status := d.last
	status.Proxy = d.proxy.Status()
	return status
}
