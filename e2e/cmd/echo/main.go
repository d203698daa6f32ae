// Command echo tells every client, over HTTP and over UDP, who answered and whom
// it saw: "host=<hostname> node=<$NODE_NAME> client=<remote address>". The path
// /bytes/N is answered with N bytes, and a datagram with one that is as long, if that
// is longer.
//
// With -proxy it also listens for connections that begin with a PROXY protocol
// header. To these the client is the one that the header names, and
// "proxy=<version> peer=<remote address>" tells how that is known.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
)

// most is the longest answer that /bytes gives.
const most = 1 << 30

func main() {
	addr := flag.String("addr", ":8080", "HTTP listen address")
	udp := flag.String("udp", ":8081", "UDP listen address; empty for none")
	proxy := flag.String("proxy", "", "listen address for HTTP behind a PROXY protocol header; empty for none")
	flag.Parse()
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	answer := func(client string) string {
		return fmt.Sprintf("host=%s node=%s client=%s\n", host, os.Getenv("NODE_NAME"), client)
	}
	if *udp != "" {
		conn, err := net.ListenPacket("udp", *udp)
		if err != nil {
			log.Fatal(err)
		}
		go func() { log.Fatal(serveUDP(conn, answer)) }()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, answer(r.RemoteAddr))
	})
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 0 || n > most {
			http.Error(w, "no such number of bytes", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = io.CopyN(w, zeros{}, int64(n)) // the client may go away
	})
	if *proxy != "" {
		l, err := net.Listen("tcp", *proxy)
		if err != nil {
			log.Fatal(err)
		}
		go func() { log.Fatal(serveProxied(l, mux)) }()
	}
	log.Printf("echo %s listening on %s, udp %s, proxy %s", host, *addr, *udp, *proxy)
	log.Fatal(http.ListenAndServe(*addr, mux))
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// serveUDP answers each datagram with one; it returns when the socket fails.
func serveUDP(conn net.PacketConn, answer func(client string) string) error {
	buf := make([]byte, 64<<10)
	for {
		n, client, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(fmt.Appendf(nil, "%-*s", n, answer(client.String())), client); err != nil {
			log.Printf("answer %s: %v", client, err)
		}
	}
}
