package engine

import (
	"sync"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/lan"
)

// inbox takes the messages of other goroutines for the loop.
type inbox struct {
	mu       sync.Mutex
	messages messages
}

// messages are those that came since the loop took the last ones. Of values that
// replace each other it has the newest.
type messages struct {
	state    *desired.State
	links    *host.Snapshot
	macvlans *macvlanResult
	sockets  []socketResult
	leases   []leaseResult
	outcomes []outcome
	claims   []lan.NeighborEvent
	stop     bool
}

func (i *inbox) update(f func(*messages)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(&i.messages)
}

func (i *inbox) take() messages {
	i.mu.Lock()
	defer i.mu.Unlock()
	m := i.messages
	i.messages = messages{}
	return m
}
