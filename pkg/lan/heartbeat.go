package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/wire"
)

const (
	// loopbackIndex is the interface index of lo in every network namespace.
	loopbackIndex = 1
	// heartbeatLen is the minimum length in bytes of an Ethernet frame without its
	// checksum.
	heartbeatLen = 60
)

// HeartbeatSocket sends heartbeats to the kernel of this host, whose nftables rules
// learn from them which virtual routers are running. A heartbeat is a frame on lo
// whose packet mark (SO_MARK) identifies the virtual router. With offsets and lengths
// in bytes, the frame is
//
//	 0  12  zeros
//	12   2  EtherType 0x88b5
//	14  46  "kube-vrrp-vip", zeros
//
// Only a process that may set marks can send a heartbeat, and heartbeats never leave
// the host. A HeartbeatSocket is used by one goroutine.
type HeartbeatSocket struct {
	fd    int
	frame [heartbeatLen]byte
}

// NewHeartbeatSocket opens the socket in the network namespace of the calling thread.
func NewHeartbeatSocket() (*HeartbeatSocket, error) {
	// Without a protocol the socket receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket for heartbeats: %w", err)
	}
	// Bypass the queue of lo and the rules that other programs attach to it.
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: loopbackIndex})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up packet socket for heartbeats: %w", err), unix.Close(fd))
	}
	h := &HeartbeatSocket{fd: fd}
	h.frame[12], h.frame[13] = wire.EtherTypePulse>>8, wire.EtherTypePulse&0xff
	copy(h.frame[14:], "kube-vrrp-vip")
	return h, nil
}

// SendHeartbeat sends one heartbeat with the given packet mark. It neither blocks nor
// allocates. It fails with ENETDOWN if lo is down.
func (h *HeartbeatSocket) SendHeartbeat(mark uint32) error {
	err := unix.SetsockoptInt(h.fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	if err == nil {
		_, err = unix.Write(h.fd, h.frame[:])
	}
	if err != nil {
		return fmt.Errorf("send heartbeat on lo: %w", err)
	}
	return nil
}

// Close closes the socket.
func (h *HeartbeatSocket) Close() error { return unix.Close(h.fd) }
