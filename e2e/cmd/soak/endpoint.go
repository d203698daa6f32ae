package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// The ports of the endpoint of all Services, without and with a PROXY header.
const (
	plainPort   = 9080
	proxiedPort = 9081
)

// patience is how long a connection may take in all.
const patience = 10 * time.Second

const answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

// endpoint answers HTTP requests.
type endpoint []net.Listener

// startEndpoint serves from the network namespace at path.
func startEndpoint(path string) (endpoint, error) {
	var e endpoint
	for _, port := range []int{plainPort, proxiedPort} {
		err := netns.Do(path, func() error {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err == nil {
				e = append(e, l)
				go accept(l, port == proxiedPort)
			}
			return err
		})
		if err != nil {
			e.close()
			return nil, fmt.Errorf("serve: %w", err)
		}
	}
	return e, nil
}

func (e endpoint) close() {
	for _, l := range e {
		l.Close()
	}
}

func accept(l net.Listener, proxied bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			// Clients end in the middle of it. That nobody answers them is theirs to see.
			_ = serve(conn, proxied)
		}()
	}
}

// serve answers one request.
func serve(conn net.Conn, proxied bool) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	if proxied {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "PROXY TCP") {
			return fmt.Errorf("%q is no PROXY header", line)
		}
	}
	if _, err := http.ReadRequest(r); err != nil {
		return err
	}
	_, err := conn.Write([]byte(answer))
	return err
}
