package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A daemon that cannot understand who is Master already stays away, and says why.
func TestNetnsInteropStaysAway(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ours, theirs mode
		want         string
	}{
		"version 2":          {modeV3, modeV2, "VRRPv2"},
		"version 3":          {modeV2, modeV3, "VRRPv3"},
		"password":           {modeV2, modePASS, "authentication type 1"},
		"no password":        {modePASS, modeV2, "authentication type 0"},
		"different password": {mode{version: 2, password: "another"}, modePASS, "another password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, keepalived, tt.theirs, true)
			theirs := p.startTheirs(150, false)
			p.waitMaster(p.theirs, "theirs is alone")
			p.mode = tt.ours
			ours := p.startOurs(200)
			want := p.theirs.IPv4.String() + " uses it with " + tt.want
			p.eventually("our daemon is to stay away", func() error {
				r, err := ours.Router(t.Context(), false, vrid)
				if err == nil && (r.State != "Initialize" || r.Reason != "vridConflict" || !strings.HasPrefix(r.Message, want)) {
					err = fmt.Errorf("it is %s, %q, %q, want vridConflict, %q", r.State, r.Reason, r.Message, want)
				}
				return err
			})
			p.waitHeld(p.theirs, "ours stays away")
			if sent := from(p.ours, p.Recorder.Advertisements(time.Time{}, false, vrid)); len(sent) > 0 {
				t.Errorf("our daemon has sent %s", sent[0])
			}
			p.check(theirs.Terminate())
			p.waitHeld(p.ours, "theirs has gone")
			p.checkWire()
		})
	}
}

// keepalived 2.2.7 sends unicast over IPv6 with a hop limit of 64 unless it is told
// not to, and we must not take that from afar. Our daemon says so.
func TestNetnsInteropHopLimit(t *testing.T) {
	t.Parallel()
	p := newPair(t, keepalived, modeUnicast6, true)
	p.theirTTL = 0
	theirs := p.startTheirs(150, false)
	p.waitMaster(p.theirs, "theirs is alone")
	ours := p.startOurs(200)
	p.waitAlarm(ours, "incompatiblePeer", "ipTtl")
	p.waitState(ours, "Initialize") // vipInUse: what it cannot hear as a Master has the addresses.
	p.check(theirs.Terminate())
	p.waitHeld(p.ours, "theirs has gone")
	p.checkWire()
}
