// Package desired holds the plain values that pass between the half of the
// daemon that knows Kubernetes and the half that knows the kernel and the LAN.
//
// State goes down: the controller builds it from the ConfigMap, the Services
// and the Node, and hands it to the engine and to the nftables tables. Status
// and Transition come up: the engine publishes them, and the server and the
// controller show them to an operator.
//
// None of the values holds a pointer to something live, a function or a
// channel, so each of them can be copied, compared, logged and, one day, sent
// to another process.
package desired
