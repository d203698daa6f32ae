package netnstest

import "kube-vrrp-vip/pkg/netns"

// Process is a program that runs in a namespace until the test ends.
type Process struct{ *netns.Process }

// Start starts a program inside. It is killed and waited for when the test
// ends, and by the kernel if the test process dies first.
func (ns *NS) Start(name string, args ...string) *Process {
	ns.t.Helper()
	started, err := ns.ns.Start(0, nil, name, args...)
	if err != nil {
		ns.t.Fatal(err)
	}
	p := &Process{started}
	ns.t.Cleanup(func() {
		p.Kill()
		if ns.t.Failed() {
			ns.t.Logf("%s: %s wrote\n%s", ns.ns.Name, p, p.Output())
		}
	})
	return p
}

// Wait waits for the program's end and returns what exec.Cmd.Wait did.
func (p *Process) Wait() error {
	<-p.Done()
	return p.Err()
}
