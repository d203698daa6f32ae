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

// VRIDRange is First to Last; the zero value is no VRID at all.
type VRIDRange struct{ First, Last uint8 }

// IsZero tells whether r holds no VRID.
func (r VRIDRange) IsZero() bool { return r == VRIDRange{} }

// String returns "first-last".
func (r VRIDRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// parsePeers reads addresses with commas between them; the result is sorted
// and has each once.
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

// parseVRIDs reads "first-last".
func parseVRIDs(s string) (VRIDRange, error) {
	first, last, found := strings.Cut(s, "-")
	from, err := strconv.ParseUint(first, 10, 8)
	to, err2 := strconv.ParseUint(last, 10, 8)
	if !found || err != nil || err2 != nil || from < 1 || from > to {
		return VRIDRange{}, errors.New("must be FIRST-LAST, such as 50-57, from 1 to 255")
	}
	return VRIDRange{uint8(from), uint8(to)}, nil
}

// ParsePassword reads the contents of --auth-pass-file: a password of 1 to 8
// bytes, with or without a newline after it. The error does not show it.
func ParsePassword(contents []byte) (vrrp.Password, error) {
	var p vrrp.Password
	contents = bytes.TrimSuffix(contents, []byte("\n"))
	switch {
	case len(contents) == 0:
		return p, errors.New("the password is empty")
	case len(contents) > len(p):
		return p, fmt.Errorf("the password has %d bytes, and VRRPv2 allows %d: write only the first %d, which are those that keepalived uses", len(contents), len(p), len(p))
	case bytes.ContainsFunc(contents, unicode.IsControl):
		// Nobody sees it, and the peers discard what has another password.
		return p, errors.New("the password has a control character, such as a second newline or the carriage return of a Windows file: remove it")
	}
	copy(p[:], contents)
	return p, nil
}
