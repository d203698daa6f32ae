// Package config reads what an operator wrote: the entries of the ConfigMap
// and the flags and environment of the daemon. It turns words into typed
// values and mistakes into Problems, and touches nothing else: no clock, no
// socket, no kernel and no Kubernetes API.
//
// One bad entry never costs another one anything, and a bad entry whose
// address can be read keeps its address.
package config
