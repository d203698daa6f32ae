package scenario

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
	"kube-vrrp-vip/pkg/netns"
)

// Connection is one TCP connection to a VIP that stays open.
type Connection struct {
	conn   net.Conn
	reader *bufio.Reader
	node   string
}

// Connect opens one from the network namespace at path and makes a first request on it.
func Connect(ctx context.Context, path string, vip netip.Addr) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, probe.Timeout)
	defer cancel()
	conn, err := netns.Dial(ctx, path, "tcp", httpPort(vip).String())
	if err != nil {
		return nil, err
	}
	c := &Connection{conn: conn, reader: bufio.NewReader(conn)}
	body, err := c.Ask(probe.Timeout)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.node = probe.Field(body, "node")
	return c, nil
}

// Node is the node whose pod answers on the connection.
func (c *Connection) Node() string { return c.node }

// Close closes it.
func (c *Connection) Close() error { return c.conn.Close() }

// Ask makes a request on it and waits for the answer.
func (c *Connection) Ask(timeout time.Duration) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", c.conn.RemoteAddr()); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}
