package lab

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Silence makes the switch lose everything from and to host i, whose cable stays in
// place, until Hear: the port leaves the bridge. No program is started for it, so that
// it takes no longer than a system call.
func (l *Lab) Silence(i int) error { return l.bridge(unix.SIOCBRDELIF, i) }

// Hear undoes Silence.
func (l *Lab) Hear(i int) error { return l.bridge(unix.SIOCBRADDIF, i) }

// bridge asks the bridge to do something with the port of host i.
func (l *Lab) bridge(request uint, i int) error {
	err := l.Switch.Do(func() error {
		port, err := net.InterfaceByName(l.Port(i))
		if err != nil {
			return err
		}
		bridge, err := unix.NewIfreq("br0")
		if err != nil {
			return err
		}
		bridge.SetUint32(uint32(port.Index))
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, request, bridge))
	})
	if err != nil {
		return fmt.Errorf("change port %s of the switch: %w", l.Port(i), err)
	}
	return nil
}
