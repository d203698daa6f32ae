package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// The VIPs of the tests. notOn has one for each node: that of the Service without an
// endpoint on the node, to be probed while it crashes.
var (
	vipAll   = netip.MustParseAddr("10.89.0.200")
	vipOther = netip.MustParseAddr("10.89.0.210")
	notOn    = map[string]netip.Addr{
		"n1": netip.MustParseAddr("10.89.0.201"),
		"n2": netip.MustParseAddr("10.89.0.202"),
		"n3": netip.MustParseAddr("10.89.0.203"),
	}
)

// baseConfig is the ConfigMap that each test begins with, and baseVIPs its VIPs.
func baseConfig() map[string]string {
	data := map[string]string{vipAll.String(): "e2e/all"}
	for node, vip := range notOn {
		data[vip.String()] = "e2e/not-" + node
	}
	return data
}

func baseVIPs() []netip.Addr {
	vips := []netip.Addr{vipAll}
	for _, vip := range notOn {
		vips = append(vips, vip)
	}
	slices.SortFunc(vips, netip.Addr.Compare)
	return vips
}

// supervised is in the environment of the child process that runs the tests.
const supervised = "E2E_SUPERVISED"

// supervisor is to whom the child writes the name of a cluster before it starts it.
var supervisor *os.File

// TestMain runs the tests in a child process, and removes the clusters it started
// after it has ended, in whatever way: by a panic, the time limit or a signal, too.
func TestMain(m *testing.M) {
	if os.Getenv(supervised) != "" {
		syscall.CloseOnExec(3) // or the cluster's programs would have it, too
		supervisor = os.NewFile(3, "supervisor")
		os.Exit(m.Run())
	}
	code, err := supervise()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func supervise() (code int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer r.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	// Nobody may be left to read what is said about the removing.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	child := exec.Command(self, os.Args[1:]...)
	child.Env = append(os.Environ(), supervised+"=1")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.ExtraFiles = []*os.File{w}
	err = child.Start()
	w.Close()
	if err != nil {
		return 1, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = child.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	var names []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		names = append(names, lines.Text())
	}
	err = child.Wait()
	close(ended)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = max(exit.ExitCode(), 1), nil
	}
	for _, name := range names {
		fmt.Printf("progress: removing cluster %s\n", name)
		err = errors.Join(err, cluster.Remove(cluster.Options{Name: name}))
	}
	return code, err
}

// The clusters of the tests, each started by the first test that needs it.
var (
	nftables = fixture{name: "kvvtest"}
	iptables = fixture{name: "kvvtestipt", proxyMode: "iptables"}
)

type fixture struct {
	name      string
	proxyMode string

	// used is held by the test that uses the cluster: tests of different clusters may
	// run at the same time.
	used sync.Mutex

	once sync.Once
	site *scenario.Site
	err  error
	// patched means that the DaemonSet is not as the manifests have it.
	patched bool
}

// start returns the fixture's site with the echo application on it.
func (f *fixture) start(t *testing.T) *scenario.Site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("starts a cluster, which root can")
	}
	f.once.Do(func() { f.site, f.err = f.make(t) })
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f.site
}

func (f *fixture) make(t *testing.T) (*scenario.Site, error) {
	if _, err := fmt.Fprintln(supervisor, f.name); err != nil {
		return nil, err
	}
	progress(t, "starting cluster %s", f.name)
	// Not the test's context: the cluster outlives it.
	ctx := context.Background()
	c, err := cluster.Start(ctx, cluster.Options{Name: f.name, ProxyMode: f.proxyMode, Log: progressWriter{t.Output()}})
	if err != nil {
		return nil, err
	}
	s, err := scenario.Open(c)
	if err != nil {
		return nil, err
	}
	progress(t, "loading image %s", scenario.Image)
	if err := s.LoadImage(ctx); err != nil {
		return nil, err
	}
	if err := s.Echo(ctx); err != nil {
		return nil, err
	}
	_, err = s.Kubectl(ctx, caseServices, "apply", "--filename=-")
	return s, err
}

// install brings a site to where each test begins: installed, the base configuration,
// settled, and everything answers. It returns the site, which is the test's alone until
// it ends, and the Master's node.
func install(t *testing.T, f *fixture) (s *scenario.Site, master string) {
	t.Helper()
	f.used.Lock()
	t.Cleanup(f.used.Unlock)
	s = f.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			// The test's context is done by now.
			s.Dump(context.Background(), t.Output())
		}
	})
	if f.patched {
		if err := s.Reinstall(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		f.patched = false
	}
	if err := s.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SetConfig(t.Context(), baseConfig()); err != nil {
		t.Fatal(err)
	}
	return s, settle(t, s)
}

