// Package config parses the operator's configuration: the entries of the ConfigMap,
// and the flags and the environment of the daemon. It returns typed values, and
// errors in entries as Problems. It uses no clock, no socket, no kernel interface
// and no Kubernetes API.
//
// An error in an entry does not affect other entries. An invalid entry whose address
// is valid keeps the address, and the VIP refuses every port.
package config
