package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// fault is a kind of what can happen.
type fault struct {
	kind string
	// bound is how long a client may be without an answer, beside what the fault itself
	// takes away.
	bound time.Duration
	// run makes it happen somewhere, and undoes it. It tells where.
	run func(ctx context.Context, r *runner) (where string, err error)
}

// usual is the bound of what costs a failover or nothing.
var usual = scenario.Bound(scenario.CrashTarget)

// tablesBack is the bound of what a daemon finds when it looks after its tables, every
// five seconds.
var tablesBack = scenario.Bound(5 * time.Second)

var faults = []fault{
	{"daemon killed", usual, func(ctx context.Context, r *runner) (string, error) {
		n := r.node()
		return "on " + n, r.signal(ctx, n, syscall.SIGKILL)
	}},
	{"daemon stopped", usual, func(ctx context.Context, r *runner) (string, error) {
		n, d := r.node(), r.between(time.Second, 6*time.Second)
		err := r.signal(ctx, n, syscall.SIGSTOP)
		if err == nil {
			err = rest(ctx, d)
		}
		if err == nil {
			err = r.signal(ctx, n, syscall.SIGCONT)
		}
		return fmt.Sprintf("on %s for %.1f s", n, d.Seconds()), err
	}},
	{"pod deleted", usual, func(ctx context.Context, r *runner) (string, error) {
		n := r.node()
		pod, err := r.Pod(ctx, n)
		if err == nil {
			_, err = r.Kubectl(ctx, "", "--namespace="+scenario.Namespace, "delete", "pod", pod.Name)
		}
		return "on " + n, err
	}},
	{"rolling restart", usual, func(ctx context.Context, r *runner) (string, error) {
		_, err := r.Kubectl(ctx, "", "--namespace="+scenario.Namespace, "rollout", "restart", "daemonset/kube-vrrp-vip")
		if err == nil {
			_, err = r.Kubectl(ctx, "", "--namespace="+scenario.Namespace, "rollout", "status", "daemonset/kube-vrrp-vip", "--timeout=180s")
		}
		return "everywhere", err
	}},
	{"node crash", usual, func(ctx context.Context, r *runner) (string, error) {
		n, d := r.node(), r.between(time.Second, 4*time.Second)
		err := r.Crash(ctx, n)
		if err == nil {
			err = rest(ctx, d)
		}
		if err == nil {
			err = r.PowerOn(ctx, n)
		}
		return fmt.Sprintf("of %s, on again after %.1f s", n, d.Seconds()), err
	}},
	{"cable cut", usual, func(ctx context.Context, r *runner) (string, error) {
		n, d := r.node(), r.between(time.Second, 5*time.Second)
		return fmt.Sprintf("of %s for %.1f s", n, d.Seconds()), r.cut(ctx, n, d)
	}},
	{"link flap", usual, func(ctx context.Context, r *runner) (string, error) {
		const times = 5
		n := r.node()
		var err error
		for range times {
			if err == nil {
				err = r.cut(ctx, n, r.between(50*time.Millisecond, 300*time.Millisecond))
			}
			if err == nil {
				err = rest(ctx, r.between(50*time.Millisecond, 300*time.Millisecond))
			}
		}
		return fmt.Sprintf("of %s, %d times", n, times), err
	}},
	{"silent partition", usual, func(ctx context.Context, r *runner) (string, error) {
		n, d := r.node(), r.between(time.Second, 5*time.Second)
		err := r.lose(ctx, n)
		if err == nil {
			err = rest(ctx, d)
		}
		if err == nil {
			_, err = r.Exec(ctx, "sw", "nft", "delete", "table", "bridge", "loss")
		}
		return fmt.Sprintf("of %s for %.1f s", n, d.Seconds()), err
	}},
	{"address removed", usual, func(ctx context.Context, r *runner) (string, error) {
		vip, n, err := r.held(ctx)
		if err == nil {
			_, err = r.Exec(ctx, n, "ip", "address", "del", netip.PrefixFrom(vip, vip.BitLen()).String(), "dev", "eth0")
		}
		return fmt.Sprintf("%s on %s", vip, n), err
	}},
	{"VIP added and removed", usual, func(ctx context.Context, r *runner) (string, error) {
		return vipExtra.String(), r.withEntry(ctx, vipExtra.String(), r.entries()[0].value, true, func(ctx context.Context) error {
			return scenario.Eventually(ctx, "VIP answers", func(ctx context.Context) error {
				_, err := probe.Get(ctx, r.NetNS("client"), netip.AddrPortFrom(vipExtra, 80))
				return err
			})
		})
	}},
	{"bad entry", usual, func(ctx context.Context, r *runner) (string, error) {
		const key = "nonsense"
		return key, r.withEntry(ctx, key, "none", false, func(ctx context.Context) error {
			return scenario.Eventually(ctx, "problem is told", func(ctx context.Context) error {
				for _, n := range r.Nodes() {
					st, err := r.Status(ctx, n)
					if err != nil {
						return err
					}
					if !strings.Contains(fmt.Sprint(st.Problems), key) {
						return fmt.Errorf("%s: problems %v", n, st.Problems)
					}
				}
				return nil
			})
		})
	}},
	{"missing Service", usual, func(ctx context.Context, r *runner) (string, error) {
		return vipExtra.String(), r.withEntry(ctx, vipExtra.String(), namespace+"/missing", true, func(context.Context) error { return nil })
	}},
	{"Service made again", usual, func(ctx context.Context, r *runner) (string, error) {
		e := r.entries()[r.rand.IntN(len(r.entries()))]
		began := time.Now()
		_, err := r.Kubectl(ctx, "", "--namespace="+namespace, "delete", "service", e.service)
		if err == nil {
			err = rest(ctx, time.Second)
		}
		if err == nil {
			_, err = r.Kubectl(ctx, r.service(e), "apply", "--filename=-")
		}
		r.gone = time.Since(began)
		return e.service, err
	}},
	{"tables deleted", tablesBack, func(ctx context.Context, r *runner) (string, error) {
		n := r.node()
		out, err := r.Exec(ctx, n, "nft", "list", "tables")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); err == nil && len(f) == 3 && f[2] == "kube_vrrp_vip" {
				_, err = r.Exec(ctx, n, "nft", "delete", "table", f[1], f[2])
			}
		}
		return "on " + n, err
	}},
	{"kube-proxy killed", usual, func(ctx context.Context, r *runner) (string, error) {
		return r.killProgram(ctx, "kube-proxy")
	}},
	{"kubelet killed", usual, func(ctx context.Context, r *runner) (string, error) {
		return r.killProgram(ctx, "kubelet")
	}},
	{"API server stopped", usual, func(ctx context.Context, r *runner) (string, error) {
		d := r.between(2*time.Second, 10*time.Second)
		err := r.StopAPIServer()
		if err == nil {
			err = rest(ctx, d)
		}
		if err == nil {
			err = r.StartAPIServer(ctx)
		}
		if err == nil {
			err = r.followed(ctx)
		}
		return fmt.Sprintf("for %.1f s", d.Seconds()), err
	}},
}

