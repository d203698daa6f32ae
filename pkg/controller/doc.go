// Package controller is the half of the daemon that knows Kubernetes. It
// watches the ConfigMap, the Services, the Nodes and the daemon's own pods,
// builds the desired.State of this node from them, and passes it on whenever it
// changed. In the other direction it records transitions and alarms as Events.
//
// It is an ordinary controller: informers fill caches and queue a sync, which
// builds everything from the caches, compares it with the last result, and applies
// the difference. The Controller does without objects that the API server does
// not permit it to watch; while the API server cannot be reached, the last known
// state stays in effect.
package controller
