package engine

import (
	"net/netip"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/host"
	"kube-vrrp-vip/pkg/vrrp"
)

// leasesRenewed follows what became of the leases of a hostState.
func (l *loop) leasesRenewed(r leaseResult, now vrrp.Time) {
	l.noteOutcome(outcome{source: sourceLeases, err: r.err})
	l.host.observe(r.generation, now)
	for _, in := range l.instances {
		if !in.advertised || r.generation < in.generation {
			continue
		}
		l.noteBound(in, r.failed, now)
		if in.state() == vrrp.Master {
			l.noteRemoved(in, r.removed, now)
		}
	}
}

// noteOutcome logs that a worker failed, or works again.
func (l *loop) noteOutcome(o outcome) {
	l.events.logError(logKey{what: string(o.source)}, "Address or announcement failed", o.err)
}

// noteBound follows which of a Master's addresses are bound. One that is not is tried
// again with every renewal of the leases, and must not cost the others their
// Master: only a router that can bind none of its addresses gives up.
func (l *loop) noteBound(in *instance, failed map[host.VirtualAddress]error, now vrrp.Time) {
	claimed := 0
	if len(failed) > 0 || len(in.binding.failed) > 0 || in.lacksLink() {
		claimed = l.noteFailures(in, failed, now)
	}
	if in.binding.lost(claimed, now) {
		l.fail(in, desired.FaultBindFailed, now)
		return
	}
	if len(in.binding.failed) == 0 && now.Sub(in.changed) > retryMax {
		in.retry = retryMin
	}
}

// noteFailures records which of a Master's addresses are not bound, logs those that
// were until now, and announces those that are again. It returns the number of
// addresses that are claimed.
func (l *loop) noteFailures(in *instance, failed map[host.VirtualAddress]error, now vrrp.Time) (claimed int) {
	key, previous := in.key, in.binding.failed
	in.binding.failed = map[netip.Addr]error{}
	for i, v := range in.vips {
		if !in.available(i) {
			continue
		}
		claimed++
		err := failed[v.bound()]
		if v.on.Index == 0 {
			err = l.macvlans.result.failure(v.virtual)
		}
		if err == nil {
			continue
		}
		in.binding.failed[v.address] = err
		if previous[v.address] == nil {
			l.events.do(func() {
				l.events.logger.Error(err, "Address not bound", "interface", v.link.Name, "family", key.Family, "vrid", key.VRID, "vip", v.address)
			})
		}
	}
	for vip := range previous {
		if in.binding.failed[vip] == nil {
			in.announce.start(now)
		}
	}
	return claimed
}

// noteRemoved follows which of a Master's addresses another program removed. They have
// been bound again, and are announced again: a client may have asked for one
// meanwhile, without an answer.
func (l *loop) noteRemoved(in *instance, removed map[host.VirtualAddress]bool, now vrrp.Time) {
	var vips []netip.Addr
	for _, v := range in.vips {
		if removed[v.bound()] {
			vips = append(vips, v.address)
		}
	}
	if len(vips) == 0 {
		return
	}
	log, tooOften := in.removals.note(len(vips), now)
	if log {
		fields := append(keyFields(in.key), "vip", vips, "count", in.removals.total)
		l.events.do(func() { l.events.logger.Info("Address was removed by another program, bound it again", fields...) })
	}
	if tooOften {
		l.fail(in, desired.FaultAddressRemoved, now)
		return
	}
	in.announce.start(now)
}
