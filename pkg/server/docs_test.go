package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/vrrp"
)

// readFile returns a file of the repository.
func readFile(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(slices.Concat([]string{"..", ".."}, elements)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns the text between a heading of a document and the next one.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(document, "\n"+heading+"\n")
	if !found {
		t.Fatalf("no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n#")
	return text
}

// column returns the words in back quotes in a column of the tables in text, sorted.
func column(text string, number int) (words []string) {
	for line := range strings.Lines(text) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "|") || number >= len(cells) {
			continue
		}
		for i, word := range strings.Split(cells[number], "`") {
			if i%2 == 1 {
				words = append(words, word)
			}
		}
	}
	slices.Sort(words)
	return words
}

// matches returns the first group of every match, sorted and without duplicates.
func matches(pattern, text string) (words []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// TestDocumentMetrics: docs/metrics.md has all metrics, with their types and labels, and
// no others.
func TestDocumentMetrics(t *testing.T) {
	t.Parallel()
	type metric struct{ Type, Labels string }
	served := map[string]metric{}
	page := get(t, snapshot(), "/metrics").Body.String()
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (kube_vrrp_vip_\w+) (\w+)\n\w+(?:\{(.*)\})? `).FindAllStringSubmatch(page, -1) {
		served[m[1]] = metric{m[2], strings.Join(matches(`(\w+)="`, m[3]), " ")}
	}

	documented := map[string]metric{}
	for line := range strings.Lines(readFile(t, "docs", "metrics.md")) {
		cells := strings.Split(line, " | ")
		if name := matches("^\\| `(kube_vrrp_vip_\\w+)`$", cells[0]); len(name) > 0 {
			documented[name[0]] = metric{cells[1], strings.Join(matches("`(\\w+)`", cells[2]), " ")}
		}
	}
	if diff := cmp.Diff(documented, served); diff != "" {
		t.Errorf("metrics (-document +served):\n%s", diff)
	}

	for _, file := range []string{"metrics.md", "operations.md", "configuration.md"} {
		for _, name := range matches(`(kube_vrrp_vip_\w+)`, readFile(t, "docs", file)) {
			if _, ok := served[name]; !ok {
				t.Errorf("%s names %s, which is not served", file, name)
			}
		}
	}
}

// TestDocumentReasons: docs/metrics.md has all values of the label "reason".
func TestDocumentReasons(t *testing.T) {
	t.Parallel()
	document := readFile(t, "docs", "metrics.md")
	var discards []string
	for d := vrrp.DiscardNone + 1; d.String() != "unknown"; d++ {
		discards = append(discards, d.String())
	}
	slices.Sort(discards)
	if diff := cmp.Diff(column(section(t, document, "### Discarded"), 0), discards); diff != "" {
		t.Errorf("discards (-document +code):\n%s", diff)
	}
	warnings := matches(`warning\w+: +"(\w+)"`, readFile(t, "pkg", "vrrp", "counters.go"))
	if diff := cmp.Diff(column(section(t, document, "### Warnings"), 0), warnings); diff != "" {
		t.Errorf("warnings (-document +code):\n%s", diff)
	}
}

// TestDocumentResults: docs/metrics.md has all results of connections of the proxy.
func TestDocumentResults(t *testing.T) {
	t.Parallel()
	names := matches(`resultNames = \[results\]string\{(.*)\}`, readFile(t, "pkg", "proxy", "listener.go"))
	results := matches(`"(\w+)"`, strings.Join(names, ""))
	if diff := cmp.Diff(column(section(t, readFile(t, "docs", "metrics.md"), "### Results"), 0), results); diff != "" {
		t.Errorf("results (-document +code):\n%s", diff)
	}
}

// TestDocumentAlarms: docs/operations.md has the reasons of all alarms, with their
// meaning and the remedy.
func TestDocumentAlarms(t *testing.T) {
	t.Parallel()
	text := section(t, readFile(t, "docs", "operations.md"), "## Alarms")
	reasons := matches(`\sAlarm\w+ +AlarmReason = "(\w+)"`, readFile(t, "pkg", "vrrp", "alarm.go"))
	if diff := cmp.Diff(column(text, 0), reasons); diff != "" {
		t.Errorf("alarms (-document +code):\n%s", diff)
	}
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.Trim(line, "|\n"), " | "); strings.HasPrefix(line, "| `") && (len(cells) != 3 || strings.TrimSpace(cells[2]) == "") {
			t.Errorf("no remedy: %s", line)
		}
	}
}

// TestDocumentStates: docs/operations.md has all reasons for the state of a router.
func TestDocumentStates(t *testing.T) {
	t.Parallel()
	source := readFile(t, "pkg", "vrrp", "state.go") + readFile(t, "pkg", "desired", "cause.go")
	want := matches(`(?:Reason\w+|Fault\w+|Listening) +Reason += "(\w+)"`, source)
	documented := column(section(t, readFile(t, "docs", "operations.md"), "## States and reasons"), 1)
	if diff := cmp.Diff(documented, want); diff != "" {
		t.Errorf("reasons (-document +code):\n%s", diff)
	}
}

// TestDocumentLog: docs/operations.md has all log lines.
func TestDocumentLog(t *testing.T) {
	t.Parallel()
	var logged []string
	for _, root := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join("..", "..", root), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				logged = append(logged, logLines(t, path)...)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(logged)
	documented := column(section(t, readFile(t, "docs", "operations.md"), "## Log lines"), 0)
	if diff := cmp.Diff(documented, slices.Compact(logged)); diff != "" {
		t.Errorf("log lines (-document +code):\n%s", diff)
	}
}

// logLines returns the messages of the calls of logger.Info, logger.Error and
// events.logError in a Go file.
func logLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	message := map[string]int{"Info": 0, "Error": 1, "logError": 1}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		i, ok := message[method.Sel.Name]
		if !ok || i >= len(call.Args) {
			return true
		}
		if literal, ok := call.Args[i].(*ast.BasicLit); ok {
			if line, err := strconv.Unquote(literal.Value); err == nil {
				lines = append(lines, line)
			}
		}
		return true
	})
	return lines
}
