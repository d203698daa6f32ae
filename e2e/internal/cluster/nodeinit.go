package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nodeSpec is what a node's first process is told, in a file.
type nodeSpec struct {
	Cluster     string            `json:"cluster"`
	Node        string            `json:"node"`
	Dir         string            `json:"dir"`    // the cluster's state directory
	Expose      []string          `json:"expose"` // directories that must stay visible in the node
	Path        string            `json:"path"`   // $PATH
	Files       map[string]string `json:"files"`  // configuration files by absolute name
	Services    []service         `json:"services"`
	HiddenPaths []string          `json:"hiddenPaths"` // replaced by empty file systems
}

// service is a program that runs as long as the node does.
type service struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
}

// machineSysctls are settings of the whole machine that kubelet wants and would
// make. In a node they read as it wants them, so that it leaves the machine alone.
var machineSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// NodeCommand is the part of this package that runs as a node: the cluster command
// calls it when it was started as "node-launch SPEC" or "node-init SPEC". It is of
// no use to anybody else.
func NodeCommand(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("node command %q: want two words", args)
	}
	b, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("read node specification: %w", err)
	}
	var s nodeSpec
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read node specification %s: %w", args[1], err)
	}
	switch args[0] {
	case "node-launch":
		return s.launch(args[1])
	case "node-init":
		return s.init()
	default:
		return fmt.Errorf("no node command %q", args[0])
	}
}

// launch starts the node's first process in new namespaces, and ends. It is a
// process of its own since it is the cgroup of the process that makes a cgroup
// namespace that becomes the root of it.
func (s nodeSpec) launch(file string) error {
	g, err := detectCgroups()
	if err != nil {
		return err
	}
	if err := g.enter(filepath.Join(s.Cluster, s.Node)); err != nil {
		return err
	}
	log, err := s.log("node")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "node-init", file)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node: %w", err)
	}
	if err := recordProcess(s.Dir, "node-"+s.Node, cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	return nil
}

// log opens the log of one of the node's programs.
func (s nodeSpec) log(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(s.Dir, "log", name+"-"+s.Node+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

// init is process 1 of the node. It ends only by an error: killing it is pulling the
// node's plug, since the kernel then kills everything in its process namespace.
func (s nodeSpec) init() error {
	if err := unix.Sethostname([]byte(s.Node)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := s.mounts(); err != nil {
		return err
	}
	for name, text := range s.Files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	if err := os.Setenv("PATH", s.Path); err != nil {
		return err
	}
	running := map[int]service{}
	for _, v := range s.Services {
		pid, err := s.start(v)
		if err != nil {
			return err
		}
		running[pid] = v
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the node's programs: %w", err)
		}
		v, ok := running[pid]
		if !ok {
			continue // an orphan
		}
		delete(running, pid)
		fmt.Fprintf(os.Stdout, "%s %s ended (exit %d, signal %v), starting it again\n",
			time.Now().UTC().Format(time.RFC3339Nano), v.Name, status.ExitStatus(), status.Signal())
		// As a service manager does, not at once: it may end at once again.
		time.Sleep(time.Second)
		if pid, err = s.start(v); err != nil {
			return err
		}
		running[pid] = v
	}
}

// start starts a service. It is reaped by init's loop, with the orphans.
func (s nodeSpec) start(v service) (int, error) {
	log, err := s.log(v.Name)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	pid, err := syscall.ForkExec(v.Argv[0], v.Argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, log.Fd(), log.Fd()},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", v.Argv[0], err)
	}
	return pid, nil
}

// mounts makes the node's own view of the file system: its own processes, devices
// and cgroups, an empty /run and /var/lib, its own disks, and the rest of the machine
// as it is.
func (s nodeSpec) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// The cgroup hierarchies are found from the machine's mounts, which are about to
	// be hidden.
	g, err := detectCgroups()
	if err != nil {
		return err
	}
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := g.mount(); err != nil {
		return err
	}
	exposed := map[string]*os.File{}
	for _, dir := range s.Expose {
		f, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("expose directory: %w", err)
		}
		defer f.Close()
		exposed[dir] = f
	}
	for _, dir := range s.HiddenPaths {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for dir, f := range exposed {
		if err := bind(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), dir); err != nil {
			return err
		}
	}
	disk := filepath.Join(s.Dir, "node", s.Node)
	for _, m := range [][2]string{
		{"kubelet", "/var/lib/kubelet"},
		{"containerd", "/var/lib/containerd"},
		{"cni", "/var/lib/cni"},
		{"log", "/var/log"},
	} {
		from := filepath.Join(disk, m[0])
		if err := os.MkdirAll(from, 0o755); err != nil {
			return fmt.Errorf("make disk: %w", err)
		}
		if err := bind(from, m[1]); err != nil {
			return err
		}
	}
	for name, value := range machineSysctls {
		file := "/run/sysctl/" + strings.ReplaceAll(name, "/", ".")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("mask sysctl: %w", err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("mask sysctl: %w", err)
		}
		err := unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) { // not every kernel has all
			return fmt.Errorf("mask sysctl %s: %w", name, err)
		}
	}
	// Pods may ask for their mounts to be seen by others, and for others' mounts.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mounts shared: %w", err)
	}
	return nil
}

// bind makes a directory visible at another place.
func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("bind %s: %w", to, err)
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}
