package host_test

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/host"
)

// virtualLinks is a VirtualLinks that is used only inside the node's namespace.
type virtualLinks struct {
	node
	l *host.VirtualLinks
}

func (n node) virtualLinks() virtualLinks {
	n.t.Helper()
	l := &host.VirtualLinks{}
	n.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			n.t.Errorf("close: %v", err)
		}
	})
	return virtualLinks{n, l}
}

func (l virtualLinks) Set(want ...host.VirtualLink) (ready map[host.VirtualLink]int, err error) {
	l.Do(func() { ready, err = l.l.Set(want) })
	return ready, err
}

// must calls Set, which must succeed for all links.
func (l virtualLinks) must(want ...host.VirtualLink) map[host.VirtualLink]int {
	l.t.Helper()
	ready, err := l.Set(want...)
	if err != nil || len(ready) != len(want) {
		l.t.Fatalf("ready %v, error %v", ready, err)
	}
	return ready
}

// macvlans returns a line of ip(8) for each macvlan.
func (n node) macvlans() (lines []string) {
	n.t.Helper()
	for line := range strings.Lines(n.Run("ip", "-o", "-d", "link", "show", "type", "macvlan")) {
		lines = append(lines, line)
	}
	return lines
}

func (n node) isUp(link string) bool {
	n.t.Helper()
	_, flags, _ := strings.Cut(n.Run("ip", "-o", "link", "show", "dev", link), "<")
	flags, _, _ = strings.Cut(flags, ">")
	return strings.Contains(","+flags+",", ",UP,")
}

func (n node) sysctl(key string) (value string) {
	n.t.Helper()
	n.Do(func() {
		b, err := os.ReadFile("/proc/sys/" + key)
		if err != nil {
			n.t.Fatal(err)
		}
		value = strings.TrimSpace(string(b))
	})
	return value
}

// both returns the virtual links of VRID 50 on eth0.
func (n node) both() (v4, v6 host.VirtualLink) {
	index := n.Index("eth0")
	return host.VirtualLink{Parent: index, VRID: 50}, host.VirtualLink{Parent: index, IPv6: true, VRID: 50}
}