// node is any node.
func (r *runner) node() string { return r.Nodes()[r.rand.IntN(len(r.Nodes()))] }

// between is any time from one to another.
func (r *runner) between(from, to time.Duration) time.Duration {
	return from + time.Duration(r.rand.Int64N(int64(to-from)))
}

// held is any VIP and the node that holds it.
func (r *runner) held(ctx context.Context) (vip netip.Addr, node string, err error) {
	vips := r.vips()
	vip = vips[r.rand.IntN(len(vips))]
	holders, err := r.Spread(ctx, vips)
	return vip, holders[vip], err
}

// signal signals the daemon on a node.
func (r *runner) signal(ctx context.Context, node string, sig syscall.Signal) error {
	pod, err := r.Pod(ctx, node)
	if err != nil {
		return err
	}
	return r.KillContainer(ctx, node, scenario.Namespace, pod.Name, pod.Container, sig)
}

// cut pulls a node's cable for a while.
func (r *runner) cut(ctx context.Context, node string, d time.Duration) error {
	if err := r.CutLink(node); err != nil {
		return err
	}
	return errors.Join(rest(ctx, d), r.RestoreLink(node))
}

// lose has the switch lose all that a node sends and would receive, while its cable
// stays in place.
func (r *runner) lose(ctx context.Context, node string) error {
	_, err := r.Exec(ctx, "sw", "nft", fmt.Sprintf(`add table bridge loss
add chain bridge loss forward { type filter hook forward priority 0; }
add rule bridge loss forward meta iifname "%[1]s" drop
add rule bridge loss forward meta oifname "%[1]s" drop`, node))
	return err
}

// withEntry has one more entry in the ConfigMap while f runs, of vipExtra or of no VIP.
func (r *runner) withEntry(ctx context.Context, key, value string, extra bool, f func(context.Context) error) error {
	if err := r.SetEntry(ctx, key, value); err != nil {
		return err
	}
	vips := r.vips()
	if extra {
		vips = append(vips, vipExtra)
	}
	if err := r.settle(ctx, time.Now(), vips); err != nil {
		return err
	}
	if err := f(ctx); err != nil {
		return err
	}
	return r.RemoveEntry(ctx, key)
}

// killProgram kills a program of a node's own, and waits until it runs again.
func (r *runner) killProgram(ctx context.Context, program string) (where string, err error) {
	n := r.node()
	if err := r.SignalProgram(n, program, syscall.SIGKILL); err != nil {
		return "on " + n, err
	}
	return "on " + n, scenario.Eventually(ctx, program+" runs again", func(context.Context) error {
		return r.SignalProgram(n, program, 0)
	})
}
