// Package scenariotest replays scenarios: text files of commands to a simulated
// LAN, each followed by the output that the LAN's operator sees. A newcomer reads
// one as a story, and a reviewer sees changed behavior as a diff.
//
// A file begins with a comment that says why the scenario matters. Blocks are
// separated by blank lines. A block is commands, one a line, and then, below a
// line of four dashes, their output:
//
//	# A Master whose node loses power says nothing ...
//
//	crash a
//	run 1s
//	----
//	   10.000  a: lost power
//	   10.262  b: Backup -> Master (masterDown)
//
// Command-line flag -rewrite writes the output that the commands have now:
//
//	go test ./pkg/vrrp -run TestScenarios -rewrite
package scenariotest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the output of scenarios to testdata instead of comparing it")

// A Command carries out one command and returns its output, by line. It is a
// method of the world that the scenario is about.
type Command func(name string, args []string) (output []string, err error)

// Run replays each file of testdata/scenarios as a subtest, in a world of its
// own.
func Run(t *testing.T, newWorld func(t *testing.T) Command) {
	t.Helper()
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no scenarios in testdata/scenarios")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			replayed, err := replay(string(old), newWorld(t))
			switch {
			case err != nil:
				t.Fatalf("%s: %v", file, err)
			case replayed == string(old):
			case *rewrite:
				if err := os.WriteFile(file, []byte(replayed), 0o600); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s: %s\n\nIf that is right, -rewrite writes it; look at the diff.", file, difference(string(old), replayed))
			}
		})
	}
}

// replay carries out the commands of a scenario and returns its text with the
// output that they have now.
func replay(text string, do Command) (string, error) {
	if !strings.HasPrefix(text, "#") {
		return "", errors.New("begins without a comment that says why the scenario matters")
	}
	var replayed strings.Builder
	var output []string
	old := false // The lines are output that the file has.
	endBlock := func() {
		if len(output) > 0 {
			replayed.WriteString("----\n" + strings.Join(output, "\n") + "\n")
		}
		output, old = nil, false
	}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if line == "" {
			endBlock()
		}
		if old = old || line == "----"; old {
			continue
		}
		replayed.WriteString(line + "\n")
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		lines, err := do(fields[0], fields[1:])
		if err != nil {
			return "", fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
		output = append(output, lines...)
	}
	endBlock()
	return replayed.String(), nil
}

// difference describes the first difference of two texts, with the lines before
// it.
func difference(old, replayed string) string {
	was, is := strings.Split(old, "\n"), strings.Split(replayed, "\n")
	first := 0
	for first < min(len(was), len(is)) && was[first] == is[first] {
		first++
	}
	excerpt := func(lines []string, sign string) string {
		return sign + strings.Join(lines[min(first, len(lines)):min(first+12, len(lines))], "\n"+sign)
	}
	return fmt.Sprintf("line %d differs\n  %s\n%s\n%s", first+1,
		strings.Join(is[max(0, first-6):first], "\n  "), excerpt(was, "- "), excerpt(is, "+ "))
}

// Options sets flags from arguments that come in pairs of a name and a value.
func Options(flags *flag.FlagSet, args []string) error {
	if len(args)%2 != 0 {
		return fmt.Errorf("%q has no value", args[len(args)-1])
	}
	var dashed []string
	for i := 0; i < len(args); i += 2 {
		dashed = append(dashed, "-"+args[i]+"="+args[i+1])
	}
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	return flags.Parse(dashed)
}

// AddressesVar defines a flag that is a list of addresses, with commas between
// them.
func AddressesVar(flags *flag.FlagSet, addresses *[]netip.Addr, name string) {
	flags.Func(name, "", func(value string) error {
		*addresses = nil
		for text := range strings.SplitSeq(value, ",") {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return err
			}
			*addresses = append(*addresses, a)
		}
		return nil
	})
}

// Steady is a source of random numbers that all lie in the middle of their range,
// so that every delay of a simulated LAN is the same: what changes in the output is
// behavior, and not which delay came next.
type Steady struct{}

// Uint64 returns the middle of all numbers.
func (Steady) Uint64() uint64 { return 1<<63 - 1 }
