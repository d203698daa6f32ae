package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	d := document{file: filepath.Join(t.TempDir(), "b.md"), head: "# New head\n", order: []string{"One", "Two", "Three"}}
	for _, step := range []struct{ before, title, section, want string }{
		{"", "Two", "## Two\n\nsecond\n", "# New head\n\n## Two\n\nsecond\n"},
		{
			"# Old head\n\ntext\n\n## One\n\n### Part\n\nfirst\n\n## Two\n\nold\n\n## Three\n\nthird\n", "Two", "## Two\n\nnew\n",
			"# New head\n\n## One\n\n### Part\n\nfirst\n\n## Two\n\nnew\n\n## Three\n\nthird\n",
		},
		{"# Head\n\n## Gone\n\nx\n", "One", "## One\n\n1\n", "# New head\n\n## One\n\n1\n"},
	} {
		if err := os.WriteFile(d.file, []byte(step.before), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := d.put(step.title, step.section); err != nil {
			t.Fatal(err)
		}
		if got := read(d.file); got != step.want {
			t.Errorf("got\n%s\nwant\n%s", got, step.want)
		}
	}
}

// TestBenchmarksMarkdown checks that the document in the tree has the sections
// that make bench writes, and its head.
func TestBenchmarksMarkdown(t *testing.T) {
	t.Parallel()
	text := read("../../../docs/benchmarks.md")
	if !strings.HasPrefix(text, strings.TrimSpace(head)+"\n") {
		t.Errorf("the head is not\n%s", head)
	}
	var order []string
	for _, p := range parts(t.Context(), options{}, "", nil) {
		order = append(order, p.title)
	}
	if got := (document{head: head, order: order}).with(text, "", ""); got != text {
		t.Errorf("docs/benchmarks.md has other sections than %q, or others than in that order", order)
	}
}
