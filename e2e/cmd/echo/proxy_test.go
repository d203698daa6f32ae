package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestReadHeader(t *testing.T) {
	for _, tt := range []struct {
		name, header string
		client       string
		version      int
	}{
		{"text", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", "192.0.2.1:56324", 1},
		{"text, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 80\r\n", "[2001:db8::1]:56324", 1},
		{"text of the wrong family", "PROXY TCP6 192.0.2.1 192.0.2.2 56324 80\r\n", "", 0},
		{"binary", signature + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00\x50", "192.0.2.1:56324", 2},
		{"binary with more", signature + "\x21\x11\x00\x0f\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00\x50\x04\x00\x00", "192.0.2.1:56324", 2},
		{"binary, IPv6", signature + "\x21\x21\x00\x24" + strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 15) + "\x02\xdc\x04\x00\x50", "[::1]:56324", 2},
		{"binary of a health check", signature + "\x20\x00\x00\x00", "", 0},
		{"none", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tt.header + "rest of it, long enough"))
			client, version, err := readHeader(r)
			if tt.client == "" {
				if err == nil {
					t.Fatalf("no error, client %s", client)
				}
				return
			}
			if err != nil || client.String() != tt.client || version != tt.version {
				t.Errorf("%s, %d, %v", client, version, err)
			}
			if rest, _ := r.ReadString(','); rest != "rest of it," {
				t.Errorf("left to read: %q", rest)
			}
		})
	}
}
