package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"kube-vrrp-vip/e2e/internal/scenario"
)

// marker comes and goes to see who follows changes.
var marker = entry{"marker", vipExtra.String(), namespace + "/marker", []netip.Addr{vipExtra}, plainPort}

// followed waits until a new Service has come to every node's kube-proxy and daemon.
// After an outage of the API server each of them asks again when its client-go does,
// which may be a minute later. A VIP whose Service is given another ClusterIP meanwhile
// is not reached before both know of it.
func (r *runner) followed(ctx context.Context) error {
	manifest := r.service(marker)
	if _, err := r.Kubectl(ctx, manifest, "apply", "--filename=-"); err != nil {
		return err
	}
	ips, err := r.ClusterIPs(ctx, namespace, marker.service)
	if err == nil {
		err = r.withEntry(ctx, marker.key, marker.value, true, func(ctx context.Context) error {
			return scenario.Eventually(ctx, "all follow Services", func(ctx context.Context) error { return r.everywhere(ctx, ips[0]) })
		})
	}
	if err == nil {
		_, err = r.Kubectl(ctx, manifest, "delete", "--filename=-")
	}
	return err
}

// everywhere returns an error unless a ClusterIP, which must be of a VIP, is in the
// tables of every node.
func (r *runner) everywhere(ctx context.Context, clusterIP netip.Addr) error {
	for _, n := range r.Nodes() {
		for _, list := range []string{"list map ip kube-proxy service-ips", "list table inet kube_vrrp_vip"} {
			out, err := r.Exec(ctx, n, "nft", list)
			if err == nil && !strings.Contains(out, clusterIP.String()+" ") {
				err = fmt.Errorf("%s: %s is not in what nft says to %s", n, clusterIP, list)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
