package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// process is a process of the cluster as it is recorded in the state directory.
// The start time (in clock ticks after boot) tells it from another that got the
// same number later.
type process struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// startDaemon runs a program of the control plane: apart from this program's session,
// with its output in the log of its name.
func (c *Cluster) startDaemon(name string, args ...string) error {
	log, err := os.OpenFile(c.path("log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.path("bin", name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := netns.Do(c.NetNS(controlHost), cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	err = recordProcess(c.opt.Dir, name, cmd.Process.Pid)
	if err != nil {
		err = errors.Join(err, cmd.Process.Kill())
	}
	c.reapers.Go(func() {
		// How it ended is in its log; a daemon that ends early is noticed by what
		// waits for its work.
		_ = cmd.Wait()
	})
	return err
}

// recordProcess writes down a process that was just started.
func recordProcess(dir, name string, pid int) error {
	st, err := processStat(pid)
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	b, err := json.Marshal(process{Name: name, PID: pid, Start: st.start})
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	file := filepath.Join(dir, "pid", name)
	if err := os.WriteFile(file+".new", b, 0o644); err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	return os.Rename(file+".new", file)
}

// processes returns the recorded processes, running or not.
func (c *Cluster) processes() ([]process, error) {
	entries, err := os.ReadDir(c.path("pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read process records: %w", err)
	}
	var ps []process
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".new" {
			continue
		}
		p, err := c.process(e.Name())
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// process returns one recorded process.
func (c *Cluster) process(name string) (process, error) {
	var p process
	b, err := os.ReadFile(c.path("pid", name))
	if err != nil {
		return p, fmt.Errorf("read process record: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("read process record %s: %w", name, err)
	}
	return p, nil
}

// running returns the names of the recorded processes that run.
func (c *Cluster) running() ([]string, error) {
	ps, err := c.processes()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range ps {
		if p.alive() {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

// alive reports whether the very process that was recorded still runs.
func (p process) alive() bool {
	st, err := processStat(p.PID)
	return err == nil && st.start == p.Start && !st.dead
}

// kill sends SIGKILL to the process if it is still the one recorded. The first
// process of a node takes everything in its process namespace with it.
func (p process) kill() error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s (%d): %w", p.Name, p.PID, err)
	}
	return nil
}

// waitGone waits for the end of a process that was killed.
func (p process) waitGone(limit time.Duration) error {
	for deadline := time.Now().Add(limit); p.alive(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("kill %s (%d): still there after %s", p.Name, p.PID, limit)
		}
	}
	return nil
}

// programOf is the base name of the program that a process runs, by its command line;
// "." if it has ended.
func programOf(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return "."
	}
	name, _, _ := strings.Cut(string(b), "\x00")
	return filepath.Base(name)
}

// stat is what the cluster wants to know of /proc/PID/stat.
type stat struct {
	parent int
	start  uint64 // clock ticks after boot
	dead   bool   // nothing left but the exit status
}

func processStat(pid int) (stat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

// parseStat reads a line of /proc/PID/stat. The second field, the command in
// parentheses, may itself hold spaces and parentheses.
func parseStat(line string) (stat, error) {
	bad := func(what string) (stat, error) { return stat{}, fmt.Errorf("process state %q: %s", line, what) }
	i := strings.LastIndexByte(line, ')')
	if i < 0 {
		return bad("no command")
	}
	f := strings.Fields(line[i+1:]) // the third field of the line is f[0]
	if len(f) < 20 {
		return bad("too few fields")
	}
	var st stat
	var err error
	if st.parent, err = strconv.Atoi(f[1]); err != nil {
		return bad("parent: " + err.Error())
	}
	threads, err := strconv.Atoi(f[17])
	if err != nil {
		return bad("threads: " + err.Error())
	}
	if st.start, err = strconv.ParseUint(f[19], 10, 64); err != nil {
		return bad("start time: " + err.Error())
	}
	// A first thread that is a zombie is not the end of a process: the first
	// process of a node stays so until everything in the node is dead.
	st.dead = f[0] == "X" || f[0] == "Z" && threads <= 1
	return st, nil
}

// exitText adds what a command wrote to standard error to its error.
func exitText(err error, output []byte) error {
	if s := strings.TrimSpace(string(output)); s != "" {
		return fmt.Errorf("%w: %s", err, s)
	}
	return err
}