// reinstall replaces the DaemonSet with what a section of docs/configuration.md makes of
// it, and these flags beside that. The next install takes it back.
func reinstall(t *testing.T, f *fixture, section string, flags ...string) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(f.site.Root, "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	_, patches, _ := strings.Cut(text, "```yaml\n# site/kustomization.yaml\n")
	patches, _, found := strings.Cut(patches, "```\n")
	if !found {
		t.Fatalf("section %q has no kustomization", section)
	}
	for _, flag := range flags {
		patches += "      - {op: add, path: /spec/template/spec/containers/0/args/-, value: " + flag + "}\n"
	}
	progress(t, "installing with the patch of %q", section)
	f.patched = true
	if err := f.site.Reinstall(t.Context(), patches); err != nil {
		t.Fatal(err)
	}
}

// unlabel takes the label from a node, until the test ends, and waits until its daemon
// is gone.
func unlabel(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	if err := s.Label(t.Context(), node, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Label(context.Background(), node, true); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "no daemon on "+node, func(ctx context.Context) error {
		if _, err := s.Status(ctx, node); err == nil {
			return errors.New("it answers")
		}
		return nil
	})
}

// alone leaves a node as the only one with a daemon, until the test ends: the others
// keep the pods behind the VIPs.
func alone(t *testing.T, s *scenario.Site, node string) {
	t.Helper()
	for _, n := range s.Nodes() {
		if n != node {
			unlabel(t, s, n)
		}
	}
	if _, err := s.Settled(t.Context(), baseVIPs(), node); err != nil {
		t.Fatal(err)
	}
}

// settle waits until the base configuration is served by the whole cluster, and
// returns the Master's node.
func settle(t *testing.T, s *scenario.Site) (master string) {
	t.Helper()
	master, err := s.Settled(t.Context(), baseVIPs())
	if err != nil {
		t.Fatal(err)
	}
	for service, nodes := range s.EchoServices() {
		vip, found := notOn[strings.TrimPrefix(service, "not-")]
		if service == "all" {
			vip, found = vipAll, true
		}
		if !found {
			continue
		}
		if err := s.EchoSettled(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		if err := scenario.Answered(t.Context(), s.NetNS("client"), netip.AddrPortFrom(vip, 80), nodes); err != nil {
			t.Fatal(err)
		}
	}
	return master
}

// checkSameMaster requires that nothing has moved the VIPs away from a node, but for
// a machine that was too busy to run its daemon.
func checkSameMaster(t *testing.T, s *scenario.Site, master string) {
	t.Helper()
	var now string
	eventually(t, "one Master", func(ctx context.Context) (err error) {
		now, err = s.Master(ctx)
		return err
	})
	if now == master {
		return
	}
	st, err := s.Status(t.Context(), master)
	if err != nil {
		t.Fatal(err)
	}
	if reason := st.Engine.Routers[0].Reason; reason != "stalled" {
		t.Errorf("Master went from %s to %s: %s", master, now, reason)
		return
	}
	t.Logf("Master went from %s to %s: the machine is too busy", master, now)
}

// progress says what takes long. hack/test shows these lines as they come.
func progress(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("progress: "+format, args...)
}

// progressWriter makes progress lines of the cluster's.
type progressWriter struct{ io.Writer }

func (w progressWriter) Write(p []byte) (int, error) {
	_, err := fmt.Fprintf(w.Writer, "progress: %s", p)
	return len(p), err
}

// eventually waits until f succeeds, or fails the test.
func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	if err := scenario.Eventually(t.Context(), what, f); err != nil {
		t.Fatal(err)
	}
}

// measured prints a figure and its target. What fails a test is only five times the
// target, and never less than five seconds.
func measured(t *testing.T, name string, value, target time.Duration) {
	t.Helper()
	t.Logf("measured: %s=%d target=%d", name, value.Milliseconds(), target.Milliseconds())
	if worst := scenario.Bound(target); value > worst {
		t.Errorf("%s: %s, more than %s", name, value, worst)
	}
}

// stopProbe ends a probe during which all was to be well, and measures its outage. It
// accepts no failure but one reset at each of that many hand-overs: of a connection
// whose handshake was with the old Master's node, while its request came to the next
// one, which knows nothing of it. A probe has one in that state at a time.
func stopProbe(t *testing.T, p *probe.Probe, name string, handOvers int) {
	t.Helper()
	r := p.Stop()
	t.Log(r)
	failed := r.Failed()
	if resets := failed[probe.KindReset]; resets > handOvers || len(r.Failures) > resets {
		t.Errorf("connections failed: %v, after %d hand-overs at most", failed, handOvers)
	}
	measured(t, name, r.Outage(), scenario.GracefulTarget)
}

// measuredAll is measured for the median of several.
func measuredAll(t *testing.T, name string, values []time.Duration, target time.Duration) {
	t.Helper()
	s := scenario.Summarize(values)
	t.Logf("measured: %s=%s target=%d", name, s, target.Milliseconds())
	if worst := scenario.Bound(target); s.Max > worst {
		t.Errorf("%s: %s at worst, more than %s", name, s.Max, worst)
	}
}
