package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"kube-vrrp-vip/e2e/vrrplab"
)

// rules is what writing the rules takes, in ms.
type rules struct {
	load, add []float64
}

// benchmarks of pkg/nft: the daemon's own code in a network namespace.
const (
	loadBenchmark = "BenchmarkNetnsLoadTenThousand"
	addBenchmark  = "BenchmarkNetnsAddOneToTenThousand"
)

var benchmarkLine = regexp.MustCompile(`(?m)^(Benchmark\w+)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)

// measureRules runs the benchmarks of pkg/nft some times.
func measureRules(ctx context.Context, times int) (rules, error) {
	binary, err := vrrplab.Binary()
	if err != nil {
		return rules{}, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^("+loadBenchmark+"|"+addBenchmark+")$",
		"-benchtime", "10x", "-count", strconv.Itoa(times), "./pkg/nft")
	cmd.Dir = filepath.Dir(filepath.Dir(binary))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return rules{}, fmt.Errorf("measure the rules: %w\n%s", err, out)
	}
	return parseRules(string(out))
}

func parseRules(out string) (rules, error) {
	var r rules
	for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return rules{}, fmt.Errorf("read %q: %w", m[0], err)
		}
		switch m[1] {
		case loadBenchmark:
			r.load = append(r.load, ns/1e6)
		case addBenchmark:
			r.add = append(r.add, ns/1e6)
		}
	}
	if len(r.load) == 0 || len(r.add) == 0 {
		return rules{}, fmt.Errorf("%s and %s were not both run:\n%s", loadBenchmark, addBenchmark, out)
	}
	return r, nil
}
