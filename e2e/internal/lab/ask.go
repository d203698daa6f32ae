package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/e2e/internal/probe"
)

func closeFD(fd int) error { return unix.Close(fd) }

// openAsker opens a host's socket for questions and announcements.
func openAsker(h *Host) (fd int, err error) {
	err = h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		// Protocol 0 receives nothing: the recorder sees the answers.
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}))
	})
	return fd, err
}

// Stranger is the IPv4 address that AskAsStranger asks with.
var Stranger = netip.AddrFrom4([4]byte{192, 0, 2, 251})

var (
	strangerMAC       = net.HardwareAddr{2, 0, 0, 0, 1, 251}
	strangerLinkLocal = netip.MustParseAddr("fe80::1fb")
)

// Ask lets the client ask the LAN once who has an address. Answers tells who
// answered. They change the client's own neighbor table, too.
func (l *Lab) Ask(a netip.Addr) error {
	mac, err := net.ParseMAC(l.Client.MAC)
	if err != nil {
		return err
	}
	frame := probe.NeighborSolicitation(mac, l.Client.LinkLocal, a)
	if a.Is4() {
		frame = probe.ARPRequest(mac, l.Client.IPv4, a)
	}
	return l.send(a, frame)
}

// AskAsStranger asks the LAN once who has an address, as a host behind the client's
// cable that nobody knows. What it is answered teaches no kernel where an address
// is, so that the client finds out by announcements and questions of its own. The
// recorder sees the answers.
func (l *Lab) AskAsStranger(a netip.Addr) error {
	frame := probe.NeighborSolicitation(strangerMAC, strangerLinkLocal, a)
	if a.Is4() {
		frame = probe.ARPRequest(strangerMAC, Stranger, a)
	}
	return l.send(a, frame)
}

// Announce sends a gratuitous ARP of the host for an IPv4 address (RFC 5227 section 3).
func (h *Host) Announce(a netip.Addr) error {
	mac, err := net.ParseMAC(h.MAC)
	if err != nil {
		return err
	}
	fd, err := openAsker(h)
	if err != nil {
		return fmt.Errorf("announce %s: %w", a, err)
	}
	_, err = unix.Write(fd, probe.ARPRequest(mac, a, a))
	if err := errors.Join(err, closeFD(fd)); err != nil {
		return fmt.Errorf("announce %s: %w", a, err)
	}
	return nil
}

func (l *Lab) send(a netip.Addr, frame []byte) error {
	if _, err := unix.Write(l.asker, frame); err != nil {
		return fmt.Errorf("ask who has %s: %w", a, err)
	}
	return nil
}

// Answers returns the hosts that have answered the client's questions for an
// address since a time.
func (l *Lab) Answers(a netip.Addr, since time.Time) []int {
	hosts := []int{}
	for _, p := range l.Recorder.Packets(since, func(p Packet) bool {
		n := p.Neighbor
		return n != nil && n.Answer && !n.Gratuitous && n.Address == a && (n.To == l.Client.IPv4 || n.To == l.Client.LinkLocal)
	}) {
		if !slices.Contains(hosts, p.Host) {
			hosts = append(hosts, p.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}
