package soak

import (
	"fmt"
	"slices"
	"time"

	"kube-vrrp-vip/e2e/internal/probe"
)

// Doubled returns the longest time in which two hosts or more answered for an address
// without a pause, with all of them; an empty Span if there is none.
func Doubled(spans []probe.Span) probe.Span {
	var longest, d probe.Span
	for _, s := range spans {
		if len(s.Holders) < 2 {
			d = probe.Span{}
			continue
		}
		if d.Holders == nil {
			d.From = s.From
		}
		d.To = s.To
		d.Holders = slices.Compact(slices.Sorted(slices.Values(slices.Concat(d.Holders, s.Holders))))
		if d.Duration() > longest.Duration() {
			longest = d
		}
	}
	return longest
}

// One returns an error unless one host, always the same, has answered for an address
// in all of these spans and they are at least that long.
func One(spans []probe.Span, atLeast time.Duration) error {
	if len(spans) == 0 {
		return fmt.Errorf("nobody was asked")
	}
	if len(spans) > 1 || len(spans[0].Holders) != 1 {
		return fmt.Errorf("held by %v", spans[len(spans)-1].Holders)
	}
	if d := spans[0].Duration(); d < atLeast {
		return fmt.Errorf("asked for %s only", round(d))
	}
	return nil
}
