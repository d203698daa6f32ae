package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
	"kube-vrrp-vip/e2e/internal/soak"
)

const (
	// every is how often each client begins a connection.
	every = 10 * time.Millisecond
	// ask is how often each address is asked for by ARP or Neighbor Discovery.
	ask = 100 * time.Millisecond
	// quiet is for how long an address must have had one holder.
	quiet = time.Second
	// prompt is how lately every client must have been answered.
	prompt = 200 * time.Millisecond
	// slow is when it is told what has taken so long.
	slow = 20 * time.Second
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

	// gone is for how long the fault being made has taken away what a client uses.
	gone time.Duration
	// last is what was the last to be well again.
	last string

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
	r.take(time.Now()) // what it cost to begin
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
	if err := r.countAgain(ctx, before); err != nil {
		return err
	}
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
	r.gone = 0
	where, err := f.run(ctx, r)
	undone := time.Now()
	if err == nil {
		err = r.settle(ctx, undone, r.vips())
	}
	settled := time.Since(undone)
	if err == nil {
		// A connection may take as long as that to be lost.
		err = rest(ctx, probe.Timeout+r.between(0, 2*time.Second))
	}
	if err == nil {
		err = r.see(ctx)
	}
	e, details := r.take(began)
	if settled > slow && r.last != "" {
		details += "\n           the last to be waited for: " + r.last
	}
	e.Kind, e.Bound, e.Settled = f.kind, f.bound+r.gone, settled
	r.report.Events = append(r.report.Events, e)
	r.say("%3d %s %s: outage %d ms, %d of %d lost, two holders for %d ms, settled %.1f s after its end%s", len(r.report.Events), f.kind, where,
		e.Outage.Milliseconds(), e.Lost, e.Requests, e.Doubled.Milliseconds(), settled.Seconds(), details)
	if err != nil {
		return fmt.Errorf("%s %s: %w", f.kind, where, err)
	}
	return nil
}

// take returns what the clients have seen since the last time, and where and when what
// is out of the ordinary was.
func (r *runner) take(began time.Time) (e soak.Event, details string) {
	at := func(t time.Time) string { return fmt.Sprintf("%.2f s after it began", t.Sub(began).Seconds()) }
	for _, vip := range r.vips() {
		seen := r.probes[vip].Take()
		e.Requests += seen.Begun
		e.Lost += len(seen.Failures)
		gap := seen.Longest()
		e.Outage = max(e.Outage, gap.Duration())
		if gap.Duration() > scenario.CrashTarget {
			details += fmt.Sprintf("\n           %s was without an answer for %d ms, %s", vip, gap.Duration().Milliseconds(), at(gap.From))
		}
		doubled := soak.Doubled(r.watch.Spans(vip, began))
		e.Doubled = max(e.Doubled, doubled.Duration())
		if doubled.Duration() > 0 {
			details += fmt.Sprintf("\n           %s was held by %v for %d ms, %s", vip, r.hosts(doubled.Holders), doubled.Duration().Milliseconds(), at(doubled.From))
		}
	}
	return e, details
}

// hosts are those of Ethernet addresses, or the addresses themselves.
func (r *runner) hosts(macs []string) []string {
	var hosts []string
	for _, mac := range macs {
		host := mac
		for _, n := range r.Nodes() {
			if r.MAC(n).String() == mac {
				host = n
			}
		}
		hosts = append(hosts, host)
	}
	return hosts
}

// settle waits until all is well after a time. It notes what was last to be.
func (r *runner) settle(ctx context.Context, after time.Time, vips []netip.Addr) error {
	r.last = ""
	return scenario.Eventually(ctx, "settle", func(ctx context.Context) error {
		err := r.settled(ctx, after, vips)
		if err != nil {
			r.last = err.Error()
		}
		return err
	})
}

// settled returns an error unless all is well: the daemons agree, each VIP has had one
// holder for a while, every client is answered, and every pod is Ready.
func (r *runner) settled(ctx context.Context, after time.Time, vips []netip.Addr) error {
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
		if since := now.Sub(p.LastAnswer()); since > prompt {
			return fmt.Errorf("client of %s: no answer for %s", vip, since.Round(time.Millisecond))
		}
	}
	pods, err := r.Pods(ctx, scenario.Namespace, "app.kubernetes.io/name=kube-vrrp-vip")
	if err != nil {
		return err
	}
	for _, n := range r.Nodes() {
		if !slices.ContainsFunc(pods, func(p scenario.Pod) bool { return p.Node == n && p.Ready }) {
			return fmt.Errorf("the pod of %s is not ready", n)
		}
	}
	return nil
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
