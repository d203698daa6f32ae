package datapath

import (
	"net/netip"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/proxy"
)

// listeners are where the ports that the daemon serves itself are listened on, by
// VIP and port.
type listeners map[netip.AddrPort]netip.AddrPort

// proxyPorts returns the ports that the daemon serves itself.
func proxyPorts(s desired.State) []proxy.Port {
	var ports []proxy.Port
	for _, f := range s.Datapath.Forwards {
		for _, p := range f.Ports {
			if p.Proxied() {
				ports = append(ports, proxy.Port{
					VIP:     netip.AddrPortFrom(f.VIP, p.Port),
					Address: s.NodeAddressFor(f.VIP),
					Target:  p.Target,
					Header:  p.Proxy,
				})
			}
		}
	}
	return ports
}

// rules returns what the rules are to do: a port that the daemon serves itself
// leads to its listener.
func (l listeners) rules(d desired.Datapath) desired.Datapath {
	forwards := make([]desired.Forward, 0, len(d.Forwards))
	for _, f := range d.Forwards {
		if f.Proxied() {
			f.Ports = l.ports(f)
		}
		forwards = append(forwards, f)
	}
	d.Forwards = forwards
	return d
}

// ports returns the ports of a forward. A listener sees the client's address. A
// port without a listener is refused: the guard refuses all that is left out, and
// where the host's ports are open instead, the port leads to port 0, on which
// nothing can listen.
func (l listeners) ports(f desired.Forward) []desired.Port {
	var ports []desired.Port
	for _, p := range f.Ports {
		if !p.Proxied() {
			ports = append(ports, p)
			continue
		}
		listener, ok := l[netip.AddrPortFrom(f.VIP, p.Port)]
		switch {
		case ok:
			p.Target = listener
		case f.Open:
			p.Target, p.Proxy = netip.AddrPortFrom(f.VIP, 0), desired.NoProxy
		default:
			continue
		}
		p.KeepSource = true
		ports = append(ports, p)
	}
	return ports
}