// Set creates the links down, with their settings, and finds them again. It removes
// unwanted links, and keeps those of other programs.
func TestNetnsVirtualLinksSet(t *testing.T) {
	n := newNode(t)
	v4, v6 := n.both()
	foreign := []string{"mine", "vip4-ffff-50", host.VirtualLink{Parent: v4.Parent, VRID: 9}.Name()}
	for i, name := range foreign {
		mac := []string{"00:00:5e:00:01:09", "00:00:5e:00:01:33", "02:00:5e:00:01:09"}[i]
		n.Run("ip", "link", "add", name, "link", "eth0", "address", mac, "type", "macvlan", "mode", "bridge")
	}
	n.Sysctl("net.ipv4.conf.all.rp_filter", "1")
	n.Sysctl("net.ipv4.conf.default.rp_filter", "1")
	n.Sysctl("net.ipv6.conf.default.disable_ipv6", "1")
	n.Sysctl("net.ipv4.conf.eth0.forwarding", "1")
	n.Sysctl("net.ipv6.conf.eth0.forwarding", "1")
	before := n.sysctl("net/ipv4/conf/eth0/rp_filter") + n.sysctl("net/ipv4/conf/eth0/arp_ignore") + n.sysctl("net/ipv6/conf/eth0/accept_ra")

	l, w := n.virtualLinks(), n.watch()
	ready := l.must(v4, v6)
	for v, mac := range map[host.VirtualLink]string{v4: "00:00:5e:00:01:32", v6: "00:00:5e:00:02:32"} {
		name := v.Name()
		line := n.Run("ip", "-o", "-d", "link", "show", "dev", name)
		if !strings.Contains(line, mac) || !strings.Contains(line, "macvlan mode bridge") || !strings.Contains(line, name+"@eth0") {
			t.Errorf("got %s", line)
		}
		if n.isUp(name) || ready[v] != n.Index(name) {
			t.Errorf("%s is up %t and has the index %d, want %d", name, n.isUp(name), n.Index(name), ready[v])
		}
		for key, want := range map[string]string{"rp_filter": "2", "arp_ignore": "1", "forwarding": "1"} {
			if got := n.sysctl("net/ipv4/conf/" + name + "/" + key); got != want {
				t.Errorf("%s of %s is %s, want %s", key, name, got, want)
			}
		}
		eventually(t, name+" in a snapshot", func() bool { return w.link(name).Virtual == v })
	}
	for key, want := range map[string]string{
		v4.Name() + "/disable_ipv6": "1", v6.Name() + "/disable_ipv6": "0",
		v6.Name() + "/accept_ra": "0", v6.Name() + "/addr_gen_mode": "1", v6.Name() + "/forwarding": "1",
	} {
		if got := n.sysctl("net/ipv6/conf/" + key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if after := n.sysctl("net/ipv4/conf/eth0/rp_filter") + n.sysctl("net/ipv4/conf/eth0/arp_ignore") + n.sysctl("net/ipv6/conf/eth0/accept_ra"); after != before {
		t.Errorf("settings of eth0 were %s and are %s", before, after)
	}
	for _, name := range foreign {
		if w.link(name).Virtual != (host.VirtualLink{}) {
			t.Errorf("%s counts as a virtual link", name)
		}
	}

	// Set restores settings that another program changed.
	n.Sysctl("net.ipv4.conf."+v4.Name()+".rp_filter", "1")
	if again := l.must(v4, v6); again[v4] != ready[v4] || again[v6] != ready[v6] {
		t.Errorf("created again: %v, was %v", again, ready)
	}
	if got := n.sysctl("net/ipv4/conf/" + v4.Name() + "/rp_filter"); got != "2" {
		t.Errorf("rp_filter is %s", got)
	}

	// Another link has the name; then an earlier process has created the link.
	taken := host.VirtualLink{Parent: v4.Parent, VRID: 9}
	ready, err := n.virtualLinks().Set(v6, taken)
	var failed *host.VirtualLinkError
	if len(ready) != 1 || ready[v6] == 0 || !errors.As(err, &failed) || failed.VirtualLink != taken || !strings.Contains(err.Error(), "is not ours") {
		t.Errorf("ready %v, error %v", ready, err)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "create link "+taken.Name()+" on eth0: ") {
		t.Errorf("error %v", err)
	}
	// The link is deleted with its parent.
	if ready, err := l.Set(host.VirtualLink{Parent: 4711, VRID: 1}); len(ready) != 0 || err == nil {
		t.Errorf("on a link that does not exist: %v, %v", ready, err)
	}
	if got := n.macvlans(); len(got) != len(foreign) {
		t.Errorf("left are %q, want those of other programs", got)
	}
}

// A link is up as long as it has an address, even if another program sets it down.
func TestNetnsVirtualLinkFollowsItsAddresses(t *testing.T) {
	n := newNode(t)
	v4, v6 := n.both()
	l, a := n.virtualLinks(), n.addresses()
	ready := l.must(v4, v6)
	vip := host.VirtualAddress{Link: ready[v4], Address: netip.MustParseAddr("192.0.2.50")}
	vip6 := host.VirtualAddress{Link: ready[v6], Address: netip.MustParseAddr("2001:db8::50")}
	set := func(want ...host.VirtualAddress) {
		t.Helper()
		if err := a.Set(want); err != nil {
			t.Fatal(err)
		}
		if removed := a.removed(); len(removed) != 0 {
			t.Errorf("with %v, got %v as removed by another program", want, removed)
		}
		up := map[int]bool{}
		for _, v := range want {
			up[v.Link] = true
		}
		for v, index := range ready {
			if n.isUp(v.Name()) != up[index] {
				t.Fatalf("%s is up: %t, with %v", v.Name(), n.isUp(v.Name()), want)
			}
		}
	}
	set(n.vips("192.0.2.51")...)
	set(vip)
	set(vip, vip6)
	want := []string{"inet6 2001:db8::50/128 scope global nodad deprecated dynamic noprefixroute"}
	if got := n.show(v6.Name()); len(got) != 1 || got[0] != want[0] {
		t.Errorf("%s has %q, want %q and no link-local address", v6.Name(), got, want)
	}
	if got := n.show(v4.Name()); len(got) != 1 || !strings.HasPrefix(got[0], "inet 192.0.2.50/32 scope host dynamic noprefixroute "+v4.Name()) {
		t.Errorf("%s has %q", v4.Name(), got)
	}
	n.Run("ip", "link", "set", v4.Name(), "down")
	n.Run("ip", "link", "set", v6.Name(), "down")
	set(vip, vip6)
	set(vip6)
	set()
	set(vip, vip6)

	n.Run("ip", "addr", "del", "2001:db8::50/128", "dev", v6.Name())
	if err := a.Set([]host.VirtualAddress{vip, vip6}); err != nil {
		t.Fatal(err)
	}
	if removed := a.removed(); len(removed) != 1 || removed[0] != vip6 {
		t.Errorf("got %v, want %v", removed, vip6)
	}
	set(vip, vip6)

	var failed *host.AddressError
	n.Run("ip", "link", "del", v4.Name())
	if err := a.Set([]host.VirtualAddress{vip}); !errors.As(err, &failed) || !errors.Is(err, unix.ENODEV) {
		t.Errorf("without the link: %v", err)
	}
	if err := a.Set(nil); err != nil {
		t.Errorf("released on a deleted link: %v", err)
	}
}

// A lease ends on a virtual link as on any other. Set removes a link of an earlier
// process first.
func TestNetnsVirtualLinkLease(t *testing.T) {
	n := newNode(t)
	v4, v6 := n.both()
	l, a := n.virtualLinks(), n.addresses()
	ready := l.must(v4, v6)
	begin := time.Now()
	if err := a.Set([]host.VirtualAddress{
		{Link: ready[v4], Address: netip.MustParseAddr("192.0.2.50")}, {Link: ready[v6], Address: netip.MustParseAddr("2001:db8::50")},
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the addresses go", func() bool { return len(n.show(v4.Name())) == 0 && len(n.show(v6.Name())) == 0 })
	t.Logf("measured: virtual_mac_lease_ms=%d target=3000", time.Since(begin).Milliseconds())
	if d := time.Since(begin); d < lifetime/2 || d > 5*lifetime {
		t.Errorf("the addresses went after %s", d)
	}
	// The next process finds both links up, one of them with an address.
	if err := a.Set([]host.VirtualAddress{{Link: ready[v4], Address: netip.MustParseAddr("192.0.2.50")}}); err != nil {
		t.Fatal(err)
	}
	if found, err := n.addresses().RemoveLeftovers(); len(found) != 1 || err != nil {
		t.Errorf("found %v, error %v", found, err)
	}
	if ready := n.virtualLinks().must(); len(ready) != 0 || len(n.macvlans()) != 0 {
		t.Errorf("ready %v, left %q", ready, n.macvlans())
	}
}

// If /proc/sys cannot be written, a link is ready if its settings have the needed effect
// anyway. Otherwise the error has the reason.
func TestNetnsVirtualLinkReadOnlySysctls(t *testing.T) {
	n := newNode(t)
	v4, v6 := n.both()
	readOnly := func(want ...host.VirtualLink) (ready map[host.VirtualLink]int, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // Never unlocked: the mounts end with the thread.
			n.Do(func() {
				for _, mount := range []func() error{
					func() error { return unix.Unshare(unix.CLONE_NEWNS) },
					func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
					func() error { return unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, "") },
					func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "") },
				} {
					if err = mount(); err != nil {
						return
					}
				}
				l := &host.VirtualLinks{}
				ready, err = l.Set(want)
				l.Close()
			})
		}()
		<-done
		return ready, err
	}
	n.Sysctl("net.ipv4.conf.all.rp_filter", "1")
	n.Sysctl("net.ipv4.conf.default.rp_filter", "0")
	ready, err := readOnly(v4)
	var failed *host.VirtualLinkError
	if len(ready) != 0 || !errors.As(err, &failed) || failed.VirtualLink != v4 || !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), v4.Name()+"/rp_filter") {
		t.Errorf("ready %v, error %v", ready, err)
	}

	n.virtualLinks().must()
	n.Sysctl("net.ipv4.conf.all.rp_filter", "0")
	n.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
	n.Sysctl("net.ipv6.conf.default.disable_ipv6", "1")
	if ready, err := readOnly(v4); len(ready) != 1 || err != nil {
		t.Errorf("all settings are right: ready %v, error %v", ready, err)
	}
	if ready, err := readOnly(v4, v6); len(ready) != 1 || !errors.As(err, &failed) || failed.VirtualLink != v6 {
		t.Errorf("IPv6 is disabled and cannot be enabled: ready %v, error %v", ready, err)
	}
}

// A setting of "all" that overrides the link's own is an error.
func TestNetnsVirtualLinkOverridden(t *testing.T) {
	n := newNode(t)
	v4, v6 := n.both()
	n.Sysctl("net.ipv4.conf.all.arp_ignore", "2")
	ready, err := n.virtualLinks().Set(v4, v6)
	if len(ready) != 1 || ready[v6] == 0 || err == nil || err.Error() != "net.ipv4.conf.all.arp_ignore is 2 and overrides the 1 of "+v4.Name() {
		t.Errorf("ready %v, error %v", ready, err)
	}
}
