// Package failures is the fault matrix: each cell is a fault of a daemon, its node or
// its network, made for real on a LAN of network namespaces, and what a client on the
// wire and an operator see of it. The cells are the rows of docs/failures.md.
package failures
