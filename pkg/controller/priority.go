package controller

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// priorityAnnotation is the annotation of a Node with the priority of its virtual
// routers.
const priorityAnnotation = "kube-vrrp-vip/priority"

// The range of the priorities of nodes without the annotation.
const (
	minHashPriority = 150
	maxHashPriority = 250
)

// parsePriority parses the value of priorityAnnotation.
func parsePriority(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n < uint64(vrrp.MinPriority) || n > uint64(vrrp.MaxPriority) {
		return 0, fmt.Errorf("must be a number from %d to %d", vrrp.MinPriority, vrrp.MaxPriority)
	}
	return uint8(n), nil
}

// hashPriority returns a priority from 150 to 250 that depends only on the name of
// the node and the VRID, so that it does not change when nodes join or leave. Two
// nodes may have the same priority: the higher address wins then (RFC 9568 section
// 6.4.3).
func hashPriority(node string, vrid uint8) uint8 {
	return minHashPriority + uint8(hash(node, vrid)%(maxHashPriority-minHashPriority+1))
}

// hash returns the 64-bit FNV-1a hash of the name of the node and the VRID.
func hash(node string, vrid uint8) uint64 {
	h := fnv.New64a()
	h.Write([]byte(node))
	h.Write([]byte{vrid})
	return h.Sum64()
}

// maxRank limits the takeover delay in large clusters.
const maxRank = 8

// takeoverDelay returns the TakeoverDelay and the TakeoverStep of vrrp.Config. They
// keep Backups that lose the same Master from becoming Master at the same time: each
// waits one step longer than the Backup that is preferred to it. A node without known
// peers may only not know them yet: its delay is a hash of its name and the VRID, up
// to a quarter of an interval, and its step is 0.
func takeoverDelay(self member, peers []member, family vrrp.Family, vrid uint8, interval time.Duration) (delay, step time.Duration) {
	if len(peers) == 0 {
		return min(time.Duration(hash(self.node, vrid)%uint64(interval/4)), vrrp.MaxTakeoverDelay), 0
	}
	isPreferred := func(m member) bool {
		return cmp.Or(cmp.Compare(self.priority(vrid), m.priority(vrid)),
			self.address(family).Compare(m.address(family)), cmp.Compare(m.node, self.node)) < 0
	}
	rank := 0
	for _, p := range peers {
		if isPreferred(p) {
			rank++
		}
	}
	step = max(1250*time.Microsecond, interval/16)
	return min(time.Duration(min(rank, maxRank))*step, vrrp.MaxTakeoverDelay), step
}
