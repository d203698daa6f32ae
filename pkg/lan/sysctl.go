package lan

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ipv6Setting reads one of an interface's switches from
// /proc/sys/net/ipv6/conf.
func ipv6Setting(index int, key string) (bool, error) {
	name, err := interfaceName(index)
	if err != nil {
		return false, fmt.Errorf("name of link %d: %w", index, err)
	}
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/" + key)
	if errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("it has no IPv6, which needs an MTU of 1280 and the kernel's support: %w", err)
	}
	if err != nil {
		return false, fmt.Errorf("read IPv6 setting: %w", err)
	}
	return string(bytes.TrimSpace(b)) != "0", nil
}

// interfaceName asks by ioctl, which waits for no lock that others can hold for
// long, as netlink's list of links does.
func interfaceName(index int) (name string, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	request, err := unix.NewIfreq("")
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	request.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, request); err != nil {
		return "", fmt.Errorf("SIOCGIFNAME: %w", err)
	}
	return request.Name(), nil
}
