package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// settleLimit bounds how long a program may take to be ready, or to be gone.
const settleLimit = 30 * time.Second

// Lab is a LAN with hosts, a client and a stub of the Kubernetes API.
type Lab struct {
	// Hosts are where routers run.
	Hosts []*Host
	// Client is a host that runs nothing.
	Client *Host
	// Switch has a bridge, br0, and a port for each host and for the client.
	Switch *netns.Namespace
	// API is what daemons read their configuration from.
	API *API
	// Recorder has seen everything since the beginning.
	Recorder *Recorder
	// Nice is what programs are started with, from -20 to 19. On a busy machine
	// those that are not to be starved have less than the others.
	Nice int

	more []*netns.Namespace
	dir  string

	mu        sync.Mutex
	processes []*netns.Process
	closers   []func() error // of listeners
	asker     int            // a packet socket on the client's eth0
}

// Host is a computer on the LAN. Its link is eth0.
type Host struct {
	*netns.Namespace
	// Index is the host's place in Lab.Hosts; the client's is behind them.
	Index int
	// IPv4, IPv6 and LinkLocal are its addresses.
	IPv4, IPv6, LinkLocal netip.Addr
	// MAC is the Ethernet address of eth0.
	MAC string
}

// New makes a lab with n hosts, at most 200. Close ends it.
func New(n int) (_ *Lab, err error) {
	l := &Lab{asker: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "kube-vrrp-vip-lab"); err != nil {
		return nil, err
	}
	// FRR's programs, which run as a user of their own, have directories in it.
	if err := os.Chmod(l.dir, 0o711); err != nil {
		return nil, err
	}
	if l.Switch, err = netns.New("switch"); err != nil {
		return nil, err
	}
	// The switch has no addresses and sends nothing itself.
	if err := l.Switch.Sysctl("net/ipv6/conf/default/disable_ipv6=1"); err != nil {
		return nil, err
	}
	if err := l.Switch.IP("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up"); err != nil {
		return nil, err
	}
	if l.API, err = newAPI(); err != nil {
		return nil, err
	}
	l.Recorder = newRecorder()
	for i := range n + 1 {
		h, err := l.addHost(i, i == n)
		if h != nil && i < n {
			l.Hosts = append(l.Hosts, h)
		} else if h != nil {
			l.Client = h
		}
		if err != nil {
			return nil, err
		}
	}
	if err := l.Recorder.start(l); err != nil {
		return nil, err
	}
	if l.asker, err = openAsker(l.Client); err != nil {
		return nil, err
	}
	return l, nil
}

// addHost connects a new host to the switch and, unless it is the client, to
// the API.
func (l *Lab) addHost(i int, client bool) (*Host, error) {
	name, last := fmt.Sprintf("n%d", i), byte(i+1)
	if client {
		name, last = "client", 250
	}
	ns, err := netns.New(name)
	if err != nil {
		return nil, err
	}
	h := &Host{
		Namespace: ns,
		Index:     i,
		IPv4:      netip.AddrFrom4([4]byte{192, 0, 2, last}),
		IPv6:      netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: last}),
		LinkLocal: netip.AddrFrom16([16]byte{0xfe, 0x80, 13: last, 15: 1}),
		MAC:       fmt.Sprintf("02:00:00:00:00:%02x", last),
	}
	// The recorder listens before there is a link to tell of.
	if err := l.Recorder.watch(h); err != nil {
		return h, err
	}
	// An IPv6 router among the hosts would give them addresses.
	if err := h.Sysctl("net/ipv6/conf/default/accept_ra=0", "net/ipv4/conf/default/rp_filter=0", "net/ipv4/conf/all/rp_filter=0"); err != nil {
		return h, err
	}
	port := l.Port(i)
	if err := l.Switch.IP(
		"link add "+port+" type veth peer name eth0 address "+h.MAC+" netns "+h.Path(),
		"link set "+port+" master br0",
		"link set "+port+" up",
	); err != nil {
		return h, err
	}
	if err := h.IP(
		"link set lo up",
		"link set eth0 addrgenmode none",
		"addr add "+h.IPv4.String()+"/24 dev eth0",
		"addr add "+h.LinkLocal.String()+"/64 dev eth0 nodad",
		"addr add "+h.IPv6.String()+"/64 dev eth0 nodad",
		"link set eth0 up",
	); err != nil || client {
		return h, err
	}
	return h, l.API.connect(h)
}

