package lab

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/e2e/internal/lab/labtest"
)

var (
	silenceRuns = flag.Int("lab.runs", 1, "how often TestNetnsSilence kills and stops a daemon")
	loadTime    = flag.Duration("lab.load", 3*time.Second, "for how long TestNetnsAnswersUnderLoad asks under each load")
)

const (
	// silenceTarget is what answers are over by, at the latest.
	silenceTarget = 600 * time.Millisecond
	// askEvery is between two questions.
	askEvery = 10 * time.Millisecond
)

var silentVIPs = labtest.Addrs("192.0.2.100", "2001:db8::100")

// startAlone starts a daemon that gets VIPs.
func startAlone(ctx context.Context, t *testing.T, l *lab.Lab, vips []netip.Addr, args ...string) *lab.Daemon {
	t.Helper()
	l.SetService("default", "web", "10.96.0.10", 80)
	config := map[string]string{}
	for _, vip := range vips {
		config[strings.ReplaceAll(vip.String(), ":", "-")] = "default/web"
	}
	l.SetConfigMap(config)
	d, err := l.StartDaemon(l.Hosts[0], 200, args...)
	if err != nil {
		t.Fatal(err)
	}
	for _, vip := range vips {
		labtest.WaitHeld(ctx, t, l, vip, 0)
	}
	return d
}

// family names in figures how an address is asked for.
func family(a netip.Addr) string {
	if a.Is6() {
		return "nd"
	}
	return "arp"
}

// askFor asks for the VIPs until ctx ends, and returns when it did.
func askFor(ctx context.Context, t *testing.T, l *lab.Lab) (asked []time.Time) {
	t.Helper()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		asked = append(asked, time.Now())
		for _, vip := range silentVIPs {
			if err := l.Ask(vip); err != nil {
				t.Error(err)
			}
		}
		select {
		case <-ctx.Done():
			return asked
		case <-tick.C:
		}
	}
}

// answersOf returns when a host has answered for an address.
func answersOf(l *lab.Lab, host int, a netip.Addr, since time.Time) (at []time.Time) {
	for _, p := range l.Recorder.Packets(since, func(p lab.Packet) bool {
		n := p.Neighbor
		return n != nil && n.Answer && !n.Gratuitous && n.Address == a && p.Host == host && (n.To == l.Client.IPv4 || n.To == l.Client.LinkLocal)
	}) {
		at = append(at, p.At)
	}
	return at
}

// TestNetnsSilence has the only daemon killed or stopped: its kernel holds the
// VIPs for a while, and stops answering for them much sooner.
func TestNetnsSilence(t *testing.T) {
	t.Parallel()
	for version, args := range map[string][]string{
		"v2": {"--vrrp-version=2"}, "v3": {"--vrrp-version=3"}, "v3_virtual_mac": {"--vrrp-version=3", "--virtual-mac"},
	} {
		for signal, how := range map[syscall.Signal]string{syscall.SIGKILL: "kill", syscall.SIGSTOP: "stop"} {
			name := how + "_" + version
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				all := map[string][]time.Duration{}
				t.Cleanup(func() {
					for family, took := range all {
						slices.Sort(took)
						t.Logf("measured: silence_%s_%s=%v target=%v median=%v min=%v runs=%d", name, family,
							took[len(took)-1], silenceTarget, took[len(took)/2], took[0], len(took))
					}
				})
				for i := range *silenceRuns {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						t.Parallel()
						measureSilence(t, signal, args, func(family string, took time.Duration) {
							mu.Lock()
							defer mu.Unlock()
							all[family] = append(all[family], took)
						})
					})
				}
			})
		}
	}
}

