package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is the machine's control groups. A node is the group NAME/NODE, in every
// hierarchy, and sees only what is below it, as a machine sees all.
//
// Version 1 (also beside an unused version 2, "hybrid") is what this has been run
// on. Version 2 alone is written from its documentation and has not been run: there
// a group with controllers for its children has no processes itself, so a node's
// first process moves to a leaf before it hands the controllers down.
type cgroups struct {
	v2          bool
	hierarchies []hierarchy // with v2 the only one
}

// hierarchy is a mounted one: where it is, and the mount option that selects it.
type hierarchy struct {
	dir    string
	option string // "cpu,cpuacct", "name=systemd"; empty for v2
}

// initLeaf is the group of the node's own processes on v2.
const initLeaf = "init"

// detectCgroups finds out what is mounted.
func detectCgroups() (cgroups, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroups{}, fmt.Errorf("detect cgroups: %w", err)
	}
	g := parseMounts(string(b))
	if len(g.hierarchies) == 0 {
		return g, errors.New("detect cgroups: none are mounted")
	}
	return g, nil
}

// parseMounts reads a mountinfo file. Version 2 counts if there is no version 1.
func parseMounts(mountinfo string) cgroups {
	var v1, v2 []hierarchy
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		mount, super := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(super) < 3 {
			continue
		}
		dir := mount[4]
		switch super[0] {
		case "cgroup":
			var opts []string
			for o := range strings.SplitSeq(super[2], ",") {
				switch {
				case o == "rw", o == "ro", o == "xattr", o == "noprefix", o == "clone_children",
					o == "cpuset_v2_mode", strings.HasPrefix(o, "release_agent="):
				default:
					opts = append(opts, o)
				}
			}
			h := hierarchy{dir: dir, option: strings.Join(opts, ",")}
			// One hierarchy may be mounted at several places: the first will do.
			same := func(o hierarchy) bool { return o.option == h.option }
			if h.option != "" && !slices.ContainsFunc(v1, same) {
				v1 = append(v1, h)
			}
		case "cgroup2":
			if v2 == nil {
				v2 = []hierarchy{{dir: dir}}
			}
		}
	}
	if len(v1) > 0 {
		return cgroups{hierarchies: v1}
	}
	return cgroups{v2: true, hierarchies: v2}
}

// controllers are what kubelet and runc want, and what version 2 must hand down.
var controllers = []string{"cpuset", "cpu", "io", "memory", "pids", "hugetlb"}

// create makes the group NAME/NODE in every hierarchy, usable for processes. What an
// earlier life of the node left below it is removed first: kubelet would spend
// seconds on every such group before the node is Ready.
func (g cgroups) create(name, node string) error {
	for _, h := range g.hierarchies {
		group := filepath.Join(h.dir, name, node)
		if err := removeTree(group); err != nil {
			return err
		}
		if g.v2 {
			for _, parent := range []string{h.dir, filepath.Dir(group)} {
				if err := os.MkdirAll(parent, 0o755); err != nil {
					return fmt.Errorf("make cgroup: %w", err)
				}
				if err := delegate(parent); err != nil {
					return err
				}
			}
		}
		if err := os.MkdirAll(group, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if err := favor(filepath.Dir(group)); err != nil {
			return err
		}
		if slices.Contains(strings.Split(h.option, ","), "cpuset") {
			// A new group of this hierarchy is empty and can hold no process.
			for _, dir := range []string{filepath.Dir(group), group} {
				for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
					b, err := os.ReadFile(filepath.Join(h.dir, f))
					if err != nil {
						return fmt.Errorf("make cgroup: %w", err)
					}
					if err := os.WriteFile(filepath.Join(dir, f), b, 0); err != nil {
						return fmt.Errorf("make cgroup: %w", err)
					}
				}
			}
		}
	}
	return nil
}

// favor gives a cluster's group all the weight there is, where it has a weight: with
// that of a new one, several machines would together get the processor time of one
// busy process elsewhere, and a daemon that misses its deadlines would look broken.
func favor(group string) error {
	for file, most := range map[string]string{"cpu.shares": "262144", "cpu.weight": "10000"} {
		err := os.WriteFile(filepath.Join(group, file), []byte(most), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("set weight of cgroup: %w", err)
		}
	}
	return nil
}

// delegate hands the controllers that a version 2 group has down to its children.
func delegate(group string) error {
	b, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("delegate cgroup controllers: %w", err)
	}
	for c := range strings.FieldsSeq(string(b)) {
		if !slices.Contains(controllers, c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("delegate cgroup controller %s: %w", c, err)
		}
	}
	return nil
}

