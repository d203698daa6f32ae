package failures

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var root = filepath.Join("..", "..", "..")

// document is docs/failures.md.
var document = filepath.Join(root, "docs", "failures.md")

// header begins the table of each group.
const header = "| event | what clients see | for how long | what the operator sees | what to do |\n|---|---|---|---|---|\n"

// row is the cell's line of the document.
func (c *cell) row(figures string) string {
	var sees []string
	for _, w := range c.sees {
		sees = append(sees, w.text)
	}
	if c.operator != "" {
		sees = append(sees, c.operator)
	}
	if sees == nil {
		sees = []string{"nothing"}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", c.event, c.clients, figures, strings.Join(sees, "; "), c.remedy)
}

// figure shows what several runs have measured: the median and the range.
func (c *cell) figure(what string, runs []time.Duration) string {
	slices.Sort(runs)
	if c.bound(what) == 0 {
		return what + ": never"
	}
	return fmt.Sprintf("%s: %s ms [%s..%s], bound %g s", what, millis(runs[len(runs)/2]), millis(runs[0]), millis(runs[len(runs)-1]), c.bound(what).Seconds())
}

// figures shows everything that the runs of the cell have measured.
func (c *cell) figures(runs []map[string]time.Duration) string {
	var texts []string
	for _, what := range figureNames {
		var all []time.Duration
		for _, r := range runs {
			if d, ok := r[what]; ok {
				all = append(all, d)
			}
		}
		if all != nil {
			texts = append(texts, c.figure(what, all))
		}
	}
	return strings.Join(texts, "<br>")
}

// documented are the figures of a row: their names, and the longest time of each.
func documented(figures string) (names []string, longest map[string]time.Duration, err error) {
	longest = map[string]time.Duration{}
	pattern := regexp.MustCompile(`^(.*): (?:never|(?:\S+) ms \[\S+\.\.(\S+)\], bound \S+ s)$`)
	for text := range strings.SplitSeq(figures, "<br>") {
		m := pattern.FindStringSubmatch(text)
		if m == nil {
			return nil, nil, fmt.Errorf("%q is no figure", text)
		}
		names = append(names, m[1])
		if m[2] == "" {
			continue
		}
		ms, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, nil, err
		}
		longest[m[1]] = time.Duration(ms * float64(time.Millisecond))
	}
	return names, longest, nil
}

// table returns where a group's rows are in the document.
func table(text, group string) (begin, end int, err error) {
	heading := "\n## " + group + "\n"
	at := strings.Index(text, heading)
	if at < 0 {
		return 0, 0, fmt.Errorf("the document has no section %q", group)
	}
	section := text[at+len(heading):]
	if next := strings.Index(section, "\n## "); next >= 0 {
		section = section[:next+1]
	}
	rows := strings.Index(section, header)
	if rows < 0 {
		return 0, 0, fmt.Errorf("the section %q has no table", group)
	}
	begin = at + len(heading) + rows + len(header)
	end = begin
	for line := range strings.Lines(text[begin:]) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		end += len(line)
	}
	return begin, end, nil
}

// columns are the cells of a row.
func columns(row string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(row, "\n"), "| "), " |"), " | ")
}

// knownFigures are those that the document has, by event.
func knownFigures(rows string) map[string]string {
	known := map[string]string{}
	for line := range strings.Lines(rows) {
		if c := columns(line); len(c) == 5 {
			known[c[0]] = c[2]
		}
	}
	return known
}

// writeDocument makes the tables those of the cells; what was not measured keeps its
// figures.
func writeDocument(measured map[string][]map[string]time.Duration) error {
	b, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text := string(b)
	for _, g := range groups {
		begin, end, err := table(text, g.name)
		if err != nil {
			return err
		}
		known := knownFigures(text[begin:end])
		var rows strings.Builder
		for _, c := range g.cells {
			figures := known[c.event]
			if runs := measured[c.name]; runs != nil {
				figures = c.figures(runs)
			}
			rows.WriteString(c.row(figures))
		}
		text = text[:begin] + rows.String() + text[end:]
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	text = regexp.MustCompile(`(?m)^Measured on .*$`).ReplaceAllLiteralString(text, fmt.Sprintf(
		"Measured on %s, runs of each cell: %d. %d processors, Linux %s; load average at the end: %s.",
		time.Now().Format(time.DateOnly), *runsFlag, runtime.NumCPU(), kernelRelease(), strings.Fields(string(load))[0]))
	return os.WriteFile(document, []byte(text), 0o644)
}

// kernelRelease is the kernel's, without what a builder has added.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return release
}

// TestDocument: docs/failures.md has a row for every cell, with its texts and with
// times that are within what the cell asserts, and no other.
func TestDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, g := range groups {
		begin, end, err := table(string(b), g.name)
		if err != nil {
			t.Error(err)
			continue
		}
		known := knownFigures(string(b)[begin:end])
		var want strings.Builder
		for _, c := range g.cells {
			if names[c.name] {
				t.Errorf("two cells are called %s", c.name)
			}
			names[c.name] = true
			want.WriteString(c.row(known[c.event]))
			if err := c.checkFigures(known[c.event]); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got := string(b)[begin:end]; got != want.String() {
			t.Errorf("%s: the document has\n%s\nthe cells say\n%s", g.name, got, want.String())
		}
	}
}

// checkFigures compares what the document says with what the cell asserts.
func (c *cell) checkFigures(figures string) error {
	names, longest, err := documented(figures)
	if err != nil {
		return err
	}
	for _, what := range names {
		bound := c.bound(what)
		text := fmt.Sprintf(", bound %g s", bound.Seconds())
		if bound == 0 {
			text = ": never"
		}
		if longest[what] > bound || !strings.Contains(figures, text) {
			return fmt.Errorf("%q, and the test asserts %v of %q", figures, bound, what)
		}
	}
	return nil
}

// checkMeasured reports whether a run has measured just what the document has.
func (c *cell) checkMeasured(figures map[string]time.Duration) error {
	b, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	known := map[string]string{}
	for _, g := range groups {
		begin, end, err := table(string(b), g.name)
		if err != nil {
			return err
		}
		maps.Copy(known, knownFigures(string(b)[begin:end]))
	}
	names, _, err := documented(known[c.event])
	if err != nil {
		return err
	}
	for _, what := range figureNames {
		if _, measured := figures[what]; measured != slices.Contains(names, what) {
			return fmt.Errorf("the document has %v, and %v was measured", names, figures)
		}
	}
	return nil
}

// TestDocumentElsewhere: rows about what other tests prove name them.
func TestDocumentElsewhere(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	for _, section := range []string{"On a cluster", "Not made here"} {
		begin, end, err := table(string(b), section)
		if err != nil {
			t.Error(err)
			continue
		}
		for line := range strings.Lines(string(b)[begin:end]) {
			named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
			if named == nil {
				t.Errorf("%s: no test is named: %s", section, line)
			}
			for _, m := range named {
				if !tests[m[1]] {
					t.Errorf("%s: there is no %s", section, m[1])
				}
			}
			if got := len(columns(line)); got != 5 {
				t.Errorf("%s: %d columns: %s", section, got, line)
			}
		}
	}
}

// testNames are the names of all test functions.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, dir := range []string{"cmd", "e2e", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range function.FindAllStringSubmatch(string(b), -1) {
				names[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
