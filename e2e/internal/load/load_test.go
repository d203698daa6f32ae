package load

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// startEndpoint starts one on the loopback.
func startEndpoint(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := StartEndpoint(address.Port(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return address
}

func TestPatterns(t *testing.T) {
	target := startEndpoint(t)
	for _, pattern := range []Pattern{KeepAlive, PerConnection, ClientEnds, Download} {
		t.Run(string(pattern), func(t *testing.T) {
			calls := ""
			c := Client{Pattern: pattern, Connections: 8, Target: target}
			r, err := c.Run(10*time.Millisecond, 100*time.Millisecond, func() { calls += "begin " }, func() { calls += "end" })
			if err != nil {
				t.Fatal(err)
			}
			if calls != "begin end" || r.Took < 100*time.Millisecond {
				t.Errorf("took %v, called %s", r.Took, calls)
			}
			if pattern == Download {
				if r.Bytes < 1<<20 || r.Requests != 0 {
					t.Errorf("%d bytes, %d requests", r.Bytes, r.Requests)
				}
				return
			}
			if r.Requests < 100 || len(r.Latency) != r.Requests || r.Latency[0] <= 0 {
				t.Errorf("%d requests, %d latencies", r.Requests, len(r.Latency))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	c := Client{Pattern: KeepAlive, Connections: 1, Target: netip.MustParseAddrPort("127.0.0.1:1")}
	_, err := c.Run(0, 10*time.Millisecond, func() {}, func() {})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}

func TestProxyHeader(t *testing.T) {
	target := startEndpoint(t)
	v2 := binary.BigEndian.AppendUint16(slices.Concat(signature, []byte{0x21, 0x11}), 12)
	for name, tt := range map[string]struct {
		header string
		want   byte
	}{
		"none":      {"", noHeader},
		"version 1": {"PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n", proxyHeader},
		"version 2": {string(v2) + "123456789012", proxyHeader},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", target.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			question := string(PerConnection) + strings.Repeat("?", questionLength-1)
			for _, part := range []string{tt.header, question[:60], question[60:]} {
				if _, err := io.WriteString(c, part); err != nil {
					t.Fatal(err)
				}
			}
			answer, err := io.ReadAll(c)
			if err != nil || len(answer) != answerLength || answer[0] != tt.want {
				t.Errorf("%d bytes, %v, %.1q", len(answer), err, answer)
			}
		})
	}
	c := Client{Pattern: KeepAlive, Connections: 1, Target: target, Proxied: true}
	if _, err := c.Run(0, 10*time.Millisecond, func() {}, func() {}); err == nil {
		t.Error("a client takes an answer without a PROXY header for one with it")
	}
}
