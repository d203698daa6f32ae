package inspect

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
)

// interval is how often an Inspector looks.
const interval = 10 * time.Second

// Config is what an Inspector needs.
type Config struct {
	// KubeProxy is called with every change; at first kube-proxy is taken for
	// present.
	KubeProxy func(present bool)
	// Repairs count for each table of ours how often it was repaired.
	Repairs map[string]func() uint64
}

// Inspector looks at what others have on the node that the datapath depends on:
// kube-proxy's rules, and what keeps traffic of VIPs from arriving. It logs the
// repairs of our tables, too, since other programs are their cause.
type Inspector struct {
	config Config
	// present and conflicts ask the kernel. The argument of conflicts reports that
	// there are ports that the daemon serves itself.
	present   func() (bool, error)
	conflicts func(proxied bool) ([]string, error)

	// The goroutine of Run alone uses these.
	kubeProxy presence
	failed    string            // The error of the latest look.
	logged    map[string]uint64 // Repairs, by table.

	mu      sync.Mutex
	proxied bool
	found   []string
}

// New returns an Inspector that has not looked yet.
func New(c Config) *Inspector {
	return &Inspector{config: c, present: KubeProxyPresent, conflicts: Conflicts, logged: make(map[string]uint64)}
}

// Set notes whether the newest state has ports that the daemon serves itself.
func (i *Inspector) Set(d desired.Datapath) {
	proxied := slices.ContainsFunc(d.Forwards, desired.Forward.Proxied)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.proxied = proxied
}

// Run looks every 10 s until ctx is done. It logs changes, once each.
func (i *Inspector) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	i.kubeProxy.seen = time.Now()
	for {
		i.look(klog.FromContext(ctx))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Conflicts describes the rules of other programs that keep traffic of VIPs from
// arriving, as they were at the latest look.
func (i *Inspector) Conflicts() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.found
}

// Repairs returns how often tables of ours were repaired, in all.
func (i *Inspector) Repairs() uint64 {
	var sum uint64
	for _, count := range i.config.Repairs {
		sum += count()
	}
	return sum
}

func (i *Inspector) look(logger klog.Logger) {
	err := errors.Join(i.lookForKubeProxy(logger), i.lookForConflicts(logger))
	failed := ""
	if err != nil {
		if failed = err.Error(); failed != i.failed {
			logger.Error(err, "Surroundings not known")
		}
	}
	i.failed = failed
	for _, table := range slices.Sorted(maps.Keys(i.config.Repairs)) {
		if n := i.config.Repairs[table](); n != i.logged[table] {
			i.logged[table] = n
			logger.Info("Repaired a table that another program had changed", "table", table, "count", n)
		}
	}
}

// lookForKubeProxy calls config.KubeProxy when kube-proxy comes, or has been gone for
// a minute.
func (i *Inspector) lookForKubeProxy(logger klog.Logger) error {
	found, err := i.present()
	now := time.Now()
	switch {
	case err != nil:
		i.kubeProxy.unknown(now)
	case found:
		if i.kubeProxy.found(now) {
			logger.Info("Found kube-proxy")
			i.config.KubeProxy(true)
		}
	case i.kubeProxy.missed(now):
		logger.Info("Found no kube-proxy", "elapsed", now.Sub(i.kubeProxy.seen).Round(time.Second))
		i.config.KubeProxy(false)
	}
	return err
}

// lookForConflicts keeps what was found and logs what is new in it or gone.
func (i *Inspector) lookForConflicts(logger klog.Logger) error {
	i.mu.Lock()
	before, proxied := i.found, i.proxied
	i.mu.Unlock()
	found, err := i.conflicts(proxied)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.found = found
	i.mu.Unlock()
	for _, c := range found {
		if !slices.Contains(before, c) {
			logger.Info("Conflict with another program's rules began", "reason", c)
		}
	}
	for _, c := range before {
		if !slices.Contains(found, c) {
			logger.Info("Conflict with another program's rules ended", "reason", c)
		}
	}
	return nil
}