// enter moves this process into the group in every hierarchy.
func (g cgroups) enter(group string) error {
	for _, h := range g.hierarchies {
		file := filepath.Join(h.dir, group, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

// mount is run by a node's first process, in its own cgroup and mount namespaces: it
// mounts every hierarchy anew, so that the node's group is their root.
func (g cgroups) mount() error {
	const root = "/sys/fs/cgroup"
	if g.v2 {
		if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount cgroup2: %w", err)
		}
		leaf := filepath.Join(root, initLeaf)
		if err := os.MkdirAll(leaf, 0o755); err != nil {
			return fmt.Errorf("make leaf cgroup: %w", err)
		}
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("1"), 0); err != nil {
			return fmt.Errorf("enter leaf cgroup: %w", err)
		}
		// The process that started this one is in the group until it ends, at once.
		var err error
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if err = delegate(root); !errors.Is(err, unix.EBUSY) {
				break
			}
		}
		return err
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount cgroups: %w", err)
	}
	for _, h := range g.hierarchies {
		base, option := filepath.Base(h.dir), h.option
		if strings.HasPrefix(option, "name=") {
			option = "none," + option
		}
		dir := filepath.Join(root, base)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("mount cgroups: %w", err)
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, option); err != nil {
			return fmt.Errorf("mount cgroup %s: %w", h.option, err)
		}
		// "cpu,cpuacct" is looked for by either name too.
		if parts := strings.Split(h.option, ","); len(parts) > 1 {
			for _, p := range parts {
				if err := os.Symlink(base, filepath.Join(root, p)); err != nil && !errors.Is(err, fs.ErrExist) {
					return fmt.Errorf("mount cgroups: %w", err)
				}
			}
		}
	}
	return nil
}

// processes returns the processes of a container, or of a whole group if container
// is empty: the numbers that this program's process namespace has for them.
func (g cgroups) processes(group, container string) ([]int, error) {
	// Containers are in every hierarchy; kubelet and runc both use memory.
	h := g.memory()
	var pids []int
	err := filepath.WalkDir(filepath.Join(h.dir, group), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // a group that went away meanwhile
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		if container != "" && containerOf(path) != container {
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return err
		}
		for f := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			pids = append(pids, pid)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read cgroup %s: %w", group, err)
	}
	return pids, nil
}

// limitMemory limits the memory of the group that a process below another group is in
// to what it uses.
func (g cgroups) limitMemory(group string, pid int) error {
	h, used, limit := g.memory(), "memory.usage_in_bytes", "memory.limit_in_bytes"
	if g.v2 {
		used, limit = "memory.current", "memory.max"
	}
	var dir string
	err := filepath.WalkDir(filepath.Join(h.dir, group), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a group that went away meanwhile
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && slices.Contains(strings.Fields(string(b)), strconv.Itoa(pid)) {
			dir = filepath.Dir(path)
		}
		return nil
	})
	if err == nil && dir == "" {
		err = fmt.Errorf("no group of process %d", pid)
	}
	if err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	// A limit below what is used cannot be set, and what is used changes.
	for range 100 {
		var b []byte
		if b, err = os.ReadFile(filepath.Join(dir, used)); err != nil {
			break
		}
		if err = os.WriteFile(filepath.Join(dir, limit), b, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	return nil
}

// memory is the hierarchy that limits memory, if there are several.
func (g cgroups) memory() hierarchy {
	for _, h := range g.hierarchies {
		if h.option == "memory" {
			return h
		}
	}
	return g.hierarchies[0]
}

// containerOf returns the container that the path of a file in a cgroup belongs to:
// the name of the group below its pod's, ".../kubepods/besteffort/podUID/ID/..."; or
// the empty string.
func containerOf(path string) string {
	elem := strings.Split(path, "/")
	for i, e := range elem {
		if e == "kubepods" {
			for j := i + 1; j < len(elem)-2; j++ {
				if strings.HasPrefix(elem[j], "pod") {
					return elem[j+1]
				}
			}
		}
	}
	return ""
}

// removeCgroups removes the groups of a cluster whose processes were killed; the
// kernel may take a moment to be done with those.
func removeCgroups(name string, limit time.Duration) error {
	g, err := detectCgroups()
	if err != nil {
		return err
	}
	for _, h := range g.hierarchies {
		dir := filepath.Join(h.dir, name)
		for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
		}
	}
	return nil
}

// removeTree removes a group and those below it, which must have no processes.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}
