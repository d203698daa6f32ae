package probe

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

// slack is what a busy machine may add to a time that is measured.
const slack = 50 * time.Millisecond

// ip runs an ip(8) command in a namespace.
func ip(ns *netnstest.NS, args string) { ns.Run("ip", strings.Fields(args)...) }

// serve answers HTTP requests in a namespace as the echo server does.
func serve(t *testing.T, ns *netnstest.NS, addr string) {
	t.Helper()
	l := ns.Listen("tcp", addr)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "host=h node=n7 client=%s\n", r.RemoteAddr)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends by Close
	}()
	t.Cleanup(func() { srv.Close(); <-done })
}

func start(t *testing.T, ns *netnstest.NS, target string) *Probe {
	t.Helper()
	p, err := Start(ns.Path(), netip.MustParseAddrPort(target), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

func wait(t *testing.T, p *Probe, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.WaitSuccesses(ctx, n); err != nil {
		t.Fatal(err)
	}
}

func TestNetnsProbeOfSteadyService(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		t.Run(addr, func(t *testing.T) {
			ns := netnstest.New(t, "host")
			serve(t, ns, addr)
			p := start(t, ns, addr)
			wait(t, p, 300)
			r := p.Stop()
			t.Log(r)
			if r.Outage() > slack {
				t.Errorf("outage %s of a service that was always there", r.Outage())
			}
			if len(r.Failures) > 0 {
				t.Errorf("%d failures, the first: %v", len(r.Failures), r.Failures[0].Err)
			}
			if n := r.Nodes()["n7"]; n != len(r.Successes) {
				t.Errorf("%d of %d answers by n7", n, len(r.Successes))
			}
			for _, s := range r.Successes {
				if !s.End.After(s.Begin) {
					t.Fatalf("answer at %s of a connection of %s", s.End, s.Begin)
				}
			}
			var sockets string
			ns.Do(func() {
				b, err := os.ReadFile("/proc/thread-self/net/sockstat")
				if err != nil {
					t.Fatal(err)
				}
				sockets = string(b)
			})
			if strings.Contains(addr, "127") && !strings.Contains(sockets, "tw 0 ") {
				t.Errorf("connections are left waiting:\n%s", sockets)
			}
		})
	}
}

// TestProbeMeasuresOutage has packets dropped: the connections begun meanwhile hang,
// and must neither delay those after nor hide the time.
func TestNetnsProbeMeasuresOutage(t *testing.T) {
	ns := netnstest.New(t, "host")
	serve(t, ns, "127.0.0.1:8080")
	ns.Run("nft", "add table ip t; add chain ip t c { type filter hook input priority 0; }")
	p := start(t, ns, "127.0.0.1:8080")
	wait(t, p, 50)
	t0 := time.Now()
	ns.Run("nft", "add rule ip t c tcp dport 8080 drop")
	t1 := time.Now()
	hang, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	<-hang.Done()
	t2 := time.Now()
	ns.Run("nft", "flush chain ip t c")
	t3 := time.Now()
	wait(t, p, 50)
	r := p.Stop()
	t.Logf("dropped for %s to %s: %s", t2.Sub(t1), t3.Sub(t0), r)
	if got, least, most := r.OutageAfter(t0), t2.Sub(t1), t3.Sub(t0)+slack; got < least || got > most {
		t.Errorf("outage %s, want between %s and %s", got, least, most)
	}
	if got := r.OutageAfter(t3.Add(slack)); got > slack {
		t.Errorf("outage %s after it was over", got)
	}
}

func TestNetnsProbeCountsFailures(t *testing.T) {
	ns := netnstest.New(t, "host")
	p := start(t, ns, "127.0.0.1:8080")
	serve(t, ns, "127.0.0.1:8081")
	other := start(t, ns, "127.0.0.1:8081")
	wait(t, other, 20)
	r := p.Stop()
	if n := r.Failed()[KindRefused]; n == 0 || n != len(r.Failures) {
		t.Errorf("a port nobody listens on: %s", r)
	}
	if r.Outage() != r.End.Sub(r.Begin) {
		t.Errorf("outage %s, want all of %s", r.Outage(), r.End.Sub(r.Begin))
	}
}

func TestNetnsProbeTimesOut(t *testing.T) {
	ns := netnstest.New(t, "host")
	ns.Run("nft", "add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c tcp dport 8080 drop")
	ctx, cancel := context.WithTimeout(t.Context(), Timeout+200*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, ns.Path(), netip.MustParseAddrPort("127.0.0.1:8080"), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if n := r.Failed()[KindTimeout]; n == 0 || n != len(r.Failures) {
		t.Errorf("packets dropped: %s", r)
	}
}

func TestNetnsGetAndUDP(t *testing.T) {
	ns := netnstest.New(t, "host")
	serve(t, ns, "127.0.0.1:8080")
	body, err := Get(t.Context(), ns.Path(), netip.MustParseAddrPort("127.0.0.1:8080"))
	if err != nil || Field(body, "node") != "n7" {
		t.Errorf("Get = %q, %v", body, err)
	}
	if _, err := UDP(t.Context(), ns.Path(), netip.MustParseAddrPort("127.0.0.1:8080"), "x"); err == nil {
		t.Error("UDP: an answer from a port nobody listens on")
	}
}

func TestNetnsARP(t *testing.T) {
	client := netnstest.New(t, "client")
	ip(client, "link add br0 type bridge")
	ip(client, "link set br0 up")
	ip(client, "addr add 192.0.2.1/24 dev br0")
	macs := map[string]string{"p1": "02:00:00:00:00:01", "p2": "02:00:00:00:00:02"}
	for port, holders := range map[string][]string{"p1": {"192.0.2.5", "192.0.2.6"}, "p2": {"192.0.2.6"}} {
		host := netnstest.New(t, port)
		ip(client, fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", port, macs[port], host.Path()))
		ip(client, fmt.Sprintf("link set %s master br0 up", port))
		ip(host, "link set eth0 up")
		for _, a := range holders {
			ip(host, "addr add "+a+"/24 dev eth0")
		}
	}
	for _, tt := range []struct {
		addr string
		want int
	}{{"192.0.2.5", 1}, {"192.0.2.6", 2}, {"192.0.2.7", 0}} {
		got, err := ARP(t.Context(), client.Path(), "br0", netip.MustParseAddr(tt.addr), 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != tt.want {
			t.Errorf("%s: answers %v, want %d", tt.addr, Holders(got), tt.want)
		}
		if tt.want == 1 && Holders(got)[0] != macs["p1"] {
			t.Errorf("%s: answer %v, want %s", tt.addr, got, macs["p1"])
		}
	}
}

func TestStartReportsMissingNamespace(t *testing.T) {
	if _, err := Start("/nonexistent", netip.MustParseAddrPort("127.0.0.1:1"), time.Second); err == nil {
		t.Error("no error")
	}
}
