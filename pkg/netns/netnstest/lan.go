package netnstest

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
)

// LAN is an Ethernet segment: a switch (a Linux bridge in a namespace of its
// own) and hosts that hang on it. A host's link is eth0; the switch's end of
// it is Port(i).
type LAN struct {
	Switch *NS
	Hosts  []*NS
}

// NewLAN makes a segment with n hosts of the addresses 192.0.2.1/24,
// 192.0.2.2/24 and so on (RFC 5737), n up to 253.
func NewLAN(t testing.TB, n int) *LAN {
	t.Helper()
	l := &LAN{Switch: New(t, "switch")}
	l.Switch.Run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
	l.Switch.Run("ip", "link", "set", "br0", "up")
	for i := range n {
		h := New(t, fmt.Sprintf("host%d", i))
		l.Hosts = append(l.Hosts, h)
		l.Connect(h, "eth0", l.Port(i))
		h.Run("ip", "addr", "add", l.Addr(i).String()+"/24", "dev", "eth0")
	}
	return l
}

// Connect gives a namespace a link to the switch, whose end is named port.
func (l *LAN) Connect(ns *NS, link, port string) {
	Veth(ns, link, l.Switch, port)
	l.Switch.Run("ip", "link", "set", port, "master", "br0")
}

// Port is the switch's link to host i.
func (*LAN) Port(i int) string { return "p" + strconv.Itoa(i) }

// Addr is the address of host i.
func (*LAN) Addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }

// Cut pulls the cable of host i: its eth0 has no carrier.
func (l *LAN) Cut(i int) { l.Switch.Run("ip", "link", "set", l.Port(i), "down") }

// Restore undoes Cut.
func (l *LAN) Restore(i int) { l.Switch.Run("ip", "link", "set", l.Port(i), "up") }

// Drop makes the switch lose the frames that match nft text until Pass, while
// every cable stays in place:
//
//	iifname "p0"                       whatever host 0 sends
//	iifname "p0" ip protocol 112       its VRRP
//	numgen random mod 100 < 25         a quarter of everything
func (l *LAN) Drop(match string) {
	l.Switch.RunInput(`
add table bridge loss
add chain bridge loss forward { type filter hook forward priority 0; }
add rule bridge loss forward `+match+` counter drop
`, "nft", "-f", "-")
}

// Pass undoes every Drop.
func (l *LAN) Pass() {
	l.Switch.RunInput("add table bridge loss\ndelete table bridge loss\n", "nft", "-f", "-")
}
