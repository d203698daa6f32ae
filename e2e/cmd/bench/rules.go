package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/lab"
)

// rulesTest measures the daemon's own code in a network namespace.
const rulesTest = "TestNetnsTenThousand"

// What of it is judged, with 100 VIPs and with 4000, which is about as many as a
// ConfigMap may have.
var (
	loadRules = []string{"load_10000_on_100_vips", "load_10000_on_4000_vips"}
	addRule   = []string{"add_one_forward_to_10000_on_100_vips", "add_one_forward_to_10000_on_4000_vips"}
)

// rules are what writing the rules takes, in the order that it was measured.
type rules []ruleTime

type ruleTime struct {
	name string
	ms   []float64
}

var measuredLine = regexp.MustCompile(`measured: (\w+)=(\S+)`)

// measureRules runs the test of pkg/datapath some times.
func measureRules(ctx context.Context, times int) (rules, error) {
	binary, err := lab.Binary()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-v", "-run", "^"+rulesTest+"$", "-count", strconv.Itoa(times), "./pkg/datapath")
	cmd.Dir = filepath.Dir(filepath.Dir(binary))
	cmd.Env = append(os.Environ(), "REQUIRE_NETNS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("measure the rules: %w\n%s", err, out)
	}
	return parseRules(string(out))
}

func parseRules(out string) (rules, error) {
	var all rules
	for _, m := range measuredLine.FindAllStringSubmatch(out, -1) {
		took, err := time.ParseDuration(m[2])
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", m[0], err)
		}
		i := slices.IndexFunc(all, func(r ruleTime) bool { return r.name == m[1] })
		if i < 0 {
			i = len(all)
			all = append(all, ruleTime{name: m[1]})
		}
		all[i].ms = append(all[i].ms, float64(took)/float64(time.Millisecond))
	}
	for _, name := range slices.Concat(loadRules, addRule) {
		if all.of(name) == nil {
			return nil, fmt.Errorf("%s has not measured %s:\n%s", rulesTest, name, out)
		}
	}
	return all, nil
}

// of returns the values of a name.
func (r rules) of(name string) []float64 {
	for _, t := range r {
		if t.name == name {
			return t.ms
		}
	}
	return nil
}

// words makes a name readable.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
