package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/wire"
)

const (
	// loopbackIndex is that of lo, in every network namespace.
	loopbackIndex = 1
	// heartbeatLen is the least that an Ethernet frame has, without its checksum.
	heartbeatLen = 60
)

// HeartbeatSocket sends pulses to this host's own kernel, which thereby knows what runs. A
// pulse is the mark of a frame on lo:
//
//	0   12  zeros
//	12  2   0x88b5
//	14  46  "kube-vrrp-vip", zeros
//
// Only who may set marks can send one, and it is on no wire. A HeartbeatSocket is used by
// one goroutine.
type HeartbeatSocket struct {
	fd    int
	frame [heartbeatLen]byte
}

// NewHeartbeatSocket opens the socket, which receives nothing.
func NewHeartbeatSocket() (*HeartbeatSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket for pulses: %w", err)
	}
	// Past the queue and what others may have put there.
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: loopbackIndex})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up packet socket for pulses: %w", err), unix.Close(fd))
	}
	h := &HeartbeatSocket{fd: fd}
	h.frame[12], h.frame[13] = wire.EtherTypePulse>>8, wire.EtherTypePulse&0xff
	copy(h.frame[14:], "kube-vrrp-vip")
	return h, nil
}

// SendHeartbeat sends one pulse. It neither blocks nor allocates.
func (h *HeartbeatSocket) SendHeartbeat(mark uint32) error {
	err := unix.SetsockoptInt(h.fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	if err == nil {
		_, err = unix.Write(h.fd, h.frame[:])
	}
	if err != nil {
		return fmt.Errorf("send pulse on lo: %w", err)
	}
	return nil
}

// Close closes the socket.
func (h *HeartbeatSocket) Close() error { return unix.Close(h.fd) }
