// Package vrrp is the Virtual Router Redundancy Protocol, version 2 (RFC 3768,
// and the authentication by a password of RFC 2338) and version 3 (RFC 9568),
// over IPv4 and IPv6, to the multicast group or to the peers one by one: the
// packet codec and the state machine of one virtual router.
//
// # Purity
//
// Nothing in this package reads a clock, opens a socket, starts a goroutine,
// takes a lock or writes a log line. Time is an argument, packets are byte
// slices, and what the state machine wants done is a value, Output. The same
// calls in the same order give the same outputs, which is what makes it
// possible to simulate a LAN of routers for hours in a moment.
//
// # The caller's loop
//
// At every wake-up, with now read once:
//
//	for each packet {                       // first everything that was received
//		h, payload, d := vrrp.ParseIP(packet)
//		if d != vrrp.DiscardNone { count(d); continue }
//		vrid, ok := vrrp.PeekVRID(payload)
//		if !ok { count(vrrp.DiscardPacketLength); continue }
//		r := routers[vrrp.FamilyOf(h.Source), vrid]
//		if r == nil { count(vrrp.DiscardVRID); continue }
//		form, d := vrrp.Parse(h, payload, &a)
//		if d != vrrp.DiscardNone { r.Discard(now, h, d); continue }
//		r.CountChecksum(form)
//		do(r, r.Receive(now, arrived, h, &a))
//	}
//	for each router r {                     // only then the timers
//		do(r, r.Stalled(now, late))     // since r.Deadline()
//		do(r, r.Expire(now))
//	}
//	sleep until the earliest r.Deadline()
//
// A timer that is looked at before the packets that came in the meantime makes
// a Backup take over from a Master whose advertisement lies in the socket. The
// order also keeps the packets of foreign virtual routers from costing more
// than a look at their VRID. Stalled may be called whenever the loop was late:
// how late is too late is for the Router to say.
//
// # Validation
//
// The reasons to discard a packet are looked for in the order of the Discard
// constants, and the first is counted: the IP header by ParseIP, then the VRID,
// then by Parse what is known without the virtual router, and by Receive what
// its Config says. Only the destination and the source are judged as a whole
// before the message, because Discard looks at them again. So a version or
// an authentication that others have and we do not is counted only if the
// checksum is right.
//
// # Invariants
//
//   - Outside Initialize exactly one timer runs: Master_Down_Timer in Backup,
//     Adver_Timer in Master.
//   - No packet makes the codec or a Router panic or loop, nor, unless it
//     changes the state, allocate. Only a Config that Validate rejects panics.
//   - Silence is evidence against a Master only while we were listening.
//   - A packet that is strange but unmistakable is used and counted, for two
//     Masters are worse than a mismatch. The exceptions are those that RFC 3768
//     demands for version 2.
//
// # Beyond the RFC
//
// All of it is compatible on the wire:
//
//   - With Config.Unicast advertisements go to peers and come from peers, as
//     with keepalived. Their time to live is 255 all the same.
//   - A source that no router can have is discarded, as is a fragment.
//   - Over IPv4 every form of version 3's checksum is accepted, and the form to
//     send is a choice: see ChecksumForm.
//   - Config.TakeoverDelay keeps Backups of the same priority apart, and
//     Config.DownAdverts is how many losses in a row a takeover needs.
//   - Config.PreemptDelay leaves a Master of lower priority alone for some time,
//     as keepalived's preempt_delay does.
//   - Config.AdvertsPerInterval sends more often than others are told, so that
//     as many times more losses are needed.
//   - A Master with part of our addresses is followed: we advertise its list,
//     for a day after it was last heard, since keepalived 2.2.7 discards another
//     list than its own. See Status.AdvertisingListOf.
//   - Addresses that do not fit into an advertisement are not advertised.
//   - What an operator must look at is an Alarm, and changes nothing.
//   - Monitor tell who else uses a VRID.
//   - An advertisement may go out up to a sixteenth of its interval early: see
//     Router.Coalesce.
//   - An interval is learned only up to ten times our own, or 1 s, and a
//     resignation only ever shortens Master_Down_Timer: neither can be used to
//     keep the addresses down.
//   - A Master answers one of lower priority at most once per interval, and a
//     resignation at most twice per shortest Skew_Time.
//   - A Master that yields sends one last advertisement, so that the winner
//     knows to announce its addresses again.
//   - A Master that was heard before Startup is waited for by its own interval:
//     see Router.Startup.
//   - A Router whose loop stood still does not trust its timers: see
//     Router.Stalled.
//
// # Terminology
//
// RFC 9568 renamed Master to Active. Operators, keepalived and FRR say Master,
// and so does this project. All other names are the RFC's.
package vrrp
