package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// Instance is one virtual router of keepalived or FRR.
type Instance struct {
	VRID, Priority int
	// Version is 2 or 3.
	Version  int
	Interval time.Duration
	Preempt  bool
	// VirtualMAC asks for a link with the virtual MAC address, with keepalived
	// only: FRR has no other. TransmitBase has keepalived send and listen beside
	// it (vmac_xmit_base).
	VirtualMAC, TransmitBase bool
	// Password asks for VRRPv2's simple authentication, with keepalived only.
	Password string
	// Unicast are the addresses of the peers, with keepalived only; none asks
	// for multicast.
	Unicast []netip.Addr
	// TTL is that of unicast; 0 leaves it to keepalived, and 2.2.7 takes 64 for
	// IPv6.
	TTL int
	// VIPs are all of one family, in the order on the wire.
	VIPs []netip.Addr
}

func (i Instance) ipv6() bool { return i.VIPs[0].Is6() }

// StartKeepalived starts keepalived on a host, VRRP only.
func (l *Lab) StartKeepalived(h *Host, instances ...Instance) (*netns.Process, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n    router_id %s\n}\n", h.Name)
	for n, i := range instances {
		fmt.Fprintf(&b, `vrrp_instance v%d {
    state BACKUP
    interface eth0
    virtual_router_id %d
    priority %d
    advert_int %g
    version %d
`, n, i.VRID, i.Priority, i.Interval.Seconds(), i.Version)
		if !i.Preempt {
			b.WriteString("    nopreempt\n")
		}
		if i.VirtualMAC {
			fmt.Fprintf(&b, "    use_vmac vrrp.%d\n", i.VRID)
		}
		if i.TransmitBase {
			b.WriteString("    vmac_xmit_base\n")
		}
		if i.Password != "" {
			fmt.Fprintf(&b, "    authentication {\n        auth_type PASS\n        auth_pass %s\n    }\n", i.Password)
		}
		if len(i.Unicast) > 0 {
			own := h.IPv4
			if i.Unicast[0].IsLinkLocalUnicast() {
				own = h.LinkLocal
			} else if i.Unicast[0].Is6() {
				own = h.IPv6
			}
			if i.TTL != 0 {
				fmt.Fprintf(&b, "    unicast_ttl %d\n", i.TTL)
			}
			fmt.Fprintf(&b, "    unicast_src_ip %s\n    unicast_peer {\n", own)
			for _, p := range i.Unicast {
				fmt.Fprintf(&b, "        %s\n", p)
			}
			b.WriteString("    }\n")
		}
		b.WriteString("    virtual_ipaddress {\n")
		for _, a := range i.VIPs {
			fmt.Fprintf(&b, "        %s/%d dev eth0\n", a, a.BitLen())
		}
		b.WriteString("    }\n}\n")
	}
	return l.StartKeepalivedFile(h, b.String())
}

// StartKeepalivedFile starts keepalived on a host with a configuration as it is
// written in keepalived.conf.
func (l *Lab) StartKeepalivedFile(h *Host, configuration string) (*netns.Process, error) {
	dir, err := os.MkdirTemp(l.dir, "keepalived")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		return nil, err
	}
	return l.Start(h, nil, "keepalived", "-n", "-l", "-D", "-P", "-f", file, "-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"))
}

// FRR is zebra and vrrpd on a host.
type FRR struct{ Zebra, VRRPD *netns.Process }

// Output is what vrrpd has written.
func (f *FRR) Output() string { return f.VRRPD.Output() }

// SignalAll sends a signal to vrrpd.
func (f *FRR) SignalAll(s syscall.Signal) error { return f.VRRPD.SignalAll(s) }

// Terminate stops vrrpd, and zebra after it.
func (f *FRR) Terminate() error { return errors.Join(f.VRRPD.Terminate(), f.Zebra.Terminate()) }

// Kill ends both with SIGKILL.
func (f *FRR) Kill() {
	f.VRRPD.Kill()
	f.Zebra.Kill()
}

// frrPrograms is where Debian's package has them.
const frrPrograms = "/usr/lib/frr"

