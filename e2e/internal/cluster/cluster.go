package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DefaultName is the prefix of everything a cluster makes when Options has none.
	DefaultName = "kvv"
	defaultRoot = "/var/lib/kube-vrrp-vip-e2e"

	// stepLimit bounds each step of a start. A step takes seconds; on a machine
	// with something else saturating its processors it has taken a minute.
	stepLimit = 180 * time.Second
)

// Errors that a caller may want to tell from the others.
var (
	ErrRunning    = errors.New("cluster is already running")
	ErrNotRunning = errors.New("cluster is not running")
)

// Options says what cluster to start or to attach to. The zero value is good.
type Options struct {
	// Name is the prefix of the namespaces and cgroups; DefaultName if empty.
	Name string
	// Dir holds the cluster's state and logs while it runs; if empty,
	// /var/lib/kube-vrrp-vip-e2e/NAME. Not on an overlay file system if that can be
	// helped: containerd then has to copy images instead of stacking them.
	Dir string
	// ProxyMode is kube-proxy's: "nftables" (if empty) or "iptables".
	ProxyMode string
	// Log gets progress lines; nil for none.
	Log io.Writer
}

// Cluster is a running cluster. Its methods may be called concurrently, except
// that Stop, Crash and PowerOn of one host exclude each other.
type Cluster struct {
	opt   Options
	begin time.Time
	logMu sync.Mutex
	// reapers waits for the processes that this program itself has started.
	reapers sync.WaitGroup
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// complete fills in the defaults.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if !validName.MatchString(o.Name) {
		return o, fmt.Errorf("cluster name %q: want %s", o.Name, validName)
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(defaultRoot, o.Name)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("state directory: %w", err)
	}
	o.Dir = dir
	switch o.ProxyMode {
	case "":
		o.ProxyMode = "nftables"
	case "nftables", "iptables":
	default:
		return o, fmt.Errorf("proxy mode %q: want nftables or iptables", o.ProxyMode)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o, nil
}

// Start brings up a cluster and returns when its three nodes are Ready and a
// Service answers on each. If it cannot, or if ctx is cancelled, it takes
// everything down again.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := preflight(); err != nil {
		return nil, err
	}
	unlock, err := lock(o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := &Cluster{opt: o, begin: time.Now()}
	running, err := c.running()
	if err != nil {
		return nil, err
	}
	if len(running) > 0 {
		return nil, fmt.Errorf("%w: %s (%s)", ErrRunning, o.Dir, strings.Join(running, " "))
	}
	// What a machine that was switched off, or a start that was killed, has left.
	if err := c.Stop(); err != nil {
		return nil, fmt.Errorf("remove a former cluster: %w", err)
	}
	if err := c.up(ctx); err != nil {
		if ctx.Err() == nil { // an operator who has cancelled knows why
			c.DumpLogs(o.Log)
		}
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// up is Start without the tearing down.
func (c *Cluster) up(ctx context.Context) error {
	for _, d := range []string{"bin", "conf", "images", "log", "pid", "pki"} {
		if err := os.MkdirAll(c.path(d), 0o755); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	record, err := json.Marshal(map[string]string{"name": c.opt.Name, "proxyMode": c.opt.ProxyMode})
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("cluster.json"), record, 0o644); err != nil {
		return err
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"programs", c.installPrograms},
		{"network", c.makeNetwork},
		{"credentials", func(context.Context) error { return c.writeCredentials() }},
		{"control plane", c.startControlPlane},
		{"nodes", c.startNodes},
		{"images", c.loadOwnImages},
		{"nodes Ready", c.waitNodesReady},
		{"pod networks", c.tellPodNets},
		{"ClusterIP of kubernetes answers on every node", c.waitServices},
	}
	for _, s := range steps {
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		c.logf("%s", s.name)
	}
	return nil
}

// Open attaches to a cluster that is running, perhaps started by another program.
func Open(o Options) (*Cluster, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	c := &Cluster{opt: o, begin: time.Now()}
	running, err := c.running()
	if err != nil {
		return nil, err
	}
	if len(running) == 0 {
		return nil, fmt.Errorf("%w: nothing of %s runs", ErrNotRunning, o.Dir)
	}
	b, err := os.ReadFile(c.path("cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	var record struct{ Name, ProxyMode string }
	if err := json.Unmarshal(b, &record); err != nil {
		return nil, fmt.Errorf("open cluster: %s: %w", c.path("cluster.json"), err)
	}
	if record.Name != o.Name {
		return nil, fmt.Errorf("open cluster: %s holds cluster %q, not %q", o.Dir, record.Name, o.Name)
	}
	c.opt.ProxyMode = record.ProxyMode
	return c, nil
}

// Remove stops a cluster that another program started, or what is left of one: it
// is Stop without Open, and no error if there is nothing.
func Remove(o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("must be root")
	}
	unlock, err := lock(o.Name)
	if err != nil {
		return err
	}
	defer unlock()
	return (&Cluster{opt: o, begin: time.Now()}).Stop()
}

// lock keeps others from starting or removing a cluster of that name meanwhile: in
// its first minutes, when programs are built, it has no processes to know it by.
func lock(name string) (unlock func(), err error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock cluster: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cluster: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cluster %s is being started or stopped by another program", name)
		}
		return nil, fmt.Errorf("lock cluster: %w", err)
	}
	return func() { f.Close() }, nil
}

