package datapath

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/proxy"
)

const (
	// retryMin is the wait after the first failure. It doubles with each further
	// one, up to recheck.
	retryMin = 100 * time.Millisecond
	// recheck is how often the Worker looks for changes by other programs: until
	// then a firewall that was loaded with "flush ruleset" leaves the VIPs without
	// their Services. A look is one question to the kernel as long as no program
	// has changed any table.
	recheck = 5 * time.Second
)

// writer is what Rules are to a Worker.
type writer interface {
	Sync(desired.Datapath) error
}

// Worker carries out the newest state: it opens the listeners of the ports that the
// daemon serves itself, and writes the rules.
type Worker struct {
	proxy  *proxy.Proxy
	rules  writer
	states chan desired.State

	mu   sync.Mutex
	last desired.DatapathStatus
}

// NewWorker returns a Worker, whose Run owns the proxy and the Rules.
func NewWorker(p *proxy.Proxy, r writer) *Worker {
	return &Worker{proxy: p, rules: r, states: make(chan desired.State, 1)}
}

// Set replaces the state that Run takes next. It never blocks, and is called by
// one goroutine.
func (w *Worker) Set(s desired.State) {
	select {
	case <-w.states:
	default:
	}
	w.states <- s
}

// Run carries out the states until ctx is done. It tries again after an error, and looks every 5 s
// whether the rules are still the ones that it wrote.
func (w *Worker) Run(ctx context.Context) {
	defer w.proxy.Close()
	var next plan
	retry := retryMin
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-w.states:
			next.state, next.listening = &s, false
		case <-timer.C:
		}
		wait := recheck
		if next.state != nil && !w.carryOut(ctx, &next) {
			wait = retry
			retry = min(2*retry, recheck)
		} else {
			retry = retryMin
		}
		timer.Reset(wait)
	}
}

// plan is a state and what it takes to carry it out.
type plan struct {
	state *desired.State // Nil before the first one.
	// listening reports that all listeners of the state are open.
	listening bool
	rules     desired.Datapath
}

// carryOut opens the listeners that a state needs, writes the rules that lead to
// them, and closes the listeners that the rules before led to. It reports whether
// the rules were written.
func (w *Worker) carryOut(ctx context.Context, p *plan) bool {
	var listenErr error
	if !p.listening {
		var open listeners
		open, listenErr = w.proxy.Open(proxyPorts(*p.state))
		p.rules = open.rules(p.state.Datapath)
		p.listening = listenErr == nil
	}
	err := w.rules.Sync(p.rules)
	// Also if the rules were not written: a port that is gone is refused.
	w.proxy.Prune()
	w.note(klog.FromContext(ctx), err, listenErr)
	return err == nil
}

// note keeps the outcome of an attempt, and logs it if it differs from the one
// before.
func (w *Worker) note(logger klog.Logger, writeErr, listenErr error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if writeErr == nil {
		w.last.LastSync = time.Now()
	}
	if writeErr != nil || listenErr != nil {
		w.last.Errors++
	}
	switch text(writeErr) {
	case w.last.Err:
	case "":
		logger.Info("Forwarding rules written again")
	default:
		logger.Error(writeErr, "Forwarding rules not written")
	}
	switch text(listenErr) {
	case w.last.ProxyErr:
	case "":
		logger.Info("Proxy listens on all ports again")
	default:
		logger.Error(listenErr, "Proxy does not listen on all ports")
	}
	w.last.Err, w.last.ProxyErr = text(writeErr), text(listenErr)
}

// text is empty for no error.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Status returns how it is going. It may be called by any goroutine.
func (w *Worker) Status() desired.DatapathStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	status := w.last
	status.Proxy = w.proxy.Status()
	return status
}
