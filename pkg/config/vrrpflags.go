package config

import (
	"errors"
	"flag"
	"fmt"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// minDownAdverts is the minimum of --down-adverts. The vrrp package allows 1, but
// then the loss of one advertisement would cause a takeover.
const minDownAdverts = 2

// The accepted values of flags, for their usage and errors.
var (
	validPreemptDelay       = fmt.Sprintf("0 to %ds", vrrp.MaxPreemptDelay/time.Second)
	validDownAdverts        = fmt.Sprintf("%d to %d", minDownAdverts, vrrp.MaxDownAdverts)
	validAdvertsPerInterval = fmt.Sprintf("1 to %d", vrrp.MaxAdvertsPerInterval)
)

// checksums maps the values of --vrrp-checksum to the form of the checksum in each
// RFC.
var checksums = map[string]vrrp.ChecksumForm{
	"rfc5798": vrrp.ChecksumPseudoHeader,
	"rfc9568": vrrp.ChecksumMessage,
}

// vrrpFlags are the flags that set vrrp.Settings.
type vrrpFlags struct {
	flags    *flag.FlagSet
	settings *vrrp.Settings
	// The values of flags that finish converts.
	version  *int
	checksum *string
}

// newVRRPFlags defines the flags in fs. Parsing fs sets s, except for the settings
// that finish sets.
func newVRRPFlags(fs *flag.FlagSet, s *vrrp.Settings) vrrpFlags {
	f := vrrpFlags{flags: fs, settings: s}
	f.version = fs.Int("vrrp-version", int(vrrp.DefaultVersion), "VRRP version, 2 or 3")
	fs.BoolVar(&s.Unicast, "use-unicast", false, "send advertisements to the other nodes by unicast")
	fs.DurationVar(&s.AdvertisementInterval, "advertisement-interval", 0, fmt.Sprintf("time between advertisements (default %v, %v with --vrrp-version=2)", vrrp.V3.DefaultInterval(), vrrp.V2.DefaultInterval()))
	fs.BoolVar(&s.Preempt, "preempt", false, "take over from a master of lower priority")
	fs.DurationVar(&s.PreemptDelay, "preempt-delay", 0, "time to wait before taking over from a master of lower priority, "+validPreemptDelay)
	fs.IntVar(&s.DownAdverts, "down-adverts", vrrp.DefaultDownAdverts, "consecutive advertisements that must be missed before a takeover, "+validDownAdverts)
	fs.IntVar(&s.AdvertsPerInterval, "adverts-per-interval", vrrp.DefaultAdvertsPerInterval, "advertisements sent in an interval, "+validAdvertsPerInterval)
	f.checksum = fs.String("vrrp-checksum", "rfc5798", "checksum of VRRPv3 over IPv4, rfc5798 or rfc9568")
	return f
}

// finish checks and completes the settings after all flags are parsed. Its error
// names every invalid flag, its value, and the accepted values.
func (f vrrpFlags) finish() error {
	var errs []error
	reject := func(flag string, value any, remedy string) {
		errs = append(errs, fmt.Errorf("--%s=%v: %s", flag, value, remedy))
	}
	s := f.settings
	switch *f.version {
	case int(vrrp.V2), int(vrrp.V3):
		s.Version = vrrp.Version(*f.version)
	default:
		reject("vrrp-version", *f.version, "must be 2 or 3")
	}
	if !isSet(f.flags, "advertisement-interval") {
		s.AdvertisementInterval = s.Version.DefaultInterval()
	}
	// Without a version there are no bounds.
	if d := s.AdvertisementInterval; s.Version != 0 && !s.Version.ValidInterval(d) {
		remedy := "must be " + s.Version.Intervals()
		if s.Version == vrrp.V2 {
			remedy += " with --vrrp-version=2"
		}
		reject("advertisement-interval", d, remedy)
	}
	switch d := s.PreemptDelay; {
	case d < 0 || d > vrrp.MaxPreemptDelay:
		reject("preempt-delay", d, "must be "+validPreemptDelay)
	case d > 0 && !s.Preempt:
		reject("preempt-delay", d, "requires --preempt")
	}
	if n := s.DownAdverts; n < minDownAdverts || n > vrrp.MaxDownAdverts {
		reject("down-adverts", n, "must be "+validDownAdverts)
	}
	switch n := s.AdvertsPerInterval; {
	case n < 1 || n > vrrp.MaxAdvertsPerInterval:
		reject("adverts-per-interval", n, "must be "+validAdvertsPerInterval)
	case n > 1 && s.Version == vrrp.V2:
		reject("adverts-per-interval", n, "requires --vrrp-version=3")
	}
	form, known := checksums[*f.checksum]
	switch s.Checksum = form; {
	case !known:
		reject("vrrp-checksum", *f.checksum, "must be rfc5798 or rfc9568")
	case form == vrrp.ChecksumMessage && s.Version == vrrp.V2:
		reject("vrrp-checksum", *f.checksum, "requires --vrrp-version=3")
	}
	return errors.Join(errs...)
}