// Status writes what runs and what does not.
func (c *Cluster) Status(w io.Writer) error {
	ps, err := c.processes()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "cluster %s in %s, kube-proxy in %s mode\n", c.opt.Name, c.opt.Dir, c.opt.ProxyMode)
	for _, p := range ps {
		state := "runs"
		if !p.alive() {
			state = "does not run"
		}
		fmt.Fprintf(w, "%-24s pid %-7d %s\n", p.Name, p.PID, state)
	}
	return nil
}

// Stop ends every process of the cluster and removes its namespaces, cgroups and
// files. It is idempotent, and goes on after an error to remove what it can.
//
// It kills outright: the state is thrown away, and an orderly end of kube-apiserver
// alone takes as long as all of this.
func (c *Cluster) Stop() error {
	var errs []error
	ps, err := c.processes()
	if err != nil {
		errs = append(errs, err)
	}
	for _, p := range ps {
		if err := p.kill(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range ps {
		if err := p.waitGone(20 * time.Second); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		c.reapers.Wait()
	}
	if err := c.removeNetwork(); err != nil {
		errs = append(errs, err)
	}
	if err := removeCgroups(c.opt.Name, 20*time.Second); err != nil {
		errs = append(errs, err)
	}
	// With a process left, its record is what the next Stop needs.
	if len(errs) == 0 {
		if err := os.RemoveAll(c.opt.Dir); err != nil {
			errs = append(errs, fmt.Errorf("remove state: %w", err))
		}
		if filepath.Dir(c.opt.Dir) == defaultRoot {
			os.Remove(defaultRoot) // unless another cluster's state is there
		}
	}
	return errors.Join(errs...)
}

// DumpLogs writes the last lines of every process's log, for a test that failed.
func (c *Cluster) DumpLogs(w io.Writer) {
	names, err := filepath.Glob(c.path("log", "*.log"))
	if err != nil {
		return // the pattern is a constant
	}
	for _, name := range names {
		fmt.Fprintf(w, "=== %s (last lines)\n%s\n", name, tail(name, 8<<10))
	}
}

// tail returns about the last n bytes of a file, from the beginning of a line.
func tail(name string, n int64) string {
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, st.Size()-n)
	b, err := io.ReadAll(io.NewSectionReader(f, from, n))
	if err != nil {
		return err.Error()
	}
	s := string(b)
	if from > 0 {
		if _, rest, ok := strings.Cut(s, "\n"); ok {
			s = rest
		}
	}
	return strings.TrimRight(s, "\n")
}

// path returns the name of a file in the state directory.
func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.opt.Dir}, elem...)...)
}

// logf writes a progress line.
func (c *Cluster) logf(format string, args ...any) {
	c.logMu.Lock()
	defer c.logMu.Unlock()
	fmt.Fprintf(c.opt.Log, "[%6.1fs] %s\n", time.Since(c.begin).Seconds(), fmt.Sprintf(format, args...))
}

// poll calls f every interval until it succeeds, at most for limit. A failure to
// succeed in time is reported with the last error of f.
func poll(ctx context.Context, limit, interval time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if final, ok := errors.AsType[*finalError](err); ok {
			return final.err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-t.C:
		}
	}
}

// finalError ends a poll: what is waited for can no longer happen.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
