package datapath_test

import (
	"os"
	"strings"
	"testing"
)

// The rules that docs/datapath.md explains are the rules that there are.
func TestDocs(t *testing.T) {
	t.Parallel()
	listing, err := os.ReadFile("testdata/datapath.nft")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/datapath.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for line := range strings.Lines(string(listing)) {
		there[strings.TrimSpace(line)] = true
	}
	n := 0
	for i, block := range strings.Split(string(doc), "```nft\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			n++
			if !there[strings.TrimSpace(line)] {
				t.Errorf("no such rule: %s", line)
			}
		}
	}
	if n == 0 {
		t.Error("no rules found")
	}
}
