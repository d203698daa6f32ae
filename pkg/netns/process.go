package netns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// exitLimit bounds how long a program may take to end after SIGTERM.
const exitLimit = 30 * time.Second

// Process is a program that runs in a namespace. The kernel kills it if this program
// ends first.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  output
	done chan struct{}
	err  error
}

// Start starts a program in the namespace. Its nice value is nice, from -20 to 19, or
// with 0 this program's. Variables are added to this program's environment.
func (n *Namespace) Start(nice int, variables []string, name string, args ...string) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = slices.Concat(os.Environ(), variables)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The parent of Pdeathsig is a thread: this one stays as long as the
		// program runs.
		runtime.LockOSThread()
		err := Enter(n.Path())
		if err == nil && nice != 0 {
			err = os.NewSyscallError("setpriority", syscall.Setpriority(syscall.PRIO_PROCESS, 0, nice))
		}
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("in %s: start %s: %w", n.Name, name, err)
	}
	return p, nil
}

// String is the command line.
func (p *Process) String() string { return p.cmd.String() }

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is what the program has written, both streams.
func (p *Process) Output() string { return p.out.String() }

// Signal sends a signal to the program and nothing else.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// SignalAll sends a signal to the program and to the processes that it has
// started, as keepalived starts one for VRRP.
func (p *Process) SignalAll(s syscall.Signal) error {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.PID(), p.PID()))
	if err != nil {
		return fmt.Errorf("find the processes of %s: %w", p.name, err)
	}
	errs := []error{p.Signal(s)}
	for field := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(field)
		if err == nil {
			err = os.NewSyscallError("kill", syscall.Kill(pid, s))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Kill ends the program with SIGKILL and waits for it; once more is harmless.
func (p *Process) Kill() {
	// It may have ended by itself, and has then nothing left to kill.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program has ended, once Done is closed.
func (p *Process) Err() error { return p.err }

// Running reports whether the program has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Terminate sends SIGTERM and waits for the end. A program that ends by the
// signal itself has ended well.
func (p *Process) Terminate() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("terminate %s: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(exitLimit):
		return fmt.Errorf("%s still runs %v after SIGTERM", p.name, exitLimit)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil
	}
	return p.err
}

// output is a buffer that is read while a program writes to it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
