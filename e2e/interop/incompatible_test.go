package interop

import (
	"fmt"
	"strings"
	"testing"
)

// What another implementation sends and we must discard cannot make us yield. Our
// daemon says why. Before it has claimed anything, a router of another version is
// reason enough to stay away.
func TestNetnsInteropIncompatible(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ours, theirs  mode
		alarm, detail string // the alarm, or none
	}{
		"version 2":     {ours: modeV3, theirs: modeV2},
		"version 3":     {ours: modeV2, theirs: modeV3},
		"no password":   {ours: modeV2, theirs: modePASS, alarm: "incompatiblePeer", detail: "authTypeMismatch"},
		"not asked for": {ours: modePASS, theirs: modeV2, alarm: "incompatiblePeer", detail: "authTypeMismatch"},
		"password":      {ours: mode{version: 2, password: "another"}, theirs: modePASS, alarm: "incompatiblePeer", detail: "authFailure"},
		// keepalived 2.2.7 sends with 64 unless it is told not to.
		"hop limit": {ours: modeUnicast6, theirs: modeUnicast6, alarm: "incompatiblePeer", detail: "ipTtl"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, keepalived, tt.theirs, true)
			p.theirTTL = 0
			theirs := p.startTheirs(150, false)
			p.master(p.theirs, "theirs is alone")
			p.mode = tt.ours
			ours := p.startOurs(200)
			if tt.alarm != "" {
				p.alarm(ours, tt.alarm, tt.detail)
				p.state(ours, "Master")
			} else {
				p.eventually("our daemon is to stay away", func() error {
					r, err := ours.Router(t.Context(), p.mode.ipv6, vrid)
					if err == nil && (r.State != "Initialize" || !strings.HasPrefix(r.Reason, "vridConflict")) {
						err = fmt.Errorf("it is %s, %s", r.State, r.Reason)
					}
					return err
				})
				p.held(p.theirs, "ours stays away")
			}
			p.check(theirs.Terminate())
			p.held(p.ours, "theirs has gone")
			p.wire()
		})
	}
}
