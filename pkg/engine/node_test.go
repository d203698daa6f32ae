package engine

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/vrrp"
)

// The tests in network namespaces run the engine as a process of its own, so
// that it can be killed and stopped: the test program again, with -node.
var nodeFlag = flag.String("engine.node", "", "run an engine with this desired.State (JSON) instead of the tests")

func TestMain(m *testing.M) {
	flag.Parse()
	if *nodeFlag != "" {
		if err := runNode(*nodeFlag); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runNode is the daemon without Kubernetes and without forwarding.
func runNode(state string) (err error) {
	var s desired.State
	if err := json.Unmarshal([]byte(state), &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	network, err := lan.NewNetwork()
	if err != nil {
		return err
	}
	defer network.Close()
	addresses, err := host.NewAddresses(2 * time.Second)
	if err != nil {
		return err
	}
	defer addresses.Close()
	announcer := &lan.Announcer{}
	defer announcer.Close()
	e := New(Config{
		Network: network, Ports: lan.Ports{}, Addresses: addresses, Announcer: announcer, Neighbors: noNeighbors{}, Release: true,
		Elevate: lan.Elevate,
		OnTransition: func(t desired.Transition) {
			fmt.Printf("transition: %s -> %s (%s)\n", t.From, t.To, t.Reason)
		},
		OnAlarm: func(a desired.AlarmChange) {
			fmt.Printf("alarm: %s %s %t\n", a.Reason, a.Source, a.On)
		},
	})
	e.Apply(s)
	watchCtx, stopWatch := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var watchErr error
	wg.Go(func() { watchErr = host.Watch(watchCtx, e.Links) })
	err = e.Run(ctx)
	stopWatch()
	wg.Wait()
	if err == nil {
		err = watchErr
	}
	return err
}

// nodeState asks for one virtual router 50 with an interval of 100 ms.
func nodeState(priority uint8, vips ...netip.Addr) string {
	s := stateOf(vips...)
	s.Routers[0].Priority = priority
	s.Routers[0].Version = vrrp.V3
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // Plain values.
	}
	return string(b)
}
