package netnstest

import (
	"bytes"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Process is a program that runs in a namespace until the test ends.
type Process struct {
	ns   *NS
	cmd  *exec.Cmd
	out  buffer
	done chan struct{}
	err  error
}

// Start starts a program inside. It is killed and waited for when the test
// ends, and by the kernel if the test process dies first.
func (ns *NS) Start(name string, args ...string) *Process {
	ns.t.Helper()
	p := &Process{ns: ns, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The parent of Pdeathsig is a thread: this one waits as long as the
		// program runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		ns.Do(func() { err = p.cmd.Start() })
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		ns.t.Fatalf("%s: start %s: %v", ns.name, name, err)
	}
	ns.t.Cleanup(func() {
		p.Kill()
		if ns.t.Failed() {
			ns.t.Logf("%s: %s wrote\n%s", ns.name, p.cmd, p.Output())
		}
	})
	return p
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is what the program wrote so far, both streams.
func (p *Process) Output() string { return p.out.String() }

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the program with SIGKILL and waits for it; once more is harmless.
func (p *Process) Kill() {
	// It may have ended by itself, and has then nothing left to kill.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program's end and returns what exec.Cmd.Wait did.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// buffer is a bytes.Buffer that is read while a program writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
