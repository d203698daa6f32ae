package wire

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// InterfaceName returns the name of the interface of an index. It asks by ioctl,
// which waits for no lock that others can hold for long, as netlink's list of
// links does.
func InterfaceName(index int) (string, error) {
	request, err := interfaceRequest("", uint32(index), unix.SIOCGIFNAME)
	if err != nil {
		return "", fmt.Errorf("SIOCGIFNAME: %w", err)
	}
	return request.Name(), nil
}

// InterfaceIndex returns the index of the interface of a name, ENODEV if there is
// none. It asks by ioctl as InterfaceName does.
func InterfaceIndex(name string) (int, error) {
	request, err := interfaceRequest(name, 0, unix.SIOCGIFINDEX)
	if err != nil {
		return 0, fmt.Errorf("SIOCGIFINDEX: %w", err)
	}
	return int(request.Uint32()), nil
}

func interfaceRequest(name string, value uint32, ioctl uint) (_ *unix.Ifreq, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.SetUint32(value)
	return request, unix.IoctlIfreq(fd, ioctl, request)
}
