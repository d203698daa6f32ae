// Package docs tests that the documents say what the code does.
package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// functions returns the functions of a file, methods with their receiver's type:
// "apply", "loop.apply".
func functions(path string) (map[string]bool, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			t := f.Recv.List[0].Type
			if star, ok := t.(*ast.StarExpr); ok {
				t = star.X
			}
			if generic, ok := t.(*ast.IndexExpr); ok {
				t = generic.X
			}
			name = fmt.Sprintf("%s.%s", t, name)
		}
		all[name] = true
	}
	return all, nil
}

// Every behaviour of architecture.md's map is where the map says.
func TestArchitectureMap(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Where is ...\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`]+\\.go)` \\| `([^`]+)` \\|$").FindAllStringSubmatch(section, -1)
	if lines := strings.Count(section, "\n|"); len(rows) < 25 || len(rows) != lines-2 {
		t.Errorf("%d rows of %d name a file and a function, want all, and at least 25", len(rows), lines-2)
	}
	for _, row := range rows {
		all, err := functions(filepath.Join("..", filepath.FromSlash(row[1])))
		if err != nil {
			t.Errorf("%s: %v", row[2], err)
		} else if !all[row[2]] {
			t.Errorf("%s has no function %s", row[1], row[2])
		}
	}
}

// Every file and package that architecture.md names exists.
func TestArchitectureNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`((?:pkg|cmd|docs|e2e|hack|manifests)/[^`]+)`").FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(m[1]))); err != nil {
			t.Errorf("architecture.md names %s: %v", m[1], err)
		}
	}
}
