// Package lab tests the daemon on a LAN of network namespaces (internal/lab): addresses
// that other hosts have, the time until a dead or stopped daemon's node no longer
// answers for a VIP, and virtual MACs.
package lab
