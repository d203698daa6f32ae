package scenariotest

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func echo(name string, args []string) ([]string, error) {
	switch name {
	case "say":
		return []string{strings.Join(args, " ")}, nil
	case "quiet":
		return nil, nil
	default:
		return nil, errors.New("unknown command")
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	const fresh = "# Why.\n\nquiet\n\n# Then.\nsay one  two\nquiet\nsay three\n\nsay four\n"
	const replayed = "# Why.\n\nquiet\n\n# Then.\nsay one  two\nquiet\nsay three\n----\none two\nthree\n\nsay four\n----\nfour\n"
	for name, text := range map[string]string{
		"written for the first time": fresh,
		"as it was":                  replayed,
		"changed":                    strings.ReplaceAll(replayed, "three\n\n", "thirty\n# No comment.\nsay nothing\n\n"),
		"without output any more":    strings.ReplaceAll(replayed, "quiet\n\n", "quiet\n----\nloud\n\n"),
	} {
		if got, err := replay(text, echo); got != replayed || err != nil {
			t.Errorf("%s: replayed as %q (%v), want %q", name, got, err, replayed)
		}
	}
	for text, want := range map[string]string{
		"say one\n":                "begins without a comment",
		"# Why.\n\nsay one\nsya\n": "line 4: sya: unknown command",
	} {
		if _, err := replay(text, echo); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	const want = "line 3 differs\n  a\n  b\n- c\n- d\n+ e"
	if got := difference("a\nb\nc\nd", "a\nb\ne"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	var priority int
	var vips []netip.Addr
	set := func(args ...string) error {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.IntVar(&priority, "priority", 100, "")
		AddressesVar(flags, &vips, "vips")
		return Options(flags, args)
	}
	if err := set("priority", "200"); priority != 200 || err != nil {
		t.Errorf("priority %d (%v), want 200", priority, err)
	}
	if err := set("vips", "192.0.2.1,2001:db8::1"); fmt.Sprint(vips) != "[192.0.2.1 2001:db8::1]" || err != nil {
		t.Errorf("VIPs %v (%v), want both", vips, err)
	}
	for _, args := range [][]string{{"priority"}, {"priority", "high"}, {"weight", "1"}, {"vips", "192.0.2.1,"}} {
		if set(args...) == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
