// Package conflict decides whether another host has an address of a virtual
// router. It is address conflict detection (RFC 5227) for IPv4 and duplicate
// address detection (RFC 4862 section 5.4) for IPv6, for addresses that
// another host is expected to have had a moment ago.
//
// A Detector belongs to one virtual router. Its state depends only on the calls
// made to it: it opens no socket and reads no clock. The caller passes events in
// (a configuration, a received advertisement, a received ARP or Neighbor
// Discovery message, a deadline) and carries out the Output.
//
// Each VIP is probed once, before this node claims it for the first time:
//
//	Configure
//	    |
//	    v   Count probes, Interval apart
//	 Unknown ------ no reply, or a member's ------> Available
//	    |                                              ^
//	    | another host's reply, and no advertisement   |
//	    | of that host for Master_Down_Interval        |
//	    v                                              |
//	  InUse ------- probed again every 5 s ------------+
//	                and no reply
//
// A member is a host that advertises the virtual router. Probes of other hosts
// are no claim, against RFC 5227 section 2.1.1: at the start of a cluster all
// nodes probe at the same time.
//
// While this node is Master, from Take to Yield, the Available VIPs are watched
// together. A claim is a message by which a host that is neither this node nor
// the virtual router says that it has a VIP. In the first 6 s after Take, and
// after another Master was heard, a claim only asks for an announcement.
//
//	Quiet ------ claim, defended ------> Suspected (probed after 1 s)
//	  ^                                   |     |
//	  |     no claim for 30 s, or a       |     | claim, 1 s or more after
//	  |     Master was heard              |     | the first
//	  +-----------------------------------+     v
//	  +-------- no claim for 30 s -------- Duplicate (alarm; probed and
//	                                       defended every 10 s)
//
// A VIP is never given up (RFC 5227 section 2.4 (c)): the clients of the cluster
// know it. The reasons are in docs/adr/0018-duplicate-addresses.md.
package conflict
