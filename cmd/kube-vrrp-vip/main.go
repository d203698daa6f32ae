// Command kube-vrrp-vip keeps virtual IPs in front of the Services of a
// Kubernetes cluster. It runs as a DaemonSet on the nodes that may hold them.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() {
	// A log that nobody reads any more, as when the container runtime's shim ends
	// first, is no reason to die with the VIPs bound.
	signal.Ignore(syscall.SIGPIPE)
	// os.Exit in main only, so that deferred calls run before it.
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
