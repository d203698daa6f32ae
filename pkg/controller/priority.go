package controller

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"kube-vrrp-vip/pkg/vrrp"
)

// priorityAnnotation on a Node sets the priority of its virtual routers.
const priorityAnnotation = "kube-vrrp-vip/priority"

// The priorities that nodes without the annotation get.
const (
	minHashPriority = 150
	maxHashPriority = 250
)

// parsePriority reads the value of priorityAnnotation.
func parsePriority(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n < uint64(vrrp.MinPriority) || n > uint64(vrrp.MaxPriority) {
		return 0, fmt.Errorf("must be a number from %d to %d", vrrp.MinPriority, vrrp.MaxPriority)
	}
	return uint8(n), nil
}

// hashPriority spreads nodes over 150 to 250. It depends on the node's name
// and the VRID only, so it stays when nodes come and go. Ties are allowed: the
// higher address wins them (RFC 9568 section 6.4.3).
func hashPriority(node string, vrid uint8) uint8 {
	return minHashPriority + uint8(hash(node, vrid)%(maxHashPriority-minHashPriority+1))
}

// hash is 64-bit FNV-1a over the node's name and the VRID.
func hash(node string, vrid uint8) uint64 {
	h := fnv.New64a()
	h.Write([]byte(node))
	h.Write([]byte{vrid})
	return h.Sum64()
}

// maxRank caps the takeover delay in large clusters.
const maxRank = 8

// takeoverDelay returns vrrp.Config's TakeoverDelay and TakeoverStep, which keep
// Backups that miss the same Master from promoting themselves together: each waits
// one step longer than the next one that is preferred to it. A node without known
// peers, which may be about to learn of some, waits for a part of a quarter of an
// interval that depends on its name, in no steps.
func takeoverDelay(self member, peers []member, family vrrp.Family, vrid uint8, interval time.Duration) (delay, step time.Duration) {
	if len(peers) == 0 {
		return min(time.Duration(hash(self.node, vrid)%uint64(interval/4)), vrrp.MaxTakeoverDelay), 0
	}
	before := func(m member) bool {
		return cmp.Or(cmp.Compare(self.priority(vrid), m.priority(vrid)),
			self.address(family).Compare(m.address(family)), cmp.Compare(m.node, self.node)) < 0
	}
	rank := 0
	for _, p := range peers {
		if before(p) {
			rank++
		}
	}
	step = max(1250*time.Microsecond, interval/16)
	return min(time.Duration(min(rank, maxRank))*step, vrrp.MaxTakeoverDelay), step
}
