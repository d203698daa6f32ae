package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// readDocument returns docs/configuration.md.
func readDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// table returns the rows of the table in the document whose header begins with these
// cells.
func table(t *testing.T, document string, header ...string) [][]string {
	t.Helper()
	_, after, found := strings.Cut(document, "\n| "+strings.Join(header, " | ")+" |")
	if !found {
		t.Fatalf("no table with the header %q", header)
	}
	var rows [][]string
	for line := range strings.Lines(after) {
		cells := strings.Split(strings.TrimSuffix(line, "|\n"), " | ")
		cells[0] = strings.TrimPrefix(cells[0], "| ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case line == "\n" && len(rows) > 0:
			return rows[1:] // Skip the line below the header.
		case strings.HasPrefix(line, "|"):
			rows = append(rows, cells)
		}
	}
	return rows[1:]
}

var quoted = regexp.MustCompile("`([^`]+)`")

// code returns the text within each pair of back quotes.
func code(cell string) (words []string) {
	for _, match := range quoted.FindAllStringSubmatch(cell, -1) {
		words = append(words, match[1])
	}
	return words
}

// TestDocumentExamples: every ConfigMap in the document is served as written.
func TestDocumentExamples(t *testing.T) {
	t.Parallel()
	examples := 0
	for _, block := range strings.Split(readDocument(t), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var configMap struct {
			Kind string
			Data map[string]string
		}
		if err := yaml.Unmarshal([]byte(block), &configMap); err != nil {
			t.Fatalf("%v\n%s", err, block)
		}
		if configMap.Kind != "ConfigMap" {
			continue
		}
		examples++
		entries, problems := ParseEntries(configMap.Data)
		if len(problems) > 0 {
			t.Errorf("problems %v of\n%s", problems, block)
		}
		served := map[string]bool{}
		for _, e := range entries {
			served[e.Key] = !e.Refused
		}
		for key := range configMap.Data {
			if !served[key] {
				t.Errorf("%s is not served of\n%s", key, block)
			}
		}
	}
	if examples == 0 {
		t.Error("no example")
	}
}

// TestDocumentArguments: the daemon accepts the arguments in each example.
func TestDocumentArguments(t *testing.T) {
	t.Parallel()
	argument := regexp.MustCompile(`(?m)^ *(?:-|value:) (--\S+)$`)
	examples := 0
	for _, block := range strings.Split(readDocument(t), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var args []string
		for _, match := range argument.FindAllStringSubmatch(block, -1) {
			args = append(args, match[1])
		}
		if len(args) == 0 {
			continue
		}
		examples++
		if _, err := ParseOptions(args, environment(nil), io.Discard); err != nil {
			t.Errorf("%v of\n%s", err, block)
		}
	}
	if examples == 0 {
		t.Error("no example")
	}
}

// TestDocumentMessages: each invalid entry in the document has the message and the
// consequence in its row.
func TestDocumentMessages(t *testing.T) {
	t.Parallel()
	document := readDocument(t)
	data := map[string]string{}
	type outcome struct{ Message, Served string }
	want, got := map[string]outcome{}, map[string]outcome{}
	for _, row := range table(t, document, "entry", "message", "what happens") {
		var keys []string
		for _, entry := range code(row[0]) {
			key, value, _ := strings.Cut(entry, ": ")
			keys, data[key] = append(keys, key), value
		}
		if len(keys) > 0 {
			want[keys[0]] = outcome{code(row[1])[0], row[2]}
		}
	}
	entries, problems := ParseEntries(data)
	for _, p := range problems {
		o := outcome{p.Message, "ignored"}
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.Key == p.Key })
		switch {
		case i >= 0 && entries[i].Refused:
			o.Served = "kept, refuses"
		case i >= 0:
			o.Served = "served"
		}
		if p.Notice {
			o.Served += " (notice)"
		}
		got[p.Key] = o
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-document +code):\n%s", diff)
	}

	clear(data)
	for i := range MaxVIPs + 1 {
		data[fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)] = ""
	}
	if _, problems := ParseEntries(data); len(problems) != 1 || !strings.Contains(document, "| `"+problems[0].Message+"` |") {
		t.Errorf("%v is not in the document", problems)
	}
}

// TestDocumentClusterMessages: the document has all messages of the controller about
// entries, with examples for their verbs, and no others.
func TestDocumentClusterMessages(t *testing.T) {
	t.Parallel()
	var documented []string
	for _, row := range table(t, readDocument(t), "message", "what happens") {
		documented = append(documented, code(row[0])[0])
	}
	matched := map[string]bool{}
	for _, file := range []string{"backend.go", "build.go", "capacity.go", "forward.go", "localpolicy.go", "members.go", "portconflict.go", "priority.go", "router.go"} {
		for _, format := range sentences(t, filepath.Join("..", "controller", file)) {
			verbs := regexp.MustCompile(`%[sd]`)
			pattern := regexp.MustCompile(verbs.ReplaceAllLiteralString(regexp.QuoteMeta(format), `.+`))
			i := slices.IndexFunc(documented, pattern.MatchString)
			if i < 0 {
				t.Errorf("%s: not in the document: %q", file, format)
				continue
			}
			matched[documented[i]] = true
		}
	}
	for _, d := range documented {
		if !matched[d] {
			t.Errorf("in the document only: %q", d)
		}
	}
}

// sentences returns the string literals in a Go file that have more than one word.
func sentences(t *testing.T, file string) (found []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, " ") {
			found = append(found, text)
		}
		return true
	})
	return found
}

// TestDocumentFlags: the document has all flags, with their types and defaults, and no
// others.
func TestDocumentFlags(t *testing.T) {
	t.Parallel()
	type option struct{ Type, Default string }
	documented, registered := map[string]option{}, map[string]option{}
	for _, row := range table(t, readDocument(t), "flag", "type", "default") {
		documented[code(row[0])[0]] = option{row[1], code(row[2])[0]}
	}
	// The usage contains a default that differs from the zero value of the flag.
	inUsage := regexp.MustCompile(`\(default:? (.+)\)$`)
	_, err := ParseOptions(nil, environment(nil), io.Discard, func(fs *flag.FlagSet) {
		fs.VisitAll(func(f *flag.Flag) {
			o := option{"bool", f.DefValue}
			if name, _ := flag.UnquoteUsage(f); name != "" {
				o.Type = name
			}
			if match := inUsage.FindStringSubmatch(f.Usage); match != nil {
				o.Default = match[1]
			}
			registered["--"+f.Name] = o
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(documented, registered); diff != "" {
		t.Errorf("flags (-document +code):\n%s", diff)
	}
}

// TestDocumentEnvironment: the document has all environment variables that are read,
// and no others.
func TestDocumentEnvironment(t *testing.T) {
	t.Parallel()
	var documented, read []string
	for _, row := range table(t, readDocument(t), "variable", "needed") {
		documented = append(documented, code(row[0])[0])
	}
	_, err := ParseOptions(nil, func(name string) string {
		read = append(read, name)
		return environment(nil)(name)
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(documented)
	slices.Sort(read)
	if diff := cmp.Diff(documented, slices.Compact(read)); diff != "" {
		t.Errorf("variables (-document +code):\n%s", diff)
	}
}