// AddNamespace makes a namespace that is not on the LAN.
func (l *Lab) AddNamespace(name string) (*netns.Namespace, error) {
	n, err := netns.New(name)
	if err == nil {
		l.more = append(l.more, n)
	}
	return n, err
}

// Port is the name of the switch's link to a host.
func (*Lab) Port(i int) string { return fmt.Sprintf("p%d", i) }

// Cut pulls the cable of host i: its eth0 has no carrier.
func (l *Lab) Cut(i int) error { return l.Switch.IP("link set " + l.Port(i) + " down") }

// Restore undoes Cut.
func (l *Lab) Restore(i int) error { return l.Switch.IP("link set " + l.Port(i) + " up") }

// Drop makes the switch lose the frames that match an expression of nft, or another, until
// Pass, while every cable stays in place:
//
//	iifname "p0"                             whatever host 0 sends
//	oifname "p0" ip protocol 112             VRRP that host 0 would hear
//	numgen random mod 100 < 25               a quarter of everything
func (l *Lab) Drop(matches ...string) error {
	var b strings.Builder
	b.WriteString("add table bridge loss\nadd chain bridge loss forward { type filter hook forward priority 0; }\n")
	for _, m := range matches {
		fmt.Fprintf(&b, "add rule bridge loss forward %s counter drop\n", m)
	}
	return l.Switch.Nft(b.String())
}

// Pass undoes every Drop.
func (l *Lab) Pass() error {
	return l.Switch.Nft("add table bridge loss\ndelete table bridge loss\n")
}

// Start starts a program on a host; Close ends it at the latest.
func (l *Lab) Start(h *Host, variables []string, name string, args ...string) (*netns.Process, error) {
	p, err := h.Start(l.Nice, variables, name, args...)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = append(l.processes, p)
	return p, nil
}

// Close ends every process and removes everything.
func (l *Lab) Close() error {
	var errs []error
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		p.Kill()
	}
	for _, f := range l.closers {
		errs = append(errs, f())
	}
	if l.asker >= 0 {
		errs = append(errs, closeFD(l.asker))
	}
	if l.Recorder != nil {
		errs = append(errs, l.Recorder.close())
	}
	if l.API != nil {
		errs = append(errs, l.API.close())
	}
	for _, h := range l.everybody() {
		errs = append(errs, h.Close())
	}
	for _, n := range l.more {
		errs = append(errs, n.Close())
	}
	if l.Switch != nil {
		errs = append(errs, l.Switch.Close())
	}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

func (l *Lab) everybody() []*Host {
	if l.Client == nil {
		return l.Hosts
	}
	return append(append([]*Host{}, l.Hosts...), l.Client)
}

// Report is what helps to understand a failure: what was recorded since a time,
// the addresses of the hosts, and what the programs wrote.
func (l *Lab) Report(since time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "== recorded\n%s", l.Recorder.Text(since))
	for _, h := range l.everybody() {
		out, err := h.Run("ip", "-brief", "address")
		if err != nil {
			out = err.Error()
		}
		fmt.Fprintf(&b, "== %s\n%s\n", h.Name, out)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		fmt.Fprintf(&b, "== %s wrote\n%s\n", p, tail(p.Output(), 60))
	}
	return b.String()
}

// Eventually calls f until it returns nil, or until ctx ends: then it returns
// f's last error.
func Eventually(ctx context.Context, what string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	if len(all) > lines {
		all = append([]string{"..."}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}
