package failures

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/e2e/internal/lab"
)

// advertise makes a host send VRRPv2 for the VRID 50 and another address, until stop:
// an implementation that heard us would soon be silent.
func advertise(h *lab.Host, about netip.Addr) (stop func() error, err error) {
	fd := -1
	err = h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 112); err != nil {
			return os.NewSyscallError("socket", err)
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255),
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifi.Index)}))
	})
	if err != nil {
		return nil, err
	}
	// Version and type, VRID, priority, one address, no authentication, 1 s.
	message := append([]byte{0x21, 50, 100, 1, 0, 1, 0, 0}, about.AsSlice()...)
	message = append(message, make([]byte, 8)...)
	sum := 0
	for i := 0; i < len(message); i += 2 {
		sum += int(message[i])<<8 + int(message[i+1])
	}
	sum = sum&0xffff + sum>>16
	message[6], message[7] = byte(^sum>>8), byte(^sum)

	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if err := unix.Sendto(fd, message, 0, &unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}}); err != nil {
				ended <- os.NewSyscallError("sendto", err)
				return
			}
			select {
			case <-end:
				ended <- nil
				return
			case <-tick.C:
			}
		}
	}()
	return sync.OnceValue(func() error {
		close(end)
		return errors.Join(<-ended, unix.Close(fd))
	}), nil
}
