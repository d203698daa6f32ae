package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// legacy is how the kernel is asked for the rules of x_tables, which iptables wrote
// before there was nftables.
type legacy struct {
	names         string // The file that lists the tables, one a line.
	domain, level int
}

func legacyOf(family uint8) legacy {
	if family == unix.NFPROTO_IPV6 {
		return legacy{"/proc/thread-self/net/ip6_tables_names", unix.AF_INET6, unix.SOL_IPV6}
	}
	return legacy{"/proc/thread-self/net/ip_tables_names", unix.AF_INET, unix.SOL_IP}
}

func hasLegacyChain(_ *netlink.Conn, family uint8) (bool, error) {
	l := legacyOf(family)
	// To ask for a table that is not there would make it.
	names, err := os.ReadFile(l.names)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for kube-proxy in iptables-legacy: %w", err)
	}
	if !slices.Contains(strings.Split(string(names), "\n"), "nat") {
		return false, nil
	}
	entries, err := l.entries("nat")
	if err != nil {
		return false, fmt.Errorf("look for kube-proxy in iptables-legacy: %w", err)
	}
	return containsChain(entries, kubeProxyChain), nil
}

// Of linux/netfilter_ipv4/ip_tables.h, the same for IPv6.
const (
	xtGetInfo    = 64 // IPT_SO_GET_INFO
	xtGetEntries = 65 // IPT_SO_GET_ENTRIES

	xtNameLen       = 32 // XT_TABLE_MAXNAMELEN, with its zero.
	xtInfoLen       = 84 // struct ipt_getinfo: name, 11 words, number and bytes of entries.
	xtInfoSize      = 80 // Where in it the bytes of entries are.
	xtEntriesHeader = 40 // struct ipt_get_entries: name, bytes, and up to a multiple of 8.
	xtTargetHeader  = 32 // struct xt_entry_target: size, name, revision.
	xtTargetName    = 2  // Where in it the name is.
)

// entries returns the rules of a table: a list of struct ipt_entry or
// ip6t_entry.
func (l legacy) entries(table string) ([]byte, error) {
	fd, err := unix.Socket(l.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	// If the table has changed between the two questions, the answer is EAGAIN.
	const attempts = 20
	err = unix.EAGAIN
	for n := 0; n < attempts && errors.Is(err, unix.EAGAIN); n++ {
		info := make([]byte, xtInfoLen)
		copy(info, table)
		if err := getsockopt(fd, l.level, xtGetInfo, info); err != nil {
			return nil, fmt.Errorf("get size of table %s: %w", table, err)
		}
		size := info[xtInfoSize:]
		b := make([]byte, xtEntriesHeader+binary.NativeEndian.Uint32(size))
		copy(b, table)
		copy(b[xtNameLen:], size)
		if err = getsockopt(fd, l.level, xtGetEntries, b); err == nil {
			return b[xtEntriesHeader:], nil
		}
	}
	return nil, fmt.Errorf("list table %s: %w", table, err)
}

// getsockopt fills b with an option's value. The kernel reads it first.
func getsockopt(fd, level, option int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// containsChain reports whether entries have a chain of that name: it begins
// with an entry whose target ERROR is followed by the name.
func containsChain(entries []byte, name string) bool {
	head := make([]byte, xtTargetHeader-xtTargetName)
	copy(head, "ERROR")
	return bytes.Contains(entries, slices.Concat(head, []byte(name), []byte{0}))
}
