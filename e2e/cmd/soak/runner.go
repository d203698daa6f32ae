package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"kube-vrrp-vip/e2e/probe"
	"kube-vrrp-vip/e2e/scenario"
	"kube-vrrp-vip/e2e/soak"
)

const (
	// every is how often each client begins a connection.
	every = 10 * time.Millisecond
	// ask is how often each address is asked for by ARP or Neighbor Discovery.
	ask = 100 * time.Millisecond
	// quiet is for how long an address must have had one holder.
	quiet = time.Second
	// warmUp is how old a daemon is when it is counted first, and how long the clients
	// run before the first fault and after the last one.
	warmUp = 15 * time.Second
)

// runner is a run under way.
type runner struct {
	*scenario.Site
	out    io.Writer
	begin  time.Time
	rand   *rand.Rand
	faults []fault

	endpoint endpoint
	probes   map[netip.Addr]*probe.Probe
	watch    *probe.Watch

	report soak.Report
	lives  soak.Lives
}

// startClients begins to use every VIP.
func (r *runner) startClients() (err error) {
	if r.endpoint, err = startEndpoint(r.NetNS("cp")); err != nil {
		return err
	}
	if r.watch, err = probe.StartWatch(r.NetNS("client"), "eth0", ask, append(r.vips(), vipExtra)...); err != nil {
		return err
	}
	r.probes = map[netip.Addr]*probe.Probe{}
	for _, vip := range r.vips() {
		if r.probes[vip], err = probe.Start(r.NetNS("client"), netip.AddrPortFrom(vip, 80), every); err != nil {
			return err
		}
	}
	return nil
}

// stopClients ends that; once more is harmless.
func (r *runner) stopClients() {
	for vip, p := range r.probes {
		if p != nil {
			p.Stop()
		}
		delete(r.probes, vip)
	}
	if r.watch != nil {
		r.watch.Stop()
	}
	r.endpoint.close()
	r.endpoint = nil
}

// makeFaults makes faults for that long, and looks for what is left over.
func (r *runner) makeFaults(ctx context.Context, d time.Duration) error {
	if err := r.settle(ctx, time.Now(), r.vips()); err != nil {
		return err
	}
	before, err := r.count(ctx)
	if err != nil {
		return err
	}
	r.take() // what it cost to begin
	if err := r.watchNothing(ctx); err != nil {
		return err
	}
	draw := soak.NewDraw(r.rand, len(r.faults))
	for deadline := time.Now().Add(d); time.Now().Before(deadline); {
		if err := r.makeFault(ctx, r.faults[draw.Next()]); err != nil {
			return err
		}
	}
	if err := r.watchNothing(ctx); err != nil {
		return err
	}
	after, err := r.count(ctx)
	if err != nil {
		return err
	}
	r.report.Leaks = append(r.lives.Leaks(), leaks(before, after)...)
	return r.countConnections(ctx)
}

// watchNothing lets the clients run for a while without a fault.
func (r *runner) watchNothing(ctx context.Context) error {
	return r.makeFault(ctx, fault{kind: "(no fault)", bound: scenario.Bound(0), run: func(ctx context.Context, _ *runner) (string, error) {
		return "everywhere", rest(ctx, warmUp)
	}})
}

// makeFault makes a fault, waits until all is well again, and notes what it cost.
func (r *runner) makeFault(ctx context.Context, f fault) error {
	began := time.Now()
	what, err := f.run(ctx, r)
	if err == nil {
		err = r.settle(ctx, time.Now(), r.vips())
	}
	settled := time.Since(began)
	if err == nil {
		// A connection may take as long as that to be lost.
		err = rest(ctx, probe.Timeout+time.Duration(r.rand.Int64N(int64(2*time.Second))))
	}
	if err == nil {
		err = r.see(ctx)
	}
	e := r.take()
	e.Kind, e.Bound, e.Settled = f.kind, f.bound, settled
	for _, vip := range r.vips() {
		e.Doubled = max(e.Doubled, soak.Doubled(r.watch.Spans(vip, began)))
	}
	r.report.Events = append(r.report.Events, e)
	r.say("%3d %s %s: outage %d ms, %d of %d lost, two holders for %d ms, settled after %.1f s", len(r.report.Events), f.kind, what,
		e.Outage.Milliseconds(), e.Lost, e.Requests, e.Doubled.Milliseconds(), settled.Seconds())
	if err != nil {
		return fmt.Errorf("%s %s: %w", f.kind, what, err)
	}
	return nil
}

// take returns what the clients have seen since the last time.
func (r *runner) take() soak.Event {
	var e soak.Event
	for _, p := range r.probes {
		seen := p.Take()
		e.Requests += seen.Begun
		e.Lost += len(seen.Failures)
		e.Outage = max(e.Outage, seen.Outage())
	}
	return e
}

// settle waits until all is well after a time: the daemons agree, each VIP has one
// holder, every client is answered, and every pod and node is Ready.
func (r *runner) settle(ctx context.Context, after time.Time, vips []netip.Addr) error {
	return scenario.Eventually(ctx, "settle", func(ctx context.Context) error {
		if _, err := r.Spread(ctx, vips); err != nil {
			return err
		}
		now := time.Now()
		for _, vip := range vips {
			since := now.Add(-quiet - 2*ask)
			if since.Before(after) {
				since = after
			}
			if err := soak.One(r.watch.Spans(vip, since), quiet); err != nil {
				return fmt.Errorf("%s: %w", vip, err)
			}
		}
		for vip, p := range r.probes {
			if since := now.Sub(p.LastAnswer()); since > quiet {
				return fmt.Errorf("client of %s: no answer for %s", vip, since.Round(time.Millisecond))
			}
		}
		pods, err := r.Pods(ctx, scenario.Namespace, "app.kubernetes.io/name=kube-vrrp-vip")
		if err != nil {
			return err
		}
		ready := 0
		for _, p := range pods {
			if p.Ready {
				ready++
			}
		}
		if ready != len(r.Nodes()) {
			return fmt.Errorf("%d pods are ready", ready)
		}
		return nil
	})
}

// rest waits for that long.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
