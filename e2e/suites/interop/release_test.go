package interop

import (
	"fmt"
	"testing"
	"time"
)

// gracePeriod is terminationGracePeriodSeconds of manifests/daemonset.yaml.
const gracePeriod = 15 * time.Second

// SIGTERM ends our daemon well within the pod's grace period. It gives its VIPs
// away before; with --release-vips=false it says nothing and leaves them to their
// lease.
func TestNetnsRelease(t *testing.T) {
	t.Parallel()
	for _, release := range []bool{true, false} {
		t.Run(fmt.Sprintf("release=%v", release), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, keepalived, modeV3, true)
			ours := p.startOurs(200, fmt.Sprintf("--release-vips=%v", release))
			p.waitMaster(p.ours, "alone")
			at := time.Now()
			p.check(ours.Terminate())
			exited := time.Since(at)
			stayed := len(p.Recorder.Holders(p.vips[0])) == 1
			for _, vip := range p.vips {
				p.eventually(vip.String()+" is to be gone", func() error {
					if got := p.Recorder.Holders(vip); len(got) > 0 {
						return fmt.Errorf("it is held by %v", got)
					}
					return nil
				})
			}
			gone := time.Since(at)
			t.Logf("measured: sigterm_to_exit_release_%v=%v target=1s", release, exited.Round(time.Millisecond))
			target := 100 * time.Millisecond
			if !release {
				target = 3 * time.Second
			}
			t.Logf("measured: sigterm_to_address_gone_release_%v=%v target=%v", release, gone.Round(time.Millisecond), target)
			if exited > gracePeriod || gone > max(5*target, 5*time.Second) {
				t.Errorf("ended after %v, address gone after %v", exited, gone)
			}
			if stayed == release {
				t.Errorf("the address is there when the daemon has ended: %t, want %t", stayed, !release)
			}
			resigned := 0
			for _, a := range p.adverts(at) {
				if a.VRRP.Priority == 0 {
					resigned++
				}
			}
			if want := map[bool]int{true: 3, false: 0}[release]; resigned != want {
				t.Errorf("%d advertisements of priority 0, want %d", resigned, want)
			}
		})
	}
}
