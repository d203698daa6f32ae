// Package harness tests the test cluster itself (internal/cluster): what it starts,
// breaks, repairs and leaves behind.
package harness
