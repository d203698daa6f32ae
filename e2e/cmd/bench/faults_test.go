package main

import (
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	began := time.Unix(1000, 0)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	var asked []time.Time
	for ms := 500; ms < 1200; ms += 100 {
		asked = append(asked, at(ms))
	}
	const dead, other = 2, 0
	answers := []lab.Packet{
		{At: at(501), Host: dead},                               // too early to count
		{At: at(1001), Host: other}, {At: at(1002), Host: dead}, // the first counts
		{At: at(1101), Host: dead}, {At: at(1102), Host: other},
	}
	if stale, wrong := judge(asked, answers, dead, began); stale != 1101*time.Millisecond || wrong != 1 {
		t.Errorf("stale %s, wrong %d; want 1.101s, 1", stale, wrong)
	}
	// Nobody answers the first question, and the second's answer is not taken for its.
	if stale, wrong := judge(asked, answers[3:], dead, began); stale != 1101*time.Millisecond || wrong != 1 {
		t.Errorf("with one answer: stale %s, wrong %d; want 1.101s, 1", stale, wrong)
	}
	if stale, wrong := judge(asked, nil, dead, began); stale != 0 || wrong != 0 {
		t.Errorf("without answers: stale %s, wrong %d", stale, wrong)
	}
}

// TestFaults checks that each row of the table can be told from the others.
func TestFaults(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range faults() {
		for _, name := range []string{f.name, f.healing} {
			if name != "" && names[name] {
				t.Errorf("two faults are called %q", name)
			}
			names[name] = true
		}
	}
}
