package vrrp

import (
	"testing"
	"time"
)

// Tests of the changes from RFC 5798 to RFC 9568 and its errata. Two more are
// TestRowM5LowerPriorityIsAnswered (the answer to a lower priority) and
// TestRowB4LearnsInterval (Skew_Time of a learned interval).

// RFC 9568 section 5.2.8: the checksum of an IPv4 advertisement covers the
// message alone. keepalived and FRR include the pseudo-header; both are accepted.
func TestChangeIPv4ChecksumBothForms(t *testing.T) {
	t.Parallel()
	for payload, form := range map[string]ChecksumForm{
		"3135c802000a81eec0000235c0000299": ChecksumMessage,
		base:                               ChecksumPseudoHeader,
	} {
		b := backup(t, vectorConfig)
		out, d := b.deliver(ipv4Packet(octets(payload)))
		b.checkOutput(out)
		if d != DiscardNone {
			t.Errorf("%v: discarded %v", form, d)
		}
		if got := b.r.Status().Counters.Checksums; len(got) != 1 || got[form.String()] != 1 {
			t.Errorf("counted %v, want one %v", got, form)
		}
	}
}

// RFC 9568 section 6.1 and erratum 8298: another owner is only logged.
// Its advertisement is used like any other.
func TestRFC9568AddressOwnerIsUsedAndCounted(t *testing.T) {
	t.Parallel()
	b := backup(t)
	b.pass(100 * ms)
	b.checkOutput(b.receive(9, PriorityOwner))
	b.checkDeadline(360937500)
	b = master(t)
	b.checkOutput(b.receive(1, PriorityOwner), sends(100), transition(Master, Backup, ReasonHigherPriority))
	if got := b.r.Status().Counters.Warnings["addressOwner"]; got != 1 {
		t.Errorf("%d warnings, want 1", got)
	}
}

// RFC 9568 section 5.2.5 and erratum 8299: a count of 0 is ignored.
func TestRFC9568CountZeroIsIgnored(t *testing.T) {
	t.Parallel()
	b := backup(t, vectorConfig)
	b.pass(100 * ms)
	out, d := b.deliver(ipv4Packet(octets("3135c800000a642b")))
	b.checkOutput(out)
	b.checkDeadline(260937500)
	if d != DiscardAddressList {
		t.Errorf("discarded %v, want %v", d, DiscardAddressList)
	}
}

// RFC 9568 section 5.2.7 and erratum 8301: an interval is 1 to 4095
// centiseconds. We never send 0, and discard it.
func TestChangeIntervalIsNeverZero(t *testing.T) {
	t.Parallel()
	for cs := 1; cs <= 4095; cs++ {
		sent := Advertisement{Version: V3, VRID: 50, Priority: 100, Interval: time.Duration(cs) * centisecond, Addresses: testConfig().Addresses}
		var got Advertisement
		if _, d := Parse(groupHeader("192.0.2.9"), sent.Append(nil, addr("192.0.2.9"), GroupIPv4), &got); d != DiscardNone || got.Interval != sent.Interval {
			t.Fatalf("%d cs: discarded %v, read as %v", cs, d, got.Interval)
		}
	}
	b := backup(t, vectorConfig)
	out, d := b.deliver(ipv4Packet(octets("3135c8020000df5bc0000235c0000299")))
	b.checkOutput(out)
	if d != DiscardAdvertisementInterval {
		t.Errorf("discarded %v, want %v", d, DiscardAdvertisementInterval)
	}
}

// RFC 9568 section 8.4: a router that speaks both versions at once is for
// migrations between them only. This one speaks one.
func TestRFC9568NoInteroperationMode(t *testing.T) {
	t.Parallel()
	b := master(t, vectorConfig)
	out, d := b.deliver(ipv4Packet(octets("2135c802000191f7c0000235c00002990000000000000000")))
	b.checkOutput(out)
	b.checkState(Master)
	if d != DiscardVersion {
		t.Errorf("discarded %v, want %v", d, DiscardVersion)
	}
}
