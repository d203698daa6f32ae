package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// setting is a setting of a virtual link in /proc/sys/net.
type setting struct {
	// family is ipv4 or ipv6.
	family, key string
	// value is the wanted value, empty for the value of the parent.
	value string
	// effective reports whether the link's own value and that of "all" together have the
	// needed effect.
	effective func(own, all string) bool
}

// settings returns the settings that a virtual link needs. Settings of other links are
// never written.
func (v VirtualLink) settings() []setting {
	s := []setting{
		// X		// filtering would drop packets to a VIP. The greater of own and all counts.
		{"ipv4", "rp_filter", "2", func(own, all string) bool { return max(own, all) != "1" }},
		// The parent answers for the node's own addresses. With 2 or more the kernel would
		// not answer for a VIP either.
		{"ipv4", "arp_ignore", "1", func(own, all string) bool { return max(own, all) == "1" || v.IPv6 && max(own, all) != "0" }},
		{"ipv4", "forwarding", "", nil},
	}
	if !v.IPv6 {
		return append(s, setting{family: "ipv6", key: "disable_ipv6", value: "1"})
	}
	return append(s,
		// A link-local address derived from the virtual MAC would be the same on every
		// node.
		setting{family: "ipv6", key: "addr_gen_mode", value: "1"},
		setting{family: "ipv6", key: "accept_ra", value: "0"},
		setting{family: "ipv6", key: "disable_ipv6", value: "0"},
		// The kernel's Neighbor Advertisements have the Router flag if forwarding is on.
		setting{family: "ipv6", key: "forwarding"},
	)
}

// applySettings writes the settings of v that differ. If /proc/sys cannot be written, a
// setting is no error as long as its present value has the needed effect.
func applySettings(v VirtualLink, parent string) error {
	var errs []error
	for _, s := range v.settings() {
		err := s.apply(v.Name(), parent)
		if s.family == "ipv6" && !v.IPv6 && errors.Is(err, fs.ErrNotExist) {
			continue // A kernel without IPv6 has nothing to disable.
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// apply writes s for a link, if it differs.
func (s setting) apply(link, parent string) error {
	want := s.value
	if want == "" {
		var err error
		if want, err = readSysctl(s.family, parent, s.key); err != nil {
			return err
		}
	}
	own, err := readSysctl(s.family, link, s.key)
	if err != nil {
		return err
	}
	var failed error
	if own != want {
		if failed = os.WriteFile(sysctl(s.family, link, s.key), []byte(want), 0); failed == nil {
			own = want
		}
	}
	if s.effective == nil {
		return failed // The error names the file.
	}
	all, err := readSysctl(s.family, "all", s.key)
	switch {
	case err != nil:
		return err
	case s.effective(own, all):
		return nil
	case failed != nil:
		return failed
	default:
		return fmt.Errorf("net.%s.conf.all.%s is %s and overrides the %s of %s", s.family, s.key, all, own, link)
	}
}

// sysctl returns the file of a setting.
func sysctl(family, link, key string) string {
	return "/proc/sys/net/" + family + "/conf/" + link + "/" + key
}

// readSysctl returns the value of a setting.
func readSysctl(family, link, key string) (string, error) {
	value, err := os.ReadFile(sysctl(family, link, key))
	return strings.TrimSpace(string(value)), err
}
