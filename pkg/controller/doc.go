// Package controller is the Kubernetes half of the daemon. It watches the ConfigMap,
// the Services, the Nodes and the daemon's own pods, builds the desired.State of this
// node from them, and applies it when it changes. It also records state transitions
// and alarms of virtual routers as Events.
//
// It is an ordinary controller: informers fill caches and queue a sync, which builds
// the State from the caches and applies it if it differs from the last one. The
// Controller works without objects that the API server does not permit it to watch.
// While the API server is unreachable, the last State stays in effect.
package controller
