// Package desired defines the values that the Kubernetes half of the daemon and
// the half that manages the kernel and the LAN exchange.
//
// State goes down: the controller builds it from the ConfigMap, the Services
// and the Node, and passes it to the engine and to the nftables tables. Status,
// Transition and AlarmChange come up: the engine publishes them, and the server
// and the controller present them to operators.
//
// The values hold no functions, no channels and no pointers to shared data, so
// they can be copied, compared and logged.
package desired
