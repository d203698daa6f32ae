package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns"
)

// arpRetry is after how long without any answer the question is asked again: one
// frame can be lost on the way.
const arpRetry = 100 * time.Millisecond

// ARPAnswer is an answer to "who has this address?".
type ARPAnswer struct {
	MAC    net.HardwareAddr // the address it gives
	Source net.HardwareAddr // the card that sent it
	After  time.Duration
}

// ARP asks on a network interface of the namespace at path who has an IPv4 address,
// collects answers for that long, and returns the different ones in their order. More
// than one is an address that two hosts hold; none, that nobody does.
func ARP(ctx context.Context, path, ifname string, addr netip.Addr, wait time.Duration) ([]ARPAnswer, error) {
	if !addr.Is4() {
		return nil, fmt.Errorf("ask for %s by ARP: not an IPv4 address", addr)
	}
	var answers []ARPAnswer
	err := netns.Do(path, func() error {
		var err error
		answers, err = arp(ctx, ifname, addr, wait)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for %s by ARP on %s: %w", addr, ifname, err)
	}
	return answers, nil
}

// Holders returns the MACs of ARP's answers.
func Holders(answers []ARPAnswer) []string {
	var macs []string
	for _, a := range answers {
		macs = append(macs, a.MAC.String())
	}
	return macs
}

func arp(ctx context.Context, ifname string, addr netip.Addr, wait time.Duration) ([]ARPAnswer, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	own, err := firstIPv4(ifi)
	if err != nil {
		return nil, err
	}
	proto := htons(unix.ETH_P_ARP)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	if err := unix.Bind(fd, to); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	request := ARPRequest(ifi.HardwareAddr, own, addr)
	var answers []ARPAnswer
	begin, next := time.Now(), time.Time{}
	buf := make([]byte, 1500)
	for {
		now := time.Now()
		if now.Sub(begin) >= wait {
			return answers, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(answers) == 0 && !now.Before(next) {
			if err := unix.Sendto(fd, request, 0, to); err != nil {
				return nil, os.NewSyscallError("sendto", err)
			}
			next = now.Add(arpRetry)
		}
		// In short steps, to see the context end.
		step := min(wait-now.Sub(begin), 20*time.Millisecond)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(step/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, os.NewSyscallError("poll", err)
		}
		if n <= 0 {
			continue
		}
		n, _, err = unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		a, ok := parseARPReply(buf[:n], addr)
		if !ok || slices.ContainsFunc(answers, func(o ARPAnswer) bool { return bytes.Equal(o.MAC, a.MAC) && bytes.Equal(o.Source, a.Source) }) {
			continue
		}
		a.After = time.Since(begin)
		answers = append(answers, a)
	}
}

// firstIPv4 returns an address to ask with.
func firstIPv4(ifi *net.Interface) (netip.Addr, error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("it has no IPv4 address")
}

// ARPRequest is a broadcast Ethernet frame that asks who has an IPv4 address (RFC 826),
// from own at mac.
func ARPRequest(mac net.HardwareAddr, own, addr netip.Addr) []byte {
	b := bytes.Repeat([]byte{0xff}, 6)
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = binary.BigEndian.AppendUint16(b, 1) // Ethernet
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4)                     // the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, 1) // request
	b = append(b, mac...)
	b = append(b, own.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, addr.AsSlice()...)
}

// parseARPReply reads a frame that may be an answer about the address. Gratuitous
// replies, which answer nobody, are not.
func parseARPReply(frame []byte, addr netip.Addr) (ARPAnswer, bool) {
	if len(frame) < 42 {
		return ARPAnswer{}, false
	}
	p := frame[14:]
	reply := binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP &&
		binary.BigEndian.Uint16(p) == 1 &&
		binary.BigEndian.Uint16(p[2:]) == unix.ETH_P_IP &&
		p[4] == 6 && p[5] == 4 &&
		binary.BigEndian.Uint16(p[6:]) == 2
	sender, target := netip.AddrFrom4([4]byte(p[14:18])), netip.AddrFrom4([4]byte(p[24:28]))
	if !reply || sender != addr || target == addr {
		return ARPAnswer{}, false
	}
	return ARPAnswer{
		MAC:    slices.Clone(net.HardwareAddr(p[8:14])),
		Source: slices.Clone(net.HardwareAddr(frame[6:12])),
	}, true
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
