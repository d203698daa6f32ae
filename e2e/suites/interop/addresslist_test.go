package interop

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

// partModes and otherModes are enough: the list has nothing to do with
// authentication and unicast. With version 2 a keepalived that discards our
// advertisements is never heard again: see below.
func partModes(peer) []mode { return []mode{modeV2, modeV3, modeV3IPv6} }

func otherModes(peer) []mode { return []mode{modeV3, modeV3IPv6} }

// Of another's list that is a part of ours we advertise just that, since
// keepalived takes nothing else for an advertisement: no second Master, while
// all our VIPs are served.
func TestNetnsInteropAddressListIsPartOfOurs(t *testing.T) {
	t.Parallel()
	each(t, partModes, func(t *testing.T, peer peer, m mode) {
		p := newPair(t, peer, m, true)
		p.vips = m.addresses(0, 3)
		part := p.vips[:2]
		p.configure(p.vips)
		theirs := p.startTheirs(150, false, part...)
		p.waitSent(p.theirs, time.Time{}, 1)
		p.waitHeldList(p.theirs, "theirs is alone", part)
		ours := p.startOurs(200)
		p.waitState(ours, "Backup")
		p.eventually("the status is to say whose list we follow", func() error {
			r, err := ours.Router(t.Context(), m.ipv6, vrid)
			if err == nil && !r.ListOf.IsValid() {
				err = errors.New("it says that of nobody")
			}
			return err
		})

		p.check(p.Cut(p.theirs.Index))
		p.waitHeld(p.ours, "theirs is silent")
		p.check(p.Restore(p.theirs.Index))
		p.waitBackup(theirs, 2)
		p.waitHeld(p.ours, "theirs is back, and understands us")
		at := time.Now()
		// As long as a takeover would need, and more.
		p.waitSent(p.ours, at, 6)
		p.checkMasters(at, p.ours)
		p.checkWire(part)
		p.checkNoComplaints(theirs)

		// A silent Backup is remembered for long, but not for longer than we run.
		p.check(theirs.Terminate())
		p.check(ours.Terminate())
		at = time.Now()
		p.startOurs(200)
		p.waitHeld(p.ours, "theirs has gone")
		if sent := from(p.ours, p.adverts(at)); !slices.Equal(sent[0].VRRP.Addresses, p.vips) {
			t.Errorf("without theirs our daemon has sent %s, want our own list", sent[0])
		}
	})
}

// keepalived discards advertisements with a list that is not its own, and becomes
// a second Master. That cannot be helped, but it is told.
func TestNetnsInteropAddressListDiffers(t *testing.T) {
	t.Parallel()
	each(t, otherModes, func(t *testing.T, peer peer, m mode) {
		p := newPair(t, peer, m, true)
		other := []int{}
		both := p.vips[:1]
		list := append(slices.Clone(both), m.addresses(7, 1)...)
		var ours *lab.Daemon
		if peer.name == keepalived.name {
			// As Master, keepalived 2.2.7 begins its interval anew with every
			// packet, also with those that it discards. With our interval it would
			// never send again, and nobody could tell of it.
			p.theirInterval = 30 * time.Millisecond
			ours = p.startOurs(200)
			p.waitMaster(p.ours, "ours is alone")
		}
		theirs := p.startTheirs(150, false, list...)
		p.waitSent(p.theirs, time.Time{}, 1)
		if peer.name == keepalived.name {
			other = []int{p.ours.Index}
		} else {
			// FRR accepts any list.
			ours = p.startOurs(200)
			p.waitState(ours, "Backup")
		}
		p.eventually("the holders", func() error {
			want := append([]int{p.theirs.Index}, other...)
			if got := p.Recorder.Holders(both[0]); !slices.Equal(got, want) {
				return fmt.Errorf("%s is held by %v, want %v", both[0], got, want)
			}
			return nil
		})
		p.waitAlarm(ours, "addressList", "")
		p.check(theirs.Terminate())
		p.waitHeld(p.ours, "theirs has gone")
		p.eventually("the alarm is to end", func() error {
			r, err := ours.Router(t.Context(), m.ipv6, vrid)
			if err == nil && len(r.Alarms) > 0 {
				err = fmt.Errorf("there are %v", r.Alarms)
			}
			return err
		})
		p.checkWire()
	})
}
