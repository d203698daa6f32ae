package lab

import (
	"fmt"
	"net"
	"time"
)

// answerLimit bounds one connection of a listener.
const answerLimit = 5 * time.Second

// Serve answers HTTP on a TCP port of all addresses of a host with the host's name,
// "node=n0", one request on a connection, until Close.
func (l *Lab) Serve(h *Host, port int) error {
	var listener net.Listener
	err := h.Do(func() error {
		var err error
		listener, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return fmt.Errorf("in %s: %w", h.Name, err)
	}
	body := "node=" + h.Name
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go answerOnce(c, answer)
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, func() error {
		err := listener.Close()
		<-ended
		return err
	})
	return nil
}

// answerOnce reads a request, which is as short as to come in one piece, and
// answers. A client that has gone has its answer.
func answerOnce(c net.Conn, answer []byte) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerLimit))
	var request [1024]byte
	if _, err := c.Read(request[:]); err == nil {
		_, _ = c.Write(answer)
	}
}
