// Package harness tests the tests: what the test cluster (internal/cluster) starts,
// breaks, repairs and leaves behind, and whether CONTRIBUTING.md says truly where a
// subject is tested.
package harness
