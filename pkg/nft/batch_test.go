package nft

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// small is a table with one of everything.
var small = &Spec{
	Family: nftables.TableFamilyINet,
	Name:   "small",
	Sets:   []Set{{Name: "a", Key: IPv4Addr}, {Name: "m", Key: IPv4Addr, Value: IPv4Addr}},
	Chains: []Chain{
		{Name: "sub", Rules: []Rule{{"count", []Expr{Counter()}}}},
		{Name: "base", Hook: &Hook{"filter", unix.NF_INET_LOCAL_IN, 0}, Rules: []Rule{{"sub", []Expr{Jump("sub")}}}},
	},
}

// smallContents are elements of small.
func smallContents() Elements {
	return Elements{"a": {"\x01\x01\x01\x01": ""}, "m": {"\x01\x01\x01\x01": "\x02\x02\x02\x02"}}
}

// smallSnapshot is small in the kernel, with smallContents.
func smallSnapshot() *snapshot {
	v := &snapshot{
		generation: 7,
		elements:   smallContents(),
		exists:     true,
		chains:     make(map[string]string),
		sets:       make(map[string]nftables.Set),
		rules:      make(map[string][]string),
	}
	for _, set := range small.Sets {
		v.sets[set.Name] = set.definition()
	}
	for _, chain := range small.Chains {
		v.chains[chain.Name] = chain.describe()
		v.rules[chain.Name] = userdata(chain.Rules)
	}
	return v
}

func TestStatic(t *testing.T) {
	t.Parallel()
	rules := []string{"add rule to sub", "add rule to base"}
	for _, test := range []struct {
		name string
		// change alters what the kernel has, from smallSnapshot.
		change func(have *snapshot)
		want   []string
	}{
		{"nothing", func(*snapshot) {}, nil},
		{"elements", func(have *snapshot) { have.elements = Elements{"a": {"\x09\x09\x09\x09": ""}} }, nil},
		{"no table", func(have *snapshot) { *have = snapshot{} }, append([]string{
			"add table", "add set a", "add set m", "add chain sub", "add chain base",
		}, rules...)},
		{"rule missing", func(have *snapshot) { have.rules["sub"] = nil }, append([]string{"add table", "delete all rules"}, rules...)},
		{"rule too many", func(have *snapshot) { have.rules["sub"] = append(have.rules["sub"], "") }, append([]string{"add table", "delete all rules"}, rules...)},
		{"another rule", func(have *snapshot) {
			other := Rule{"count", []Expr{Counter(), Counter()}}
			have.rules["sub"] = []string{string(other.userdata())}
		}, append([]string{"add table", "delete all rules"}, rules...)},
		{"another type of set", func(have *snapshot) {
			have.sets["m"] = nftables.Set{Name: "m", KeyType: nftables.TypeIPAddr, DataType: nftables.TypeMark}
		}, append([]string{"add table", "delete all rules", "delete set m", "add set m"}, rules...)},
		{"set too many", func(have *snapshot) {
			have.sets["z"] = Set{Name: "z", Key: IPv4Addr}.definition()
		}, append([]string{
			"add table", "delete all rules", "delete set z",
		}, rules...)},
		{"another hook of a chain", func(have *snapshot) { have.chains["base"] = "another" }, append([]string{
			"add table", "delete all rules", "delete chain base", "add chain base",
		}, rules...)},
		{"chain too many", func(have *snapshot) { have.chains["z"] = "no hook" }, append([]string{
			"add table", "delete all rules", "delete chain z",
		}, rules...)},
		{"switched off", func(have *snapshot) { have.flags = unix.NFT_TABLE_F_DORMANT }, append([]string{"add table", "delete all rules"}, rules...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			have := smallSnapshot()
			test.change(have)
			if got, want := have.matches(small), test.want == nil; got != want {
				t.Errorf("matches: %t, want %t", got, want)
			}
			if test.want == nil {
				return
			}
			var got []string
			for _, m := range small.static(have) {
				got = append(got, m.what)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestAfterStatic knows that a set which stays keeps its elements.
func TestAfterStatic(t *testing.T) {
	t.Parallel()
	have := smallSnapshot()
	have.sets["m"] = nftables.Set{Name: "m"}
	have.elements["z"] = map[string]string{"": ""}
	got := have.afterStatic(small)
	want := &snapshot{generation: 8, specified: true, elements: Elements{"a": smallContents()["a"]}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(snapshot{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGenerationLeavesZeroOut(t *testing.T) {
	t.Parallel()
	s := &snapshot{generation: 1<<32 - 1}
	if got := s.afterElements(nil, nil).generation; got != 1 {
		t.Errorf("generation %d, want 1", got)
	}
}

func TestRuleUserdata(t *testing.T) {
	t.Parallel()
	r := Rule{"text", []Expr{Counter()}}
	if got := string(r.userdata()); !strings.HasPrefix(got, "\x00\x05text\x00\x80\x08") || len(got) != 7+2+8 {
		t.Errorf("user data %q", got)
	}
	other := Rule{"text", []Expr{Drop()}}
	if string(r.userdata()) == string(other.userdata()) {
		t.Error("two rules of one comment have the same user data")
	}
}
