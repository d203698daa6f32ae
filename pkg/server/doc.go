// Package server serves the status of the daemon over HTTP: /healthz and /readyz for
// the kubelet, /metrics for Prometheus, /status for operators. Each request takes one
// Snapshot and presents it.
package server
