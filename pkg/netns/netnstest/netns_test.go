package netnstest_test

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"kube-vrrp-vip/pkg/netns/netnstest"
)

func TestNetnsDoLeavesTheThreadWhereItWas(t *testing.T) {
	ns := netnstest.New(t, "a")
	inside := ""
	before := threadNS(t)
	ns.Do(func() { inside = threadNS(t) })
	if after := threadNS(t); after != before {
		t.Errorf("thread was in %s, is in %s", before, after)
	}
	if inside == before {
		t.Errorf("f ran in the test's own namespace %s", before)
	}
	if got := ns.Run("ip", "-o", "link"); strings.Count(got, "\n") > 0 || !strings.Contains(got, "lo: <LOOPBACK,UP") {
		t.Errorf("a new namespace has only lo, and it is up; got\n%s", got)
	}
}

func TestNetnsProcess(t *testing.T) {
	ns := netnstest.New(t, "a")
	p := ns.Start("sh", "-c", "echo started; exec sleep 1000")
	eventually(t, func() bool { return p.Output() == "started\n" })
	p.Kill()
	if err := p.Wait(); err == nil {
		t.Error("Wait after Kill returned nil")
	}
}

func TestNetnsLAN(t *testing.T) {
	l := netnstest.NewLAN(t, 2)
	server := l.Hosts[1].Listen("tcp", "192.0.2.2:80")
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	get := func() string {
		var c net.Conn
		var err error
		l.Hosts[0].Do(func() { c, err = net.DialTimeout("tcp", "192.0.2.2:80", 200*time.Millisecond) })
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	ok := func() bool { return get() == "hello" }
	broken := func() bool { return get() != "hello" }

	eventually(t, ok)
	l.Cut(1)
	eventually(t, broken)
	l.Restore(1)
	eventually(t, ok)
	l.Drop(`iifname "p0"`)
	eventually(t, broken)
	l.Pass()
	eventually(t, ok)
}

func threadNS(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
