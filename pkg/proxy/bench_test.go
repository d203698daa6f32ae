package proxy

import (
	"io"
	"net"
	"runtime"
	"testing"

	"kube-vrrp-vip/pkg/desired"
)

// BenchmarkThroughput moves bytes through one connection.
func BenchmarkThroughput(b *testing.B) {
	target := backend(b, "127.0.0.3:0", func(c *net.TCPConn) {
		buffer := make([]byte, 1<<18)
		for {
			if _, err := c.Read(buffer); err != nil {
				return
			}
		}
	})
	c := connect(b, open(b, newProxy(b), Port{vip4, node4, target, desired.ProxyV2}))
	block := make([]byte, 1<<18)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		if _, err := c.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnections opens a connection, has a byte echoed and ends it.
func BenchmarkConnections(b *testing.B) {
	target := backend(b, "127.0.0.3:0", echo)
	at := open(b, newProxy(b), Port{vip4, node4, target, desired.ProxyPlain})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c, err := net.Dial("tcp", at.String())
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = c.Write([]byte("x"))
			_ = c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); len(got) != 1 || err != nil {
				b.Errorf("got %q, %v", got, err)
			}
			c.Close()
		}
	})
}

// BenchmarkIdle tells what an open connection costs the daemon: the heap and
// the stacks, those of the backend's goroutine included.
func BenchmarkIdle(b *testing.B) {
	target := backend(b, "127.0.0.3:0", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	p := newProxy(b)
	at := open(b, p, Port{vip4, node4, target, desired.ProxyV2})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	connections := min(1000, p.places.all.max/2)
	for range connections {
		connect(b, at)
	}
	within(b, "connections", func() bool { return p.Status()[0].Connections == connections })
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := float64(after.HeapInuse+after.StackInuse) - float64(before.HeapInuse+before.StackInuse)
	b.ReportMetric(used/float64(connections), "B/connection")
}
