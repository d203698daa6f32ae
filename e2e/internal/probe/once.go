package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"kube-vrrp-vip/pkg/netns"
)

// Get makes one HTTP request from the network namespace at path, on a connection of
// its own, and returns the body of the answer.
func Get(ctx context.Context, path string, target netip.AddrPort) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, path, network, addr)
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target.String()+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", target, resp.Status)
	}
	return strings.TrimSpace(string(b)), err
}

// UDP sends one datagram from the network namespace at path and returns the answer.
// The socket is connected: an answer from another address than the target's is not
// one, and an ICMP error is an error.
func UDP(ctx context.Context, path string, target netip.AddrPort, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	conn, err := netns.Dial(ctx, path, "udp", target.String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// Closing ends the reading.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write([]byte(payload)); err != nil {
		return "", err
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if ctx.Err() != nil {
		return "", fmt.Errorf("no answer of %s: %w", target, context.Cause(ctx))
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(buf[:n])), nil
}
