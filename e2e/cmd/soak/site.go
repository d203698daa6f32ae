package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"kube-vrrp-vip/e2e/internal/scenario"
)

// namespace is where the Services of the VIPs are.
const namespace = "soak"

// entry is one of the ConfigMap, with a Service of its own.
type entry struct {
	service string
	key     string
	value   string
	vips    []netip.Addr
	// port is that of its endpoint.
	port uint16
}

// entries are served from the beginning to the end: by virtual routers of --vrids, by
// ones of their own, through the proxy, and over IPv6.
var entries = []entry{
	short(220), short(221), short(222), short6(220), short6(221),
	long("own", 60, netip.MustParseAddr("10.89.0.230")),
	long("both", 61, netip.MustParseAddr("10.89.0.231"), netip.MustParseAddr("fd89::231")),
	{"proxied", "10.89.0.232", "soak/proxied:PROXY", []netip.Addr{netip.MustParseAddr("10.89.0.232")}, proxiedPort},
}

// vipExtra comes and goes.
var vipExtra = netip.MustParseAddr("10.89.0.240")

func short(last int) entry {
	vip := netip.MustParseAddr(fmt.Sprintf("10.89.0.%d", last))
	name := fmt.Sprintf("v%d", last)
	return entry{name, vip.String(), namespace + "/" + name, []netip.Addr{vip}, plainPort}
}

func short6(last int) entry {
	vip := netip.MustParseAddr(fmt.Sprintf("fd89::%d", last))
	name := fmt.Sprintf("six%d", last)
	return entry{name, strings.ReplaceAll(vip.String(), ":", "-"), namespace + "/" + name, []netip.Addr{vip}, plainPort}
}

func long(name string, vrid int, vips ...netip.Addr) entry {
	var list []string
	for _, vip := range vips {
		list = append(list, fmt.Sprintf("%q", vip))
	}
	value := fmt.Sprintf("{addresses: [%s], services: [{name: %s/%s}], vrid: %d}", strings.Join(list, ", "), namespace, name, vrid)
	return entry{name, name, value, vips, plainPort}
}

// spreadPatch makes a kustomization spread the VIPs over virtual routers.
const spreadPatch = `
patches:
  - target: {kind: DaemonSet, name: kube-vrrp-vip}
    patch: |
      - {op: replace, path: /spec/template/spec/containers/0/args/0, value: --vrids=50-57}
`

// install puts kube-vrrp-vip, the Services and the ConfigMap on the cluster.
func (r *runner) install(ctx context.Context) error {
	r.say("loading image %s", scenario.Image)
	if err := r.LoadImage(ctx); err != nil {
		return err
	}
	r.say("installing")
	if _, err := r.Kubectl(ctx, r.services(), "apply", "--filename=-"); err != nil {
		return err
	}
	if err := r.Reinstall(ctx, spreadPatch); err != nil {
		return err
	}
	if _, err := r.Kubectl(ctx, "", "apply", "--filename", filepath.Join(r.Manifests(), scenario.ConfigMap+".yaml")); err != nil {
		return err
	}
	data := map[string]string{}
	for _, e := range r.entries() {
		data[e.key] = e.value
	}
	return r.SetConfig(ctx, data)
}

// entries are those that this machine can serve.
func (r *runner) entries() []entry {
	if r.Addr6("client").IsValid() {
		return entries
	}
	var four []entry
	for _, e := range entries {
		if !e.vips[len(e.vips)-1].Is6() {
			four = append(four, e)
		}
	}
	return four
}

// vips are those of all entries.
func (r *runner) vips() []netip.Addr {
	var vips []netip.Addr
	for _, e := range r.entries() {
		vips = append(vips, e.vips...)
	}
	return vips
}

// services returns the manifest of all Services.
func (r *runner) services() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", namespace)
	for _, e := range r.entries() {
		b.WriteString(r.service(e))
	}
	return b.String()
}

// service returns the manifest of an entry's Service. Its endpoint is the host of the
// control plane, which stays: what a client misses while a node is off is the VIP, and
// not an endpoint there.
func (r *runner) service(e entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  ipFamilyPolicy: PreferDualStack
  ports: [{name: http, port: 80, targetPort: %[3]d}]
`, e.service, namespace, e.port)
	for _, a := range []netip.Addr{r.Addr("cp"), r.Addr6("cp")} {
		if !a.IsValid() {
			continue
		}
		family := "IPv6"
		if a.Is4() {
			family = "IPv4"
		}
		fmt.Fprintf(&b, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s, namespace: %[3]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: %[4]s
ports: [{name: http, port: %[5]d}]
endpoints: [{addresses: [%[6]q]}]
`, e.service, strings.ToLower(family), namespace, family, e.port, a)
	}
	return b.String()
}
