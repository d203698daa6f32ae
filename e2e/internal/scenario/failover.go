package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
)

// every is how often a connection is begun while something is measured.
const every = 2 * time.Millisecond

// Failover is what it cost the client that a VIP went from one node to another.
type Failover struct {
	From, To string
	// Outage is the longest time without an answer until the other node served.
	Outage time.Duration
	// Return is the longest one after that, until the first node was a Backup again;
	// zero if that was not waited for.
	Return time.Duration
	// Stale is how long after the cause the first node still answered for the VIP by
	// ARP, measured in steps of 20 ms; zero if it was not measured.
	Stale time.Duration
	// Probe is all that the client saw.
	Probe *probe.Result
}

// run is a measurement under way.
type run struct {
	*Site
	vip   netip.Addr
	probe *probe.Probe
	began time.Time
	Failover
}

// measure probes a VIP while cause makes its Master, the node from, lose it, until
// another node is Master and has answered for a second.
func (s *Site) measure(ctx context.Context, vip netip.Addr, from string, cause func(context.Context) error) (*run, error) {
	others := slices.DeleteFunc(s.Nodes(), func(n string) bool { return n == from })
	p, err := probe.Start(s.NetNS("client"), httpPort(vip), every)
	if err != nil {
		return nil, err
	}
	r := &run{Site: s, vip: vip, probe: p, Failover: Failover{From: from}}
	stop := func(err error) (*run, error) {
		p.Stop()
		return nil, err
	}
	if err := wait(ctx, p, 100); err != nil {
		return stop(err)
	}
	r.began = time.Now()
	if err := cause(ctx); err != nil {
		return stop(err)
	}
	err = Eventually(ctx, "wait for another Master than "+from, func(ctx context.Context) (err error) {
		r.To, err = s.Master(ctx, others...)
		return err
	})
	if err != nil {
		return stop(err)
	}
	if err := wait(ctx, p, int(time.Second/every)); err != nil {
		return stop(err)
	}
	r.Outage = p.Snapshot().OutageAfter(r.began)
	return r, nil
}

// returned waits until the first node is a Backup again, and ends the measurement.
func (r *run) returned(ctx context.Context, vips []netip.Addr) (Failover, error) {
	defer r.probe.Stop()
	served := time.Now()
	master, err := r.Settled(ctx, vips)
	if err == nil && master != r.To {
		err = fmt.Errorf("the VIP went on from %s to %s", r.To, master)
	}
	if err == nil {
		err = wait(ctx, r.probe, 50)
	}
	r.Probe = r.probe.Stop()
	r.Return = r.Probe.OutageAfter(served)
	return r.Failover, err
}

func wait(ctx context.Context, p *probe.Probe, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	return p.WaitSuccesses(ctx, n)
}

// CrashMaster crashes the Master of a settled cluster, and measures on a VIP none of
// whose endpoints are on it. The node stays off.
func (s *Site) CrashMaster(ctx context.Context, vip netip.Addr, master string) (Failover, error) {
	r, err := s.measure(ctx, vip, master, func(ctx context.Context) error { return s.Crash(ctx, master) })
	if err != nil {
		return Failover{}, err
	}
	r.Probe = r.probe.Stop()
	return r.Failover, nil
}

// CrashMasterAndPowerOn is CrashMaster, and then the node is switched on again and
// becomes a Backup.
func (s *Site) CrashMasterAndPowerOn(ctx context.Context, vip netip.Addr, master string, vips []netip.Addr) (Failover, error) {
	return s.switchOff(ctx, vip, master, vips, s.Crash)
}

// ShutDownMasterAndPowerOn is CrashMasterAndPowerOn, but that the node is shut down in
// order.
func (s *Site) ShutDownMasterAndPowerOn(ctx context.Context, vip netip.Addr, master string, vips []netip.Addr) (Failover, error) {
	return s.switchOff(ctx, vip, master, vips, s.ShutDown)
}

