// Package server shows what the daemon is doing over HTTP: /healthz and
// /readyz for the kubelet, /metrics for Prometheus, /status for people. All
// of them are views of one Snapshot, taken per request.
package server
