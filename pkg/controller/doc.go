// Package controller is the half of the daemon that knows Kubernetes. It
// watches the ConfigMap, the Services, the Nodes and the daemon's own pods,
// builds from them what this node is asked to do, and hands it on as one
// desired.State whenever it changed. In the other direction it tells the
// cluster, by Events, what became of it.
//
// Every change of any object leads to the same step: build everything anew
// from the caches and compare. What the API server does not permit is done
// without; while it can not be reached, the last known state goes on.
package controller
