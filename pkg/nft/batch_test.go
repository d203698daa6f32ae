package nft

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// small is a table with one of everything.
var small = &spec{
	family: unix.NFPROTO_INET,
	name:   "small",
	sets:   []set{{name: "a", key: ipv4Address}, {name: "m", key: ipv4Address, value: ipv4Address}},
	chains: []chain{
		{name: "sub", rules: []rule{{"count", []expr{counter()}}}},
		{name: "base", hook: &hook{"filter", unix.NF_INET_LOCAL_IN, 0}, rules: []rule{{"sub", []expr{jump("sub")}}}},
	},
}

// smallContents are elements of small.
func smallContents() contents {
	return contents{"a": {"\x01\x01\x01\x01": ""}, "m": {"\x01\x01\x01\x01": "\x02\x02\x02\x02"}}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	rules := []string{"add rule to sub", "add rule to base"}
	for _, test := range []struct {
		name string
		// change alters what the kernel has, from small with smallContents.
		change func(have *view)
		want   []string
	}{
		{"nothing", func(*view) {}, nil},
		{"no table", func(have *view) { *have = view{} }, []string{
			"add table", "add set a", "add set m", "add chain sub", "add chain base", "add rule to sub", "add rule to base",
			"add elements to a", "add elements to m",
		}},
		{"element missing", func(have *view) { delete(have.elements["a"], "\x01\x01\x01\x01") }, []string{"add elements to a"}},
		{"element too many", func(have *view) { have.elements["a"]["\x09\x09\x09\x09"] = "" }, []string{"delete elements of a"}},
		{"another value", func(have *view) { have.elements["m"]["\x01\x01\x01\x01"] = "\x09\x09\x09\x09" }, []string{
			"delete elements of m", "add elements to m",
		}},
		{"rule missing", func(have *view) { have.rules["sub"] = nil }, append([]string{"add table", "delete all rules"}, rules...)},
		{"rule too many", func(have *view) { have.rules["sub"] = append(have.rules["sub"], "") }, append([]string{"add table", "delete all rules"}, rules...)},
		{"rule of another version", func(have *view) {
			other := rule{"count", []expr{counter(), counter()}}
			have.rules["sub"] = []string{string(other.userdata())}
		}, append([]string{"add table", "delete all rules"}, rules...)},
		{"set of another version", func(have *view) { have.sets["m"] = "another" }, append([]string{
			"add table", "delete all rules", "delete set m", "add set m",
		}, append(rules, "add elements to m")...)},
		{"set too many", func(have *view) { have.sets["z"] = set{name: "z", key: ipv4Address}.describe() }, append([]string{
			"add table", "delete all rules", "delete set z",
		}, rules...)},
		{"chain of another version", func(have *view) { have.chains["base"] = "another" }, append([]string{
			"add table", "delete all rules", "delete chain base", "add chain base",
		}, rules...)},
		{"chain too many", func(have *view) { have.chains["z"] = "no hook" }, append([]string{
			"add table", "delete all rules", "delete chain z",
		}, rules...)},
		{"switched off", func(have *view) { have.flags = unix.NFT_TABLE_F_DORMANT }, append([]string{"add table", "delete all rules"}, rules...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			have := (&view{}).written(small, smallContents())
			test.change(have)
			var got []string
			for _, m := range small.changes(have, smallContents()) {
				got = append(got, m.what)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestChangesKeepViews lets nobody's knowledge of the kernel be altered by
// planning a transaction, which may fail.
func TestChangesKeepViews(t *testing.T) {
	t.Parallel()
	have := (&view{}).written(small, smallContents())
	have.sets["m"] = "another"
	before := maps.Clone(have.elements)
	small.changes(have, smallContents())
	if diff := cmp.Diff(before, have.elements); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

// TestChangesChunks keeps a list of elements below what an attribute holds.
func TestChangesChunks(t *testing.T) {
	t.Parallel()
	want := contents{"a": {}, "m": {}}
	for i := range 10_000 {
		want["m"][fmt.Sprintf("%04d", i)] = "\x01\x01\x01\x01"
	}
	messages := small.changes((&view{}).written(small, nil), want)
	if len(messages) != 20 {
		t.Errorf("%d messages, want 20", len(messages))
	}
	for _, m := range messages {
		if len(m.data) > 60_000 {
			t.Errorf("%s: %d bytes", m.what, len(m.data))
		}
	}
}

func TestRuleUserdata(t *testing.T) {
	t.Parallel()
	r := rule{"text", []expr{counter()}}
	if got := string(r.userdata()); !strings.HasPrefix(got, "\x00\x05text\x00\x80\x08") || len(got) != 7+2+8 {
		t.Errorf("user data %q", got)
	}
	other := rule{"text", []expr{drop()}}
	if string(r.userdata()) == string(other.userdata()) {
		t.Error("two rules of one comment have the same user data")
	}
}
