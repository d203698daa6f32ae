package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
	"kube-vrrp-vip/pkg/netns"
)

// mode is how routers are configured, ours and keepalived alike.
type mode struct {
	version  int
	interval time.Duration
}

func (m mode) String() string { return fmt.Sprintf("VRRPv%d, %v", m.version, m.interval) }

// virtualRouter is a VRID with one address.
type virtualRouter struct {
	vrid int
	vip  netip.Addr
}

// kind is a program that is measured.
type kind interface {
	// start starts it on a host with these virtual routers, nopreempt.
	start(l *lab.Lab, h *lab.Host, m mode, priority int, routers []virtualRouter) (*netns.Process, error)
	// add adds the last of the routers to the running program.
	add(l *lab.Lab, h *lab.Host, p *netns.Process, m mode, routers []virtualRouter) error
	// state is what its first virtual router became last, "" for nothing yet.
	state(p *netns.Process) string
}

// defaultVRID is what both have without being told.
const defaultVRID = 50

const (
	master = "MASTER"
	backup = "BACKUP"
)

// lastMatch returns the last match of a pattern's group in a text.
func lastMatch(pattern *regexp.Regexp, text string) string {
	all := pattern.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return ""
	}
	return strings.ToUpper(all[len(all)-1][1])
}

// ours is kube-vrrp-vip.
type ours struct{}

func (ours) start(l *lab.Lab, h *lab.Host, m mode, priority int, routers []virtualRouter) (*netns.Process, error) {
	configure(l, routers)
	d, err := l.StartDaemon(h, priority, fmt.Sprintf("--vrrp-version=%d", m.version), fmt.Sprintf("--advertisement-interval=%v", m.interval))
	if err != nil {
		return nil, err
	}
	return d.Process, nil
}

// configure writes the ConfigMap of the virtual routers.
func configure(l *lab.Lab, routers []virtualRouter) {
	data := map[string]string{}
	for _, r := range routers {
		if r.vrid == defaultVRID {
			data[r.vip.String()] = ""
			continue
		}
		data[fmt.Sprintf("v%d", r.vrid)] = fmt.Sprintf("addresses: [%s]\nvrid: %d\n", r.vip, r.vrid)
	}
	l.SetConfigMap(data)
}

func (ours) add(l *lab.Lab, _ *lab.Host, _ *netns.Process, _ mode, routers []virtualRouter) error {
	configure(l, routers)
	return nil
}

var ourState = regexp.MustCompile(`"Virtual router changed state".* state="(\w+)"`)

func (ours) state(p *netns.Process) string { return lastMatch(ourState, p.Output()) }

// theirs is keepalived.
type theirs struct {
	// dir is where configurations are written, by host.
	dir string
}

func (k theirs) start(l *lab.Lab, h *lab.Host, m mode, priority int, routers []virtualRouter) (*netns.Process, error) {
	if err := k.write(h, m, priority, routers); err != nil {
		return nil, err
	}
	return l.Start(h, nil, "keepalived", "-n", "-l", "-D", "-P", "-f", k.file(h), "-p", k.file(h)+".pid", "-r", k.file(h)+".vrrp.pid")
}

// add rewrites the configuration and sends the signal to read it again.
func (k theirs) add(_ *lab.Lab, h *lab.Host, p *netns.Process, m mode, routers []virtualRouter) error {
	if err := k.write(h, m, firstPriority, routers); err != nil {
		return err
	}
	return p.Signal(syscall.SIGHUP)
}

func (k theirs) file(h *lab.Host) string { return filepath.Join(k.dir, h.Name+".conf") }

// write writes a configuration. Everything that is not in it has its default, as
// kube-keepalived-vip has it.
func (k theirs) write(h *lab.Host, m mode, priority int, routers []virtualRouter) error {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n    router_id %s\n}\n", h.Name)
	for _, r := range routers {
		fmt.Fprintf(&b, `vrrp_instance v%d {
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id %d
    priority %d
    advert_int %g
    version %d
    virtual_ipaddress {
        %s/32 dev eth0
    }
}
`, r.vrid, r.vrid, priority, m.interval.Seconds(), m.version, r.vip)
	}
	return os.WriteFile(k.file(h), []byte(b.String()), 0o600)
}

var theirState = regexp.MustCompile(`Entering (\w+) STATE`)

func (theirs) state(p *netns.Process) string { return lastMatch(theirState, p.Output()) }
