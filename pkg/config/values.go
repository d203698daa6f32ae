package config

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"kube-vrrp-vip/pkg/vrrp"
)

// VRIDRange is the range of VRIDs from First to Last, inclusive. The zero value is
// the empty range.
type VRIDRange struct{ First, Last uint8 }

// IsZero reports whether r is empty.
func (r VRIDRange) IsZero() bool { return r == VRIDRange{} }

// String returns "first-last".
func (r VRIDRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// parsePeers parses addresses separated by commas. It returns them sorted, without
// duplicates.
func parsePeers(s string) ([]netip.Addr, error) {
	var peers []netip.Addr
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		a, err := netip.ParseAddr(word)
		if a = a.Unmap(); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == broadcastIPv4 {
			return nil, fmt.Errorf("%q is not the address of a router: write addresses separated by commas", Shorten(word))
		}
		peers = append(peers, a)
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return slices.Compact(peers), nil
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ",")
}

// parseVRIDs parses "first-last".
func parseVRIDs(s string) (VRIDRange, error) {
	first, last, found := strings.Cut(s, "-")
	from, err := strconv.ParseUint(first, 10, 8)
	to, err2 := strconv.ParseUint(last, 10, 8)
	if !found || err != nil || err2 != nil || from < 1 || from > to {
		return VRIDRange{}, errors.New("must be FIRST-LAST, such as 50-57, from 1 to 255")
	}
	return VRIDRange{uint8(from), uint8(to)}, nil
}

// ParsePassword parses the contents of --auth-pass-file: a VRRPv2 password (RFC 2338
// section 5.3.10) of 1 to 8 bytes, with or without a newline after it. Its errors do
// not contain the password.
func ParsePassword(contents []byte) (vrrp.Password, error) {
	var p vrrp.Password
	contents = bytes.TrimSuffix(contents, []byte("\n"))
	switch {
	case len(contents) == 0:
		return p, errors.New("the password is empty")
	case len(contents) > len(p):
		return p, fmt.Errorf("the password has %d bytes, and VRRPv2 allows %d: write only the first %d, which are those that keepalived uses", len(contents), len(p), len(p))
	case bytes.ContainsFunc(contents, unicode.IsControl):
		// It is invisible, and peers discard advertisements with another password.
		return p, errors.New("the password has a control character, such as a second newline or the carriage return of a Windows file: remove it")
	}
	copy(p[:], contents)
	return p, nil
}
