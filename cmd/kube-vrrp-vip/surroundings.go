package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/server"
)

const (
	// lookInterval is how often surroundings looks.
	lookInterval = 10 * time.Second
	// absence is how long kube-proxy must not have been seen to be taken for
	// absent: on a node that boots it may come after this daemon.
	absence = time.Minute
)

// surroundings looks at what others have on the node that the datapath depends
// on: kube-proxy's rules, and what keeps traffic of VIPs from arriving. It tells
// of repairs, too, which they are the cause of.
type surroundings struct {
	// present and look ask the kernel; look is told whether there are ports
	// that the daemon serves itself.
	present func() (bool, error)
	look    func(proxied bool) ([]string, error)
	// kubeProxy is told of every change; at first kube-proxy is there.
	kubeProxy func(present bool)
	// repairs count for each table how often it was put right.
	repairs map[string]func() uint64

	// The goroutine of run alone uses these.
	absent bool
	seen   time.Time // When kube-proxy was last there, at first the start.
	failed string    // The error of the latest look.
	told   map[string]uint64

	mu      sync.Mutex
	proxied bool
	found   []string
}

// apply notes what the newest state has.
func (s *surroundings) apply(d desired.Datapath) {
	proxied := slices.ContainsFunc(d.Forwards, desired.Forward.Proxied)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxied = proxied
}

// run looks every 10 s until ctx is done. It logs changes, once each.
func (s *surroundings) run(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	s.seen, s.told = time.Now(), make(map[string]uint64)
	for {
		s.check(klog.FromContext(ctx))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *surroundings) check(logger klog.Logger) {
	present, err := s.present()
	if err == nil {
		s.notePresence(logger, present)
	} else {
		s.seen = time.Now() // What is not known is no absence.
	}
	found, lookErr := s.look(s.hasProxied())
	if lookErr == nil {
		s.noteConflicts(logger, found)
	}
	failed := ""
	if err := errors.Join(err, lookErr); err != nil {
		if failed = err.Error(); failed != s.failed {
			logger.Error(err, "Surroundings not known")
		}
	}
	s.failed = failed
	for _, table := range slices.Sorted(maps.Keys(s.repairs)) {
		if n := s.repairs[table](); n != s.told[table] {
			s.told[table] = n
			logger.Info("Repaired a table that another program had changed", "table", table, "count", n)
		}
	}
}

func (s *surroundings) notePresence(logger klog.Logger, present bool) {
	switch {
	case present:
		s.seen = time.Now()
		if s.absent {
			s.absent = false
			logger.Info("Found kube-proxy")
			s.kubeProxy(true)
		}
	case !s.absent && time.Since(s.seen) >= absence:
		s.absent = true
		logger.Info("Found no kube-proxy", "elapsed", time.Since(s.seen).Round(time.Second))
		s.kubeProxy(false)
	}
}

// noteConflicts keeps what was found and logs what is new in it or gone.
func (s *surroundings) noteConflicts(logger klog.Logger, found []string) {
	s.mu.Lock()
	before := s.found
	s.found = found
	s.mu.Unlock()
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
}

func (s *surroundings) hasProxied() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proxied
}

// addTo adds what the server shows.
func (s *surroundings) addTo(d server.Datapath) server.Datapath {
	for _, count := range s.repairs {
		d.Repairs += count()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Conflicts = s.found
	return d
}
