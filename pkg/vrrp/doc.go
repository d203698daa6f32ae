// Package vrrp implements the Virtual Router Redundancy Protocol, version 2 (RFC
// 3768, and the authentication by a password of RFC 2338) and version 3 (RFC 9568),
// over IPv4 and IPv6, by multicast or by unicast to each peer. It has the packet
// codec and the state machine of one virtual router.
//
// # Purity
//
// Nothing in this package reads a clock, opens a socket, starts a goroutine, takes a
// lock or writes a log line. Time is an argument, packets are byte slices, and the
// actions of the state machine are a value, Output. The same calls in the same order
// return the same Outputs, so that a test simulates hours of a LAN in a moment.
//
// # States
//
// The states and transitions of RFC 9568 section 6.4, each with its Reason. Those
// marked * are ours:
//
//	               +------------+
//	               | Initialize |<----------------+
//	               +------------+                 |
//	       startup  |          ^                  |
//	                |          |  shutdown        |
//	                v          |                  |
//	               +------------+                 |
//	               |   Backup   |                 |  shutdown
//	               +------------+                 |
//	    masterDown  |          ^                  |
//	masterResigned  |          |  higherPriority  |
//	     preempted  |          |  stalled*        |
//	                v          |                  |
//	               +------------+                 |
//	               |   Master   |-----------------+
//	               +------------+
//
// Master_Down_Timer runs in Backup. It is restarted by an advertisement of the
// Master that is not preempted, shortened to Skew_Time by a resignation, and
// restarted by a stall*. When it fires, the Backup becomes Master; the Reason
// depends on the advertisement before.
//
// Adver_Timer runs in Master. When it fires, the Master sends an advertisement. It
// also sends one when it becomes Master, to answer a resignation, to answer a Master
// of lower priority (version 3), after a stall*, after a change of the
// configuration* and, as the last, when it yields to a higher priority*. On shutdown
// it sends one of priority 0.
//
// # The caller's loop
//
// The package example is the loop, compiled and checked. Three rules matter:
//
//   - Process all received packets BEFORE the timers. Otherwise a Backup takes over
//     from a Master whose advertisement waits in the socket.
//   - Look up the virtual router by PeekVRID BEFORE Parse, so that the packets of
//     other virtual routers cost little.
//   - Call Stalled BEFORE Expire whenever the loop is late. The Router decides which
//     lateness is too much.
//
// # Validation
//
// A packet is checked in the order of the Discard constants, and the first failure is
// counted: the IP header by ParseIP, then the VRID, then by Parse everything that does
// not depend on the virtual router, and by Receive everything that depends on its
// Config. Only the checks of destination and source come first as a whole, because
// Discard repeats them. So a version or an authentication that differs from ours is
// counted only if the checksum is right.
//
// # Invariants
//
//   - Outside Initialize exactly one timer runs: Master_Down_Timer in Backup,
//     Adver_Timer in Master.
//   - No packet makes the codec or a Router panic or loop, nor allocate unless it
//     changes the state. Only a Config that Validate rejects panics.
//   - Silence is evidence against a Master only while the Router could listen.
//   - An unusual but unambiguous packet is used and counted, because two Masters are
//     worse than a mismatch. The exceptions are those that RFC 3768 demands for
//     version 2.
//
// # Beyond the RFC
//
// All of these are compatible on the wire:
//
//   - With Config.Unicast advertisements go to peers and come from peers, as in
//     keepalived. Their time to live is 255 all the same.
//   - A packet from a source that no router can have is discarded, and so is a
//     fragment.
//   - Over IPv4 every form of version 3's checksum is accepted, and the form to send
//     is configurable: see ChecksumForm.
//   - Config.TakeoverDelay separates Backups of the same priority, and
//     Config.DownAdverts is the number of consecutive losses before a takeover.
//   - Config.PreemptDelay lets a Master of lower priority stay for some time, as
//     keepalived's preempt_delay does.
//   - Config.AdvertsPerInterval sends more often than the advertised interval, so
//     that as many times more losses lead to a takeover.
//   - If another Master advertises a subset of our addresses, we adopt its list, and
//     advertise it for a day after it was last heard, because keepalived 2.2.7
//     discards a list that is not its own. See Status.AdvertisingListOf.
//   - Addresses that do not fit into an advertisement are not advertised.
//   - An Alarm reports a condition that an operator must look at, and changes
//     nothing.
//   - A Monitor shows which other routers use a VRID.
//   - An advertisement may be sent up to a sixteenth of its interval early: see
//     Router.Coalesce.
//   - An interval is learned only up to ten times our own, or 1 s, and a resignation
//     never lengthens Master_Down_Timer, so neither can keep the addresses down.
//   - A Master answers one of lower priority at most once per interval, and
//     resignations at most twice per shortest Skew_Time.
//   - A Master that yields sends one last advertisement, so that the winner announces
//     its addresses again.
//   - Startup waits for a Master observed before by that Master's own interval: see
//     Router.Startup.
//   - A Router whose event loop stalled does not trust its timers: see
//     Router.Stalled.
//
// # Terminology
//
// RFC 9568 renamed Master to Active. Operators, keepalived and FRR say Master,
// and so does this project. All other names are the RFC's.
package vrrp
