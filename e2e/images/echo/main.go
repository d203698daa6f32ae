// Command echo tells every client, over HTTP and over UDP, who answered and whom
// it saw: "host=<hostname> node=<$NODE_NAME> client=<remote address>".
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	addr := flag.String("addr", ":8080", "HTTP listen address")
	udp := flag.String("udp", ":8081", "UDP listen address; empty for none")
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
	log.Printf("echo %s listening on %s, udp %s", host, *addr, *udp)
	log.Fatal(http.ListenAndServe(*addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, answer(r.RemoteAddr))
	})))
}

// serveUDP answers each datagram with one; it returns when the socket fails.
func serveUDP(conn net.PacketConn, answer func(client string) string) error {
	buf := make([]byte, 2048)
	for {
		_, client, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo([]byte(answer(client.String())), client); err != nil {
			log.Printf("answer %s: %v", client, err)
		}
	}
}