func (s *Site) switchOff(ctx context.Context, vip netip.Addr, master string, vips []netip.Addr, off func(context.Context, string) error) (Failover, error) {
	r, err := s.measure(ctx, vip, master, func(ctx context.Context) error { return off(ctx, master) })
	if err != nil {
		return Failover{}, err
	}
	if err := s.PowerOn(ctx, master); err != nil {
		r.probe.Stop()
		return Failover{}, err
	}
	return r.returned(ctx, vips)
}

// DeleteMasterPod deletes the pod of the daemon that is Master; its DaemonSet makes
// another, which becomes a Backup of the nodes named.
func (s *Site) DeleteMasterPod(ctx context.Context, vip netip.Addr, master string) (Failover, error) {
	r, err := s.deleteMasterPod(ctx, vip, master)
	if err != nil {
		return Failover{}, err
	}
	r.Probe = r.probe.Stop()
	return r.Failover, nil
}

// DeleteMasterPodAndReturn is DeleteMasterPod, and then the new pod becomes a Backup.
func (s *Site) DeleteMasterPodAndReturn(ctx context.Context, vip netip.Addr, master string, vips []netip.Addr) (Failover, error) {
	r, err := s.deleteMasterPod(ctx, vip, master)
	if err != nil {
		return Failover{}, err
	}
	return r.returned(ctx, vips)
}

func (s *Site) deleteMasterPod(ctx context.Context, vip netip.Addr, master string) (*run, error) {
	pod, err := s.Pod(ctx, master)
	if err != nil {
		return nil, err
	}
	return s.measure(ctx, vip, master, func(ctx context.Context) error {
		_, err := s.Kubectl(ctx, "", "--namespace="+Namespace, "delete", "pod", pod.Name, "--wait=false")
		return err
	})
}

// StarveMaster takes the memory from the daemon that is Master, so that the kernel kills
// it. The kubelet starts it again, and it becomes a Backup.
func (s *Site) StarveMaster(ctx context.Context, vip netip.Addr, master string, vips []netip.Addr) (Failover, error) {
	pod, err := s.Pod(ctx, master)
	if err != nil {
		return Failover{}, err
	}
	r, err := s.measure(ctx, vip, master, func(ctx context.Context) error {
		if err := s.Starve(ctx, master, Namespace, pod.Name, pod.Container); err != nil {
			return err
		}
		// Each answer takes some.
		return Eventually(ctx, "out of memory", func(ctx context.Context) error {
			for range 20 {
				if _, err := s.Metrics(ctx, master); err != nil {
					return nil
				}
			}
			return errors.New("it still answers")
		})
	})
	if err != nil {
		return Failover{}, err
	}
	return r.returned(ctx, vips)
}

// SignalMaster sends SIGKILL to the daemon that is Master, behind the kubelet's back,
// which starts it again; or SIGSTOP, and SIGCONT when the node no longer answers for
// the VIP. Then the daemon becomes a Backup.
func (s *Site) SignalMaster(ctx context.Context, vip netip.Addr, master string, vips []netip.Addr, sig syscall.Signal) (Failover, error) {
	pod, err := s.Pod(ctx, master)
	if err != nil {
		return Failover{}, err
	}
	signal := func(ctx context.Context, sig syscall.Signal) error {
		return s.KillContainer(ctx, master, Namespace, pod.Name, pod.Container, sig)
	}
	watch := s.watchHolder(vip, s.MAC(master).String())
	r, err := s.measure(ctx, vip, master, func(ctx context.Context) error { return signal(ctx, sig) })
	if err != nil {
		return Failover{}, errors.Join(err, watch.stop())
	}
	err = Eventually(ctx, master+" still answers for "+vip.String(), func(context.Context) error { return watch.silent(time.Second) })
	r.Stale = max(0, watch.lastAnswer().Sub(r.began))
	err = errors.Join(err, watch.stop())
	if sig == syscall.SIGSTOP {
		err = errors.Join(err, signal(ctx, syscall.SIGCONT))
	}
	if err != nil {
		r.probe.Stop()
		return Failover{}, err
	}
	return r.returned(ctx, vips)
}
