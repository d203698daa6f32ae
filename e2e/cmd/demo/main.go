// Command demo shows kube-vrrp-vip on a Kubernetes of three nodes in network
// namespaces, which it starts and takes down again: a VIP is added, its Master's
// power is cut, and the next Master's pod is deleted, with a client that opens a
// connection every 2 ms all the while.
//
// Its last line is "demo: PASS crash_failover_ms=N graceful_failover_ms=N" or
// "demo: FAIL" and the reason.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
)

// clusterName is apart from the others': they may run meanwhile.
const clusterName = "kvvdemo"

func main() {
	os.Exit(run())
}

func run() (code int) {
	// A terminal that is gone must not end the demonstration before it has cleaned up:
	// writing to it fails, and that is all. (Ignored, the signal would be ignored by the
	// programs of the cluster, too.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// Never let go of: while the cluster is taken down a signal changes nothing.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()

	d := &demo{out: os.Stdout, begin: time.Now()}
	result, err := d.show(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintf(d.out, "demo: FAIL %s\n", oneLine(err))
		return 1
	}
	fmt.Fprintf(d.out, "demo: PASS crash_failover_ms=%d graceful_failover_ms=%d\n", result.crash.Milliseconds(), result.graceful.Milliseconds())
	return 0
}

// show starts a cluster, runs the demonstration on it, and takes it down.
func (d *demo) show(ctx context.Context) (r result, err error) {
	var c *cluster.Cluster
	err = d.step("A Kubernetes of three nodes, each with containerd, kubelet and kube-proxy, in network namespaces", func() (err error) {
		c, err = cluster.Start(ctx, cluster.Options{Name: clusterName, Log: &indent{w: d.out}})
		return err
	})
	if errors.Is(err, cluster.ErrRunning) {
		return result{}, fmt.Errorf("%w; if that is not another demonstration under way, remove it: cd e2e && go run ./cmd/cluster -name %s down", err, clusterName)
	}
	if err != nil {
		return result{}, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			d.explain(c)
		}
		down := d.step("The cluster is taken down", c.Stop)
		err = errors.Join(err, down)
	}()
	return d.tour(ctx, c)
}

// oneLine returns an error's text without line breaks.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