// StartFRR starts zebra and vrrpd on a host, and makes the macvlan links that
// they want: a link with the virtual MAC that has the VIPs, for every virtual
// router.
func (l *Lab) StartFRR(h *Host, instances ...Instance) (*FRR, error) {
	var b strings.Builder
	b.WriteString("log stdout\ndebug vrrp protocol\ninterface eth0\n")
	for _, i := range instances {
		if i.Password != "" || len(i.Unicast) > 0 {
			return nil, fmt.Errorf("FRR 8.4 has neither authentication nor unicast: VRID %d", i.VRID)
		}
		if err := h.addMacvlan(i); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, " vrrp %d version %d\n vrrp %d priority %d\n vrrp %d advertisement-interval %d\n",
			i.VRID, i.Version, i.VRID, i.Priority, i.VRID, i.Interval.Milliseconds())
		if !i.Preempt {
			fmt.Fprintf(&b, " no vrrp %d preempt\n", i.VRID)
		}
		for _, a := range i.VIPs {
			family := "ip"
			if a.Is6() {
				family = "ipv6"
			}
			fmt.Fprintf(&b, " vrrp %d %s %s\n", i.VRID, family, a)
		}
	}
	dir, err := l.frrDirectory(map[string]string{"vrrpd.conf": b.String(), "zebra.conf": "log stdout\n"})
	if err != nil {
		return nil, err
	}
	arguments := func(name string) []string {
		return []string{
			"-A", "127.0.0.1", "-P", "0",
			"-f", filepath.Join(dir, name+".conf"), "-i", filepath.Join(dir, name+".pid"),
			"--vty_socket", dir, "-z", filepath.Join(dir, "zserv.api"),
		}
	}
	// A Backup keeps its VIPs on a link that is down; eth0 does not answer for them.
	if err := h.Sysctl("net/ipv4/conf/eth0/arp_ignore=1"); err != nil {
		return nil, err
	}
	f := &FRR{}
	if f.Zebra, err = l.Start(h, nil, filepath.Join(frrPrograms, "zebra"), arguments("zebra")...); err != nil {
		return nil, err
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "zserv.api")); err == nil {
			break
		}
		if !f.Zebra.Running() || time.Since(begin) > settleLimit {
			return nil, fmt.Errorf("zebra on %s did not start:\n%s", h.Name, f.Zebra.Output())
		}
	}
	f.VRRPD, err = l.Start(h, nil, filepath.Join(frrPrograms, "vrrpd"), arguments("vrrpd")...)
	return f, err
}

// frrDirectory makes a directory with files for the user whom FRR's programs
// run as.
func (l *Lab) frrDirectory(files map[string]string) (string, error) {
	u, err := user.Lookup("frr")
	if err != nil {
		return "", fmt.Errorf("FRR is not installed, run hack/deps first: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return "", err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(l.dir, "frr")
	if err != nil {
		return "", err
	}
	errs := []error{os.Chown(dir, uid, gid)}
	for name, text := range files {
		file := filepath.Join(dir, name)
		errs = append(errs, os.WriteFile(file, []byte(text), 0o600), os.Chown(file, uid, gid))
	}
	return dir, errors.Join(errs...)
}

// macvlanAddress is the link-local address of the link of one of FRR's virtual
// routers. Of two hosts the one with the higher address has the higher one here,
// too, and so it does against a router that sends from eth0.
func (h *Host) macvlanAddress(i Instance) netip.Addr {
	a := h.LinkLocal.As16()
	a[14] = byte(i.VRID)
	return netip.AddrFrom16(a)
}

// addMacvlan makes the link of a virtual router of FRR anew.
func (h *Host) addMacvlan(i Instance) error {
	name, family := fmt.Sprintf("vr4-%d", i.VRID), 1
	if i.ipv6() {
		name, family = fmt.Sprintf("vr6-%d", i.VRID), 2
	}
	// One of an earlier run may still be there.
	_, _ = h.Run("ip", "link", "del", name)
	// Down by protocol from the beginning, as FRR keeps that of a Backup.
	lines := []string{
		"link add " + name + " link eth0 type macvlan mode bridge",
		"link set " + name + " protodown on",
		fmt.Sprintf("link set %s address 00:00:5e:00:%02x:%02x", name, family, i.VRID),
	}
	if i.ipv6() {
		// Its own link-local address is the source of the advertisements. It is
		// not made from the virtual MAC, which is the same on every host.
		lines = append(lines, "link set "+name+" addrgenmode none",
			fmt.Sprintf("addr add %s/64 dev %s nodad", h.macvlanAddress(i), name))
	} else {
		lines = append(lines, "link set "+name+" addrgenmode none")
	}
	for _, a := range i.VIPs {
		line := fmt.Sprintf("addr add %s/%d dev %s", a, a.BitLen(), name)
		if a.Is6() {
			line += " nodad"
		}
		lines = append(lines, line)
	}
	if err := h.IP(append(lines, "link set "+name+" up")...); err != nil {
		return fmt.Errorf("make FRR's macvlan link: %w", err)
	}
	return nil
}
