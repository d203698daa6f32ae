// Package datapath does what the packets of VIP:port meet on this node. Rules keeps
// the table inet kube_vrrp_vip, which carries them to what kube-proxy serves, a
// Service's ClusterIP or a NodePort; Worker writes these rules and opens the
// listeners of the ports that the daemon serves itself.
//
// The pictures of the hooks, and what an operator sees, are in docs/datapath.md.
//
// # Why not dnat
//
// All NAT chains of a netfilter hook share one walk that ends at the first
// DNAT. A dnat from the VIP to the ClusterIP would therefore keep kube-proxy's
// DNAT from the ClusterIP to a pod from ever running. So the destination is
// written statelessly before conntrack has seen the packet, and conntrack and
// kube-proxy know an ordinary connection to a ClusterIP. What tells it from
// others on the way back is its conntrack zone, of the original direction only,
// since replies are looked up in the default zone.
//
//	prerouting  -301   client -> VIP:80         zone 20000, client -> ClusterIP:80
//	            -200   conntrack
//	            -100   kube-proxy               client -> pod:8080
//	postrouting  100   undone by conntrack      ClusterIP:80 -> client
//	             200   original zone 20000      VIP:80 -> client
//
// Packets of the node's own processes take output and input instead. ICMP
// errors quote a packet of the connection, so in them two addresses are
// written: the outer one and the quoted one. All of it is there for IPv4 and for
// IPv6, in sets and chains whose names end in 4 and 6.
//
// # Ports that are mapped
//
// A port of the VIP may lead to another port. Then the port is written as well,
// in ICMP errors the quoted one, and put back by the zone. Such a port has a zone
// of its own: two ports of a VIP may lead to the same target, and a client may
// use one source port for both at the same time. Those of a VIP that keep their
// number share one, or two if only some of them keep the client's address too:
//
//	zone4        VIP: zone          the zone of most ports, svc4
//	mapped_zone4 VIP:port: zone     of the others, mapped_svc4 and mapped_port4
//
// svc4 is looked up first, so the others cost more, and those not. There are
// 10 000 zones, from 20000 to 29999: as many VIPs if no port is mapped, a
// thousand with nine mapped ports each. A number that has both TCP and UDP behind
// it counts once. If there are not enough, the VIPs come before the mapped ports.
// A port for which none is left is refused, and no other one.
//
// A UDP packet without checksum gets none. SCTP packets get a new checksum when
// their port is written. The rules for SCTP were tried with packets that open an
// association, never with an implementation of SCTP: the machines of the tests
// have none. Kernels before Linux 5.11 cannot compute this checksum: there the
// rules leave the port of SCTP alone, and an SCTP port that is mapped is refused.
//
// # Whose address a pod sees
//
// kube-proxy masquerades what comes from outside the cluster only if it knows
// which addresses are inside. Where it does not, the answer of a pod on another
// node would pass this one by. So connections in a zone of masquerade_zones are
// masqueraded right after kube-proxy's own turn, which wins. Those of this node's
// own pods, in pods4, are not: their answers come back anyway. Ports that keep the
// client's address have zones that are not in the set.
//
// # Who may
//
// Clients outside the source ranges of a port are dropped, silently, as
// kube-proxy does, before anything is written. Only the ports in limited4 are
// asked about, and the node's own processes never.
//
// What the daemon serves itself, it accepts at a port of the node's address, which
// is in private4. A connection to it that did not come through the VIP is refused.
//
// # What is refused
//
// A TCP, UDP or SCTP packet to any other port of a VIP in guarded4 keeps its
// destination, and the input hook of the node that has the VIP refuses it if it
// opens a connection: nothing that listens on all addresses of the node answers
// there. Nor may another program's DNAT lead such a connection away before that: a
// NodePort of another Service, a Pod's hostPort, a port that Docker publishes.
// Here the walk that ends at the first DNAT is of use:
//
//	prerouting  -150   client -> VIP:22         dnat to the VIP itself
//	            -100   kube-proxy, Docker       not asked any more
//	input        -10   refused
//
// A packet could be refused in prerouting as well, but there the kernel knows no
// local destination yet, and sends the ICMP error from an address of the node
// instead of the VIP.
//
// NAT is for what opens a connection, so one that is open goes on when the table
// comes. What is none of the three protocols goes through: neighbor discovery,
// ping, VRRP.
//
// # Limits
//
// The rewrite looks at a packet alone. A connection that the node itself opens
// from a VIP, with a source port that the VIP forwards, gets no answers.
//
// An ICMP error that quotes a header with IPv4 options or IPv6 extension headers,
// as in a fragment, is not translated on its way to the pod, and one about a
// mapped port not on its way to the client either.
//
// A process of the node reaches a VIP only if the node has a route for the
// ClusterIP, as it has for any ClusterIP by its default route.
//
// Conntrack zones from 20000 to 29999 must be nobody else's, and packets of the
// VIPs must not be exempt from conntrack.
//
// # The table in the kernel
//
// Package nft says how the table is kept. If it is as we left it, only the elements
// of the VIPs that differ from the last state are made and compared: an update
// costs what changes, not what there is. Else, and at the first start, the elements
// of all VIPs are compared with the table. A table that was deleted and made again,
// or another zone for a port that stays, would reset its open connections: so the
// zones are read back from the table at start.
//
// # Listeners
//
// A listener is opened before the rules are written that lead to it, and closed
// after those are gone.
//
// # Connections
//
// When a port gets another target, or none, the entries that conntrack has of its
// connections lead where nobody is asked any more. They are deleted after the
// update: those whose zone and destination are the old ones, each named by its
// own tuple. Entries of other ports, VIPs and ClusterIPs are not touched.
package datapath
