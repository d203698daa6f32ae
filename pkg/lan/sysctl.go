package lan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/wire"
)

// ipv6Setting reports whether the setting key in /proc/sys/net/ipv6/conf is on for the
// interface index.
func ipv6Setting(index int, key string) (on bool, err error) {
	fd, err := openIPv6Setting(index, key)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	value := make([]byte, 1)
	if _, err := unix.Pread(fd, value, 0); err != nil {
		return false, fmt.Errorf("read IPv6 setting: %w", err)
	}
	return value[0] != '0', nil
}

// openIPv6Setting opens the setting key in /proc/sys/net/ipv6/conf of the interface
// index. Once the interface loses its IPv6, the open file fails for good, even if the
// interface has IPv6 again.
func openIPv6Setting(index int, key string) (int, error) {
	name, err := wire.InterfaceName(index)
	if err != nil {
		return -1, fmt.Errorf("name of link %d: %w", index, err)
	}
	fd, err := unix.Open("/proc/sys/net/ipv6/conf/"+name+"/"+key, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("interface has no IPv6, which needs an MTU of 1280 and the kernel's support: %w", err)
	}
	if err != nil {
		return -1, fmt.Errorf("open IPv6 setting: %w", err)
	}
	return fd, nil
}
