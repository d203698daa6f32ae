package engine

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
	"kube-vrrp-vip/pkg/netns/netnstest"
)

// The tests in network namespaces run the engine as a process of its own, so
// that it can be killed and stopped: the test program again, with -node.
var nodeFlag = flag.String("engine.node", "", "run an engine with the desired.State (JSON) in this file, read again at SIGHUP, instead of the tests")

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
func runNode(file string) (err error) {
	s, err := readState(file)
	if err != nil {
		return err
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	poller, err := lan.NewPoller()
	if err != nil {
		return err
	}
	defer poller.Close()
	addresses, err := host.NewAddresses(2 * time.Second)
	if err != nil {
		return err
	}
	defer addresses.Close()
	announcer := &lan.Announcer{}
	defer announcer.Close()
	var e *Engine
	detector := lan.NewConflictDetector(func(c lan.NeighborEvent) { e.Heard(c) })
	defer detector.Close()
	e = New(Config{
		Poller: poller, Conns: lan.Conns{}, Addresses: addresses, Announcer: announcer, Neighbors: noNeighbors{}, ConflictDetector: detector, Release: true,
		VirtualLinks: &host.VirtualLinks{}, Senders: noNeighbors{},
		Elevate: lan.Elevate,
		OnTransition: func(t desired.Transition) {
			fmt.Printf("transition of %d: %s -> %s (%s)\n", t.VRID, t.From, t.To, t.Text())
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
	wg.Go(func() {
		for {
			select {
			case <-watchCtx.Done():
				return
			case <-again:
				s, err := readState(file)
				if err != nil {
					panic(err) // The test's own.
				}
				e.Apply(s)
			}
		}
	})
	err = e.Run(ctx)
	stopWatch()
	wg.Wait()
	if err == nil {
		err = watchErr
	}
	return err
}

func readState(file string) (s desired.State, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// writeState writes the file of a process, and has it read again if it runs.
func writeState(t *testing.T, file string, s desired.State, running *netnstest.Process) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if running != nil {
		if err := running.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
}
