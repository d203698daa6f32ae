// Package nft keeps the daemon's two nftables tables and touches nothing else:
// inet kube_vrrp_vip carries the packets of VIP:port to the Service's ClusterIP
// (Datapath), and arp kube_vrrp_vip lets a VIP be answered for on its own
// interface only (Neighbors).
//
// # Why not dnat
//
// All NAT chains of a netfilter hook share one walk that ends at the first
// DNAT. A dnat from the VIP to the ClusterIP would therefore keep kube-proxy's
// DNAT from the ClusterIP to a pod from ever running. So the destination is
// written statelessly before conntrack has seen the packet, and conntrack and
// kube-proxy know an ordinary connection to a ClusterIP. What tells it from
// others on the way back is its conntrack zone: each VIP has one, of the
// original direction only, since replies are looked up in the default zone.
//
//	prerouting  -301   client -> VIP:80         zone 20000, client -> ClusterIP:80
//	            -200   conntrack
//	            -100   kube-proxy               client -> pod:8080
//	postrouting  100   undone by conntrack      ClusterIP:80 -> client
//	             200   original zone 20000      VIP:80 -> client
//
// Packets of the node's own processes take output and input instead. ICMP
// errors quote a packet of the connection, so in them two addresses are
// written: the outer one and the quoted one.
//
// # What is refused
//
// A TCP or UDP packet to any other port of such a VIP keeps its destination,
// and the input hook of the node that has the VIP refuses it if it opens a
// connection: nothing that listens on all addresses of the node answers there.
// Nor may another program's DNAT lead such a connection away before that: a
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
// comes. The NodePorts of the VIP's own Services are left to kube-proxy. Where
// it serves them on the primary addresses of the node only, they are refused.
//
// # IPv6
//
// An IPv6 VIP is guarded in the same way, with sets of its own. Its ports are not
// forwarded: all of them are refused but the NodePorts of its own Services. What is
// neither TCP nor UDP goes through: neighbor discovery, ping, VRRP.
//
// # Limits
//
// The rewrite looks at a packet alone. A connection that the node itself opens
// from a VIP, with a source port that the VIP forwards, gets no answers.
//
// An ICMP error that quotes a header with IP options is not translated on its
// way to the pod.
//
// A process of the node reaches a VIP only if the node has a route for the
// ClusterIP, as it has for any ClusterIP by its default route.
//
// Conntrack zones from 20000 to 29999 must be nobody else's, and packets of the
// VIPs must not be exempt from conntrack.
//
// # The tables in the kernel
//
// A table is never deleted and made anew: that, or another zone for a VIP that
// stays, resets its open connections. It outlives the process. Chains, rules
// and the definitions of sets are static; all that depends on the configuration
// is elements of the sets and maps. Every update of those is one netlink
// transaction with the difference between what the kernel has and what is
// wanted, so a VIP that did not change is not touched, and no packet ever meets
// half an update.
//
// The static part is a transaction of its own, which goes first, and only if
// what is there is not what is specified: at the first start, after an update
// of the program, or when somebody else changed it. Between the two, rules
// whose sets are empty do nothing, as if there were no table yet, and rules
// whose sets were there go on with their elements. Only a set that has to be
// defined anew is empty for that moment, in which packets to VIPs can be
// refused: a later version does well to leave the definitions as they are.
//
// What the kernel has is known from its generation counter: as long as it
// stands where our last transaction left it, nobody changed any table, and
// otherwise ours is read again. The static transaction is made for one
// generation, and the kernel refuses it if another program came first. A change
// of elements is not, so the counter is looked at afterwards: if another program
// came between, the table is read and put right again. Adoption after a
// restart, an ordinary update and the repair of what somebody else changed
// are thereby the same code.
//
// # Why an encoder of our own
//
// github.com/google/nftables reads the table, its chains, sets and elements,
// writes all elements, and removes the tables. It cannot express the static
// part: it knows no direction of a conntrack zone, forgets the pseudo-header of
// a write that no header checksum covers, as in IPv6, and stores no expression
// with a set, without which nft lists zones with their bytes swapped. As it
// takes no foreign messages into its transactions, the table, the chains and the
// sets are encoded together with the rules: they must change at once, and
// Supported lets the kernel check all of it and forget it, which the library
// cannot ask for. The encoder uses the library's socket.
//
// nft itself cannot say that a write into a quoted header mends a checksum: the
// table must not be restored from an nft listing.
package nft
