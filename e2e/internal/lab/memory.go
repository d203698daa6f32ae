package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LimitMemory moves the daemon into a memory control group that has so many bytes for
// what it takes from now on: the kernel kills it as soon as it wants more. Remove
// removes the group, once the daemon has ended.
//
// Version 1 is what this has been run on. Version 2 is written from its documentation.
func (d *Daemon) LimitMemory(bytes int) (remove func() error, err error) {
	root, limit, err := memoryHierarchy()
	if err != nil {
		return nil, fmt.Errorf("limit the memory of the daemon of %s: %w", d.Host.Name, err)
	}
	group, err := os.MkdirTemp(root, "kube-vrrp-vip-")
	if err != nil {
		return nil, fmt.Errorf("limit the memory of the daemon of %s: %w", d.Host.Name, err)
	}
	remove = func() error {
		// A group is busy for a moment after its last process has ended.
		for end := time.Now().Add(settleLimit); ; time.Sleep(10 * time.Millisecond) {
			if err := os.Remove(group); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
				return err
			}
		}
	}
	for _, w := range [][2]string{{limit, strconv.Itoa(bytes)}, {"cgroup.procs", strconv.Itoa(d.PID())}} {
		if err := os.WriteFile(filepath.Join(group, w[0]), []byte(w[1]), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("limit the memory of the daemon of %s: %w", d.Host.Name, err), remove())
		}
	}
	return remove, nil
}

// memoryHierarchy returns where memory control groups are made, and the name of the
// file with a group's limit.
func memoryHierarchy() (root, limit string, err error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	var v2 string
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(super) < 3 {
			continue
		}
		if super[0] == "cgroup" && slices.Contains(strings.Split(super[2], ","), "memory") {
			return mount[4], "memory.limit_in_bytes", nil
		}
		if super[0] == "cgroup2" {
			v2 = mount[4]
		}
	}
	if v2 == "" {
		return "", "", errors.New("no memory control groups are mounted")
	}
	err = os.WriteFile(filepath.Join(v2, "cgroup.subtree_control"), []byte("+memory"), 0o644)
	return v2, "memory.max", err
}
