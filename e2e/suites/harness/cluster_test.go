package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
	"kube-vrrp-vip/e2e/internal/probe"
)

// selfName is apart from the default one: an operator's cluster may run meanwhile.
const selfName = "kvvself"

// limit bounds each wait of the test.
const limit = 120 * time.Second

const workload = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {type: worker}
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: kube-vrrp-vip-echo:dev
        imagePullPolicy: Never
        env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.80
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: host, namespace: kube-system}
spec:
  selector: {matchLabels: {app: host}}
  template:
    metadata: {labels: {app: host}}
    spec:
      hostNetwork: true
      nodeSelector: {type: worker}
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: kube-vrrp-vip-echo:dev
        imagePullPolicy: Never
        args: [-addr, ":9090", -udp, ""]
        securityContext: {privileged: true}
        env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
`

// requireE2E skips a test that starts a cluster unless E2E is set.
func requireE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E") == "" {
		t.Skip("E2E is not set: this test starts a cluster, as root")
	}
}

// startCluster starts one that is stopped, and checked for leftovers, at the end.
func startCluster(t *testing.T, mode string) *cluster.Cluster {
	t.Helper()
	o := cluster.Options{Name: selfName, ProxyMode: mode, Log: t.Output()}
	began := time.Now()
	c, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			c.DumpLogs(t.Output())
		}
		var status bytes.Buffer
		if err := c.Status(&status); err != nil {
			t.Error(err)
		}
		began := time.Now()
		for range 2 { // the second time there is nothing to do
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		}
		t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
		checkNothingLeft(t, status.String())
	})
	return c
}

// checkNothingLeft looks for what a cluster may leave; status is what it said of its
// processes.
func checkNothingLeft(t *testing.T, status string) {
	t.Helper()
	for _, pattern := range []string{
		"/run/netns/" + selfName + "-*",
		"/sys/fs/cgroup/" + selfName,
		"/sys/fs/cgroup/*/" + selfName,
		"/var/lib/kube-vrrp-vip-e2e/" + selfName,
	} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(string(b), selfName) {
		t.Errorf("a mount is left behind:\n%s", b)
	}
	// Every program of the cluster has the state directory in its command line.
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, name := range dirs {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), "kube-vrrp-vip-e2e/"+selfName) {
			t.Errorf("a process is left behind: %s %q (of %s)", name, b, status)
		}
	}
}

// eventually waits until f succeeds.
func eventually(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-tick.C:
		}
	}
}

func kubectl(t *testing.T, c *cluster.Cluster, stdin string, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// answerers waits until the answers that f gets have come from all those nodes.
func answerers(t *testing.T, what string, nodes []string, f func(ctx context.Context) (string, error)) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, what, func(ctx context.Context) error {
		for range 30 {
			body, err := f(ctx)
			if err != nil {
				return err
			}
			seen[probe.Field(body, "node")] = true
		}
		for _, n := range nodes {
			if !seen[n] {
				return fmt.Errorf("answers only of %v", seen)
			}
		}
		return nil
	})
}

func deploy(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	kubectl(t, c, workload, "apply", "--filename=-")
	kubectl(t, c, "", "rollout", "status", "daemonset/web", "--timeout=120s")
	kubectl(t, c, "", "--namespace=kube-system", "rollout", "status", "daemonset/host", "--timeout=120s")
}

func checkService(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, n := range c.Nodes() {
		answerers(t, "Service from "+n, c.Nodes(), func(ctx context.Context) (string, error) {
			return probe.Get(ctx, c.NetNS(n), netip.MustParseAddrPort("10.96.0.80:80"))
		})
		answerers(t, "Service over UDP from "+n, c.Nodes(), func(ctx context.Context) (string, error) {
			return probe.UDP(ctx, c.NetNS(n), netip.MustParseAddrPort("10.96.0.80:81"), "hello")
		})
	}
}

func TestClusterSelf(t *testing.T) {
	requireE2E(t)
	c := startCluster(t, "nftables")
	deploy(t, c)
	checkService(t, c)
	host := func(n string) netip.AddrPort { return netip.AddrPortFrom(c.Addr(n), 9090) }

	t.Run("client is outside", func(t *testing.T) {
		if out, err := c.Exec(t.Context(), "client", "ip", "route"); err != nil || strings.Count(out, "\n") != 1 {
			t.Errorf("routes: %q, %v", out, err)
		}
		if body, err := probe.Get(t.Context(), c.NetNS("client"), netip.MustParseAddrPort("10.96.0.80:80")); err == nil {
			t.Errorf("the client reaches a ClusterIP: %q", body)
		}
		for _, from := range []string{"client", "routed"} {
			for _, n := range c.Nodes() {
				body, err := probe.Get(t.Context(), c.NetNS(from), host(n))
				if err != nil || probe.Field(body, "client") != c.Addr(from).String()+":"+clientPort(body) {
					t.Errorf("%s to %s on its LAN address: %q, %v", from, n, body, err)
				}
			}
		}
	})

	t.Run("open", func(t *testing.T) {
		o := cluster.Options{Name: selfName}
		if _, err := cluster.Start(t.Context(), o); !errors.Is(err, cluster.ErrRunning) {
			t.Errorf("second start: %v", err)
		}
		other, err := cluster.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		out, err := other.Kubectl(t.Context(), "", "get", "nodes", "--selector=type=worker", "--output=name")
		if err != nil || strings.Fields(out) == nil || len(strings.Fields(out)) != 3 {
			t.Errorf("nodes: %q, %v", out, err)
		}
		if _, err := other.Kubectl(t.Context(), "", "get", "nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("error of kubectl: %v", err)
		}
	})

	t.Run("cut link", func(t *testing.T) {
		p := startProbe(t, c, host("n1"))
		if err := c.CutLink("n1"); err != nil {
			t.Fatal(err)
		}
		if out, err := c.Exec(t.Context(), "n1", "cat", "/sys/class/net/eth0/carrier"); err != nil || strings.TrimSpace(out) != "0" {
			t.Errorf("carrier: %q, %v", out, err)
		}
		pause(t, 300*time.Millisecond)
		if err := c.RestoreLink("n1"); err != nil {
			t.Fatal(err)
		}
		answered(t, p)
		r := p.Stop()
		t.Log(r)
		if got := r.Outage(); got < 300*time.Millisecond || got > 3*time.Second {
			t.Errorf("outage %s", got)
		}
	})

	t.Run("kill container", func(t *testing.T) {
		pod := kubectl(t, c, "", "--namespace=kube-system", "get", "pods", "--selector=app=host",
			"--field-selector=spec.nodeName=n2", "--output=jsonpath={.items[0].metadata.name}")
		for i := range 2 {
			p := startProbe(t, c, host("n2"))
			if err := c.KillContainer(t.Context(), "n2", "kube-system", pod, "echo", syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "restart", func(ctx context.Context) error {
				out, err := c.Kubectl(ctx, "", "--namespace=kube-system", "get", "pod", pod,
					"--output=jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
				if err == nil && out != strconv.Itoa(i+1)+" true" {
					err = errors.New(out)
				}
				return err
			})
			answered(t, p)
			r := p.Stop()
			t.Log(r)
			if n := r.Failed()[probe.KindRefused]; n == 0 {
				t.Errorf("nothing refused: %s", r)
			}
		}
		if err := c.KillContainer(t.Context(), "n2", "kube-system", pod, "nonsense", syscall.SIGKILL); err == nil {
			t.Error("killed a container that is not there")
		}
	})

	t.Run("crash", func(t *testing.T) {
		if err := c.PowerOn(t.Context(), "n3"); err == nil {
			t.Error("a node that is on was powered on")
		}
		arp := func() []string {
			t.Helper()
			answers, err := probe.ARP(t.Context(), c.NetNS("client"), "eth0", c.Addr("n3"), 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			return probe.Holders(answers)
		}
		if got := arp(); len(got) != 1 || got[0] != c.MAC("n3").String() {
			t.Errorf("holders of n3's address: %v", got)
		}
		began := time.Now()
		if err := c.Crash(t.Context(), "n3"); err != nil {
			t.Fatal(err)
		}
		t.Logf("crashed in %s", time.Since(began).Round(time.Millisecond))
		if got := arp(); len(got) != 0 {
			t.Errorf("holders of a dead node's address: %v", got)
		}
		eventually(t, "control plane misses n3", func(ctx context.Context) error {
			out, err := c.Kubectl(ctx, "", "get", "node", "n3", "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}")
			if err == nil && out != "Unknown" {
				err = errors.New(out)
			}
			return err
		})
		t.Logf("missed after %s", time.Since(began).Round(time.Millisecond))
		// What a reboot must remove.
		if _, err := c.Exec(t.Context(), "n3", "ip", "address", "add", "10.89.0.200/32", "dev", "eth0"); err != nil {
			t.Error(err)
		}
		began = time.Now()
		if err := c.PowerOn(t.Context(), "n3"); err != nil {
			t.Fatal(err)
		}
		t.Logf("on in %s", time.Since(began).Round(time.Millisecond))
		if out, err := c.Exec(t.Context(), "n3", "ip", "address"); err != nil || strings.Contains(out, "10.89.0.200") {
			t.Errorf("addresses after a reboot: %v\n%s", err, out)
		}
		if got := arp(); len(got) != 1 || got[0] != c.MAC("n3").String() {
			t.Errorf("holders of n3's address after a reboot: %v", got)
		}
		eventually(t, "host pod of n3", func(ctx context.Context) error {
			_, err := probe.Get(ctx, c.NetNS("client"), host("n3"))
			return err
		})
		t.Logf("its pod answers after %s", time.Since(began).Round(time.Millisecond))
		checkService(t, c)
	})

	t.Run("image", func(t *testing.T) {
		if _, err := exec.LookPath("buildah"); err != nil {
			t.Skip("buildah is not installed")
		}
		dir := t.TempDir()
		program, err := os.ReadFile("/var/lib/kube-vrrp-vip-e2e/" + selfName + "/bin/echo")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/program", program, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/Dockerfile", []byte("FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := cluster.BuildImage(t.Context(), dir, "kube-vrrp-vip-selftest:1")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
		if err := c.LoadImage(t.Context(), file, "n1"); err != nil {
			t.Fatal(err)
		}
		kubectl(t, c, "", "run", "built", "--image=kube-vrrp-vip-selftest:1", "--image-pull-policy=Never",
			`--overrides={"spec":{"nodeName":"n1"}}`)
		kubectl(t, c, "", "wait", "--for=condition=Ready", "pod/built", "--timeout=120s")
		if out := kubectl(t, c, "", "logs", "built"); !strings.Contains(out, "echo built listening") {
			t.Errorf("log of the image's program: %q", out)
		}
		if err := c.LoadImage(t.Context(), dir+"/none.tar"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("load a file that is not there: %v", err)
		}
	})
}

func TestClusterSelfIPTables(t *testing.T) {
	requireE2E(t)
	c := startCluster(t, "iptables")
	deploy(t, c)
	checkService(t, c)
}

// TestClusterSelfCancel cancels a start at several of its steps.
func TestClusterSelfCancel(t *testing.T) {
	requireE2E(t)
	for _, after := range []string{"] network", "] control plane", "] nodes"} {
		t.Run(after, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := cluster.Options{Name: selfName, Log: trigger{t.Output(), after, cancel}}
			if _, err := cluster.Start(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want that of the context", err)
			}
			checkNothingLeft(t, "")
			if _, err := cluster.Open(o); !errors.Is(err, cluster.ErrNotRunning) {
				t.Errorf("open: %v", err)
			}
		})
	}
}

// trigger calls a function when a text is written.
type trigger struct {
	w    io.Writer
	text string
	f    func()
}

func (t trigger) Write(p []byte) (int, error) {
	if strings.Contains(string(p), t.text) {
		t.f()
	}
	return t.w.Write(p)
}

// clientPort returns the port of the client in an answer.
func clientPort(body string) string {
	client := probe.Field(body, "client")
	return client[strings.LastIndexByte(client, ':')+1:]
}

// startProbe starts one from the client and waits for its first answers.
func startProbe(t *testing.T, c *cluster.Cluster, target netip.AddrPort) *probe.Probe {
	t.Helper()
	p, err := probe.Start(c.NetNS("client"), target, 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	answered(t, p)
	return p
}

func answered(t *testing.T, p *probe.Probe) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := p.WaitSuccesses(ctx, 20); err != nil {
		t.Fatal(err)
	}
}

// pause lets something go on for a time that is itself what is tested.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}
