package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSubjects compares the table of CONTRIBUTING.md, where a subject is tested, with
// the tests: each package has some of the column's tier, each suite exists.
func TestSubjects(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| subject | unit | sim | netns | suite |\n|---|---|---|---|---|\n")
	if !found {
		t.Fatal("the table is not found")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table) {
		columns := strings.Split(strings.TrimSpace(row), "|")
		if len(columns) != 7 {
			t.Fatalf("%d columns in %s", len(columns)-2, row)
		}
		for i, function := range []string{"func Test", "func TestSimulat", "func TestNetns"} {
			for _, name := range names(columns[i+2]) {
				if !contains(t, filepath.Join(root, "pkg", name), function) {
					t.Errorf("%s: package %s has no %s", strings.TrimSpace(columns[1]), name, function)
				}
			}
		}
		for _, name := range names(columns[5]) {
			path := filepath.Join(root, "e2e", "suites", name)
			if !contains(t, path, "func Test") && !contains(t, path+"_test.go", "package ") {
				t.Errorf("%s: there is no suite %s", strings.TrimSpace(columns[1]), name)
			}
		}
	}
}

// names are those in a cell of the table.
func names(cell string) []string {
	return strings.FieldsFunc(cell, func(r rune) bool { return r == ',' || r == ' ' })
}

// contains reports whether a test file, or one in a directory, has a text.
func contains(t *testing.T, path, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(path, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".go") {
		files = []string{path}
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}