// measureSilence signals the only daemon and measures until when its node answers.
func measureSilence(t *testing.T, how syscall.Signal, args []string, measured func(family string, took time.Duration)) {
	t.Helper()
	vips := silentVIPs
	if slices.Contains(args, "--vrrp-version=2") {
		vips = vips[:1] // It has no IPv6.
	}
	l, ctx := labtest.New(t, 1)
	d := startAlone(ctx, t, l, vips, args...)
	asking, stopAsking := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { askFor(asking, t, l) })
	defer wg.Wait()
	defer stopAsking()
	begin := time.Now()
	answered := func(since time.Time) error {
		for _, vip := range vips {
			if len(answersOf(l, 0, vip, since)) == 0 {
				return fmt.Errorf("no answer for %s", vip)
			}
		}
		return nil
	}
	if err := lab.Eventually(ctx, "the Master answers", func() error { return answered(begin) }); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	if err := d.Signal(how); err != nil {
		t.Fatal(err)
	}
	// Until the kernel has taken the addresses away.
	if err := lab.Eventually(ctx, "the leases end", func() error {
		for _, vip := range vips {
			if got := l.Recorder.Holders(vip); len(got) != 0 {
				return fmt.Errorf("%s is held", vip)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, vip := range vips {
		answers := answersOf(l, 0, vip, at)
		last := at
		if len(answers) > 0 {
			last = answers[len(answers)-1]
		}
		took := last.Sub(at)
		measured(family(vip), took)
		// The lease alone ends them after 1.5 s at the earliest.
		if took > 1500*time.Millisecond {
			t.Errorf("%s was answered for until %v after the signal", vip, took)
		}
	}
	if how != syscall.SIGSTOP {
		return
	}
	// One that goes on answers again: it believes to be Master, alone as it is.
	if err := d.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	on := time.Now()
	if err := lab.Eventually(ctx, "the Master answers again", func() error { return answered(on) }); err != nil {
		t.Error(err)
	}
}

// TestNetnsAnswersUnderLoad has a healthy Master miss no question, whatever others
// do to the kernel and the processors.
func TestNetnsAnswersUnderLoad(t *testing.T) {
	l, ctx := labtest.New(t, 1)
	startAlone(ctx, t, l, silentVIPs)
	node := l.Hosts[0]
	loads := map[string]func(context.Context) error{
		"nothing": func(ctx context.Context) error { <-ctx.Done(); return nil },
		"nftables": func(ctx context.Context) error {
			file := filepath.Join(t.TempDir(), "foreign.nft")
			if err := os.WriteFile(file, []byte(manyElements(10_000)), 0o600); err != nil {
				return err
			}
			return repeat(ctx, "transactions of 10000 elements", t, func() error {
				_, err := node.Run("nft", "-f", file)
				return err
			})
		},
		"links": func(ctx context.Context) error {
			return repeat(ctx, "links made and removed", t, func() error {
				return node.IP("link add veth7 type veth peer name veth8", "addr add 203.0.113.1/24 dev veth7", "link set veth7 up",
					"addr add 2001:db8:7::1/64 dev veth7", "link del veth7")
			})
		},
		"processors": func(ctx context.Context) error {
			for range 4 * runtime.NumCPU() {
				p, err := l.Start(node, nil, "sh", "-c", "while :; do :; done")
				if err != nil {
					return err
				}
				defer p.Kill()
			}
			<-ctx.Done()
			return nil
		},
	}
	for _, name := range []string{"nothing", "nftables", "links", "processors"} {
		t.Run(name, func(t *testing.T) {
			loaded, stopLoad := context.WithTimeout(t.Context(), *loadTime)
			defer stopLoad()
			begin := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := loads[name](loaded); err != nil {
					t.Error(err)
				}
			})
			asked := askFor(loaded, t, l)
			wg.Wait()
			for _, vip := range silentVIPs {
				// The last answers are on their way.
				var answers []time.Time
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				_ = lab.Eventually(ctx, "all answers", func() error {
					if answers = answersOf(l, 0, vip, begin); len(answers) < len(asked) {
						return fmt.Errorf("%d answers", len(answers))
					}
					return nil
				})
				cancel()
				missed := len(asked) - len(answers)
				t.Logf("measured: answers_missed_%s_%s=%d target=0 asked=%d", name, family(vip), missed, len(asked))
				if missed > 0 {
					t.Errorf("%d of %d questions for %s were not answered", missed, len(asked), vip)
				}
			}
			if text, err := node.Run("nft", "list", "chain", "netdev", "kube_vrrp_vip", "silence"); err != nil || !strings.Contains(text, "packets 0") {
				t.Errorf("the gate was closed: %s%v", text, err)
			}
		})
	}
}

// repeat does something until ctx ends, and says how often.
func repeat(ctx context.Context, what string, t *testing.T, do func() error) error {
	t.Helper()
	n := 0
	for ; ctx.Err() == nil; n++ {
		if err := do(); err != nil {
			return err
		}
	}
	t.Logf("%d %s", n, what)
	return nil
}

// manyElements is a transaction as kube-proxy's: a set that is made anew.
func manyElements(n int) string {
	var b strings.Builder
	b.WriteString("add table inet foreign\ndelete table inet foreign\ntable inet foreign {\n map m { type ipv4_addr . inet_proto . inet_service : ipv4_addr\n elements = {\n")
	for i := range n {
		fmt.Fprintf(&b, "10.96.%d.%d . tcp . 80 : 10.244.%d.%d,\n", i/250, i%250, i/250, i%250)
	}
	b.WriteString("}\n}\n}\n")
	return b.String()
}
