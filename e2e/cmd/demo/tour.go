package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// The VIP, and the example application behind it.
var (
	vip  = netip.MustParseAddr("10.89.0.99")
	vips = []netip.Addr{vip}
)

const (
	app         = "echoheaders"
	appSelector = "app.kubernetes.io/name=" + app
)

// result is what was measured.
type result struct {
	crash, graceful time.Duration
}

// tour is the demonstration on a cluster that runs.
func (d *demo) tour(ctx context.Context, c *cluster.Cluster) (r result, err error) {
	s, err := scenario.Open(c)
	if err != nil {
		return r, err
	}
	steps := []struct {
		title string
		run   func() error
	}{
		{"The image is built and loaded into the nodes", func() error {
			d.command("make image  # from the Dockerfile; no registry")
			return s.LoadImage(ctx)
		}},
		{"kube-vrrp-vip is installed", func() error { return d.install(ctx, s) }},
		{"An example application", func() error { return d.installApp(ctx, s) }},
		{"A VIP is added to the ConfigMap", func() error { return d.addVIP(ctx, s) }},
		{"The application leaves the Master, so that the crash costs its clients the VIP and nothing else", func() error { return d.moveApp(ctx, s) }},
		{"The Master crashes: its cable is pulled and all its processes are killed", func() (err error) {
			r.crash, err = d.crash(ctx, s)
			return err
		}},
		{"The pod of the next Master is deleted, as in an upgrade", func() (err error) {
			r.graceful, err = d.deletePod(ctx, s)
			return err
		}},
		{"The crashed node is switched on again, and is a Backup", func() error { return d.powerOn(ctx, s) }},
		{"What an operator sees", func() error { return d.look(ctx, s) }},
	}
	for _, step := range steps {
		if err := d.step(step.title, step.run); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (d *demo) install(ctx context.Context, s *scenario.Site) error {
	d.command("kubectl apply -k manifests")
	d.command("kubectl apply -f manifests/vip-configmap.yaml")
	if err := s.Install(ctx); err != nil {
		return err
	}
	_, err := s.Settled(ctx, nil)
	return err
}

func (d *demo) installApp(ctx context.Context, s *scenario.Site) error {
	if err := d.kubectl(ctx, s, "apply", "-k", s.Manifests()+"/example-app"); err != nil {
		return err
	}
	return d.kubectl(ctx, s, "-n", scenario.Namespace, "rollout", "status", "deployment/"+app, "--timeout=90s")
}

func (d *demo) addVIP(ctx context.Context, s *scenario.Site) error {
	began := time.Now()
	service := scenario.Namespace + "/" + app
	d.command(fmt.Sprintf(`kubectl -n %s patch configmap %s --type=merge -p '{"data": {"%s": "%s"}}'`, scenario.Namespace, scenario.ConfigMap, vip, service))
	if err := s.SetEntry(ctx, vip.String(), service); err != nil {
		return err
	}
	var body string
	err := scenario.Eventually(ctx, "VIP answers", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		body, err = probe.Get(ctx, s.NetNS("client"), netip.AddrPortFrom(vip, 80))
		return err
	})
	if err != nil {
		return err
	}
	d.say("first answer after %d ms: until 3.2 s after their start daemons only listen, and then elect a Master", time.Since(began).Milliseconds())
	d.say("client$ curl http://%s/", vip)
	d.say("%s", body)
	master, err := s.Settled(ctx, vips)
	if err != nil {
		return err
	}
	d.say("%s is Master, the others are Backups", master)
	return nil
}

func (d *demo) moveApp(ctx context.Context, s *scenario.Site) error {
	master, err := s.Master(ctx)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"spec": {"template": {"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": `+
		`{"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["%s"]}]}]}}}}}}}`, master)
	if _, err := s.Kubectl(ctx, "", "-n", scenario.Namespace, "patch", "deployment", app, "-p", patch); err != nil {
		return err
	}
	d.command(fmt.Sprintf("kubectl -n %s patch deployment %s  # nodeAffinity: kubernetes.io/hostname NotIn [%s]", scenario.Namespace, app, master))
	if err := d.kubectl(ctx, s, "-n", scenario.Namespace, "rollout", "status", "deployment/"+app, "--timeout=90s"); err != nil {
		return err
	}
	pods, err := s.Pods(ctx, scenario.Namespace, appSelector)
	if err != nil {
		return err
	}
	var nodes []string
	for _, p := range pods {
		nodes = append(nodes, p.Node)
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	d.say("its pods are on %s", strings.Join(nodes, " and "))
	return scenario.Answered(ctx, s.NetNS("client"), netip.AddrPortFrom(vip, 80), nodes)
}

func (d *demo) crash(ctx context.Context, s *scenario.Site) (time.Duration, error) {
	master, err := s.Settled(ctx, vips)
	if err != nil {
		return 0, err
	}
	f, err := s.CrashMaster(ctx, vip, master)
	if err != nil {
		return 0, err
	}
	d.crashed = master
	return f.Outage, d.failover(ctx, s, "crash_failover_ms", f, scenario.CrashTarget, crashLimit)
}

func (d *demo) deletePod(ctx context.Context, s *scenario.Site) (time.Duration, error) {
	on := slices.DeleteFunc(s.Nodes(), func(n string) bool { return n == d.crashed })
	master, err := s.Settled(ctx, vips, on...)
	if err != nil {
		return 0, err
	}
	pod, err := s.Pod(ctx, master)
	if err != nil {
		return 0, err
	}
	d.command(fmt.Sprintf("kubectl -n %s delete pod %s  # on %s", scenario.Namespace, pod.Name, master))
	f, err := s.DeleteMasterPod(ctx, vip, master)
	if err != nil {
		return 0, err
	}
	return f.Outage, d.failover(ctx, s, "graceful_failover_ms", f, scenario.GracefulTarget, gracefulLimit)
}

// What fails the demonstration. The targets are medians on an idle machine; one
// failover on a busy one may take longer, but never as long as this.
const (
	crashLimit    = time.Second
	gracefulLimit = 500 * time.Millisecond
)

// failover tells what one has cost; an error if that is more than noise explains.
func (d *demo) failover(ctx context.Context, s *scenario.Site, name string, f scenario.Failover, target, limit time.Duration) error {
	d.say("client: %s", f.Probe)
	if err := d.transitions(ctx, s, f.To, 1); err != nil {
		return err
	}
	d.say("the VIP went from %s to %s; the client was without an answer for %d ms", f.From, f.To, f.Outage.Milliseconds())
	d.say("measured: %s=%d target=%d", name, f.Outage.Milliseconds(), target.Milliseconds())
	if f.Outage > limit {
		return fmt.Errorf("%s=%d, target %d, limit %d", name, f.Outage.Milliseconds(), target.Milliseconds(), limit.Milliseconds())
	}
	if f.Outage > target {
		d.say("over the target: a machine that is busy otherwise, or a fault")
	}
	return nil
}

func (d *demo) powerOn(ctx context.Context, s *scenario.Site) error {
	if err := s.PowerOn(ctx, d.crashed); err != nil {
		return err
	}
	master, err := s.Settled(ctx, vips)
	if err != nil {
		return err
	}
	d.say("%s is still Master: nothing moves without need", master)
	return scenario.Eventually(ctx, "pod of "+d.crashed+" is Ready", func(ctx context.Context) error {
		pod, err := s.Pod(ctx, d.crashed)
		if err == nil && !pod.Ready {
			err = errors.New("it is not")
		}
		return err
	})
}

func (d *demo) look(ctx context.Context, s *scenario.Site) error {
	if err := d.kubectl(ctx, s, "-n", scenario.Namespace, "get", "pods", "-o", "wide"); err != nil {
		return err
	}
	for _, n := range s.Nodes() {
		if err := d.transitions(ctx, s, n, 3); err != nil {
			return err
		}
	}
	return nil
}

// transitions shows the last lines about changes of state in the log of the daemon on
// a node.
func (d *demo) transitions(ctx context.Context, s *scenario.Site, node string, last int) error {
	pod, err := s.Pod(ctx, node)
	if err != nil {
		return err
	}
	out, err := s.Kubectl(ctx, "", "-n", scenario.Namespace, "logs", pod.Name)
	if err != nil {
		return err
	}
	d.command(fmt.Sprintf(`kubectl -n %s logs %s | grep "changed state" | tail -n %d  # on %s`, scenario.Namespace, pod.Name, last, node))
	var lines []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "changed state") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	for _, line := range lines[max(0, len(lines)-last):] {
		d.say("%s", line)
	}
	return nil
}
