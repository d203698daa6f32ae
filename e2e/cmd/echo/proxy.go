package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// patience is how long a client has for its header and its request.
const patience = 10 * time.Second

// signature begins a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// serveProxied answers one request on each connection; it returns when the listener
// fails.
func serveProxied(l net.Listener, h http.Handler) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := serveProxiedConn(conn, h); err != nil {
				log.Printf("connection of %s: %v", conn.RemoteAddr(), err)
			}
		}()
	}
}

func serveProxiedConn(conn net.Conn, h http.Handler) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	client, version, err := readHeader(r)
	if err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	req.RemoteAddr = client.String()
	w := &plainAnswer{header: http.Header{}}
	h.ServeHTTP(w, req)
	fmt.Fprintf(&w.body, "proxy=v%d peer=%s\n", version, conn.RemoteAddr())
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", w.body.Len(), w.body.String())
	return err
}

// plainAnswer keeps the body of an answer.
type plainAnswer struct {
	header http.Header
	body   strings.Builder
}

func (w *plainAnswer) Header() http.Header         { return w.header }
func (w *plainAnswer) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *plainAnswer) WriteHeader(int)             {}

// readHeader reads a PROXY protocol header, of version 1 or 2, and returns the client
// that it names.
func readHeader(r *bufio.Reader) (client netip.AddrPort, version int, err error) {
	start, err := r.Peek(len(signature))
	if err != nil {
		return client, 0, err
	}
	if string(start) == signature {
		client, err = readBinary(r)
		return client, 2, err
	}
	client, err = readText(r)
	return client, 1, err
}

// readText reads "PROXY TCP4 CLIENT VIP CLIENTPORT PORT\r\n".
func readText(r *bufio.Reader) (client netip.AddrPort, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return client, err
	}
	var family, from, to string
	var fromPort, toPort uint16
	if _, err := fmt.Sscanf(line, "PROXY %s %s %s %d %d\r\n", &family, &from, &to, &fromPort, &toPort); err != nil {
		return client, fmt.Errorf("%q: %w", line, err)
	}
	a, err := netip.ParseAddr(from)
	if err != nil {
		return client, fmt.Errorf("%q: %w", line, err)
	}
	if want := map[bool]string{true: "TCP4", false: "TCP6"}[a.Is4()]; family != want {
		return client, fmt.Errorf("%q: it is %s", line, want)
	}
	return netip.AddrPortFrom(a, fromPort), nil
}

// readBinary reads, after the signature: version and command, family and transport,
// the length of the rest (2 bytes), and in that the two addresses and the two ports.
func readBinary(r *bufio.Reader) (client netip.AddrPort, err error) {
	fixed := make([]byte, len(signature)+4)
	if _, err := io.ReadFull(r, fixed); err != nil {
		return client, err
	}
	fixed = fixed[len(signature):]
	rest := make([]byte, binary.BigEndian.Uint16(fixed[2:]))
	if _, err := io.ReadFull(r, rest); err != nil {
		return client, err
	}
	const proxied = 0x21
	if fixed[0] != proxied {
		return client, fmt.Errorf("version and command are %#x", fixed[0])
	}
	size := map[byte]int{0x11: 4, 0x21: 16}[fixed[1]] // TCP over IPv4, IPv6
	if size == 0 || len(rest) < 2*size+4 {
		return client, fmt.Errorf("family and transport are %#x, with %d bytes", fixed[1], len(rest))
	}
	a, ok := netip.AddrFromSlice(rest[:size])
	if !ok {
		return client, errors.New("no address")
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(rest[2*size:])), nil
}
