package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-vrrp-vip/e2e/internal/cluster"
	"kube-vrrp-vip/e2e/internal/probe"
)

// EchoNamespace is where Echo puts everything.
const EchoNamespace = "e2e"

// EchoServices returns the names of the Services that Echo makes, each with the nodes
// that its endpoints are on: "all", and for each node one with that on it and one with
// those on the other nodes. A node that has no endpoint of the last kind can crash,
// and what a client misses then is the VIP and not the endpoint.
func (s *Site) EchoServices() map[string][]string {
	services := map[string][]string{"all": s.Nodes()}
	for _, n := range s.Nodes() {
		services["on-"+n] = []string{n}
		for _, other := range s.Nodes() {
			if other != n {
				services["not-"+n] = append(services["not-"+n], other)
			}
		}
	}
	return services
}

// Echo installs an application for the tests: on each node a pod that says who it is
// on TCP port 80 and UDP port 81 of the Services that EchoServices names, over IPv4
// and IPv6; and one that is behind no Service, to ask from.
func (s *Site) Echo(ctx context.Context) error {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", EchoNamespace)
	for _, n := range s.Nodes() {
		labels := []string{"app: echo", "node: " + n}
		for service, nodes := range s.EchoServices() {
			if slices.Contains(nodes, n) {
				labels = append(labels, service+": member")
			}
		}
		fmt.Fprintf(&b, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo-%[1]s, namespace: %[2]s}
spec:
  selector: {matchLabels: {app: echo, node: %[1]s}}
  template:
    metadata: {labels: {%[3]s}}
    spec:
      nodeSelector: {kubernetes.io/hostname: %[1]s}
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: %[4]s
        imagePullPolicy: Never
        args: [-proxy, ":8082"]
        env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
`, n, EchoNamespace, strings.Join(labels, ", "), cluster.EchoImage)
	}
	fmt.Fprintf(&b, `---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: caller, namespace: %s}
spec:
  selector: {matchLabels: {app: caller}}
  template:
    metadata: {labels: {app: caller}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers:
      - {name: caller, image: %q, imagePullPolicy: Never}
`, EchoNamespace, cluster.EchoImage)
	for service := range s.EchoServices() {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {%[1]s: member}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
`, service, EchoNamespace)
	}
	_, err := s.Kubectl(ctx, b.String(), "apply", "--filename=-")
	return err
}

// EchoPodNetNS returns the path of the network namespace of Echo's pod on a node.
func (s *Site) EchoPodNetNS(ctx context.Context, node string) (string, error) {
	pod, err := s.podOn(ctx, EchoNamespace, "app=echo", node)
	if err != nil {
		return "", err
	}
	return s.PodNetNS(ctx, node, EchoNamespace, pod.Name, pod.Container)
}

// Answered waits until a target answers the namespace at path many times in a row,
// and from all these nodes: until kube-proxy there knows its endpoints, and no others.
func Answered(ctx context.Context, path string, target netip.AddrPort, nodes []string) error {
	return answered(ctx, fmt.Sprintf("wait for answers of %s", target), nodes, func(ctx context.Context) (string, error) {
		return probe.Get(ctx, path, target)
	})
}

// AnsweredUDP is Answered over UDP.
func AnsweredUDP(ctx context.Context, path string, target netip.AddrPort, nodes []string) error {
	return answered(ctx, fmt.Sprintf("wait for answers of %s over UDP", target), nodes, func(ctx context.Context) (string, error) {
		return probe.UDP(ctx, path, target, "who?")
	})
}

func answered(ctx context.Context, what string, nodes []string, ask func(context.Context) (string, error)) error {
	return Eventually(ctx, what, func(ctx context.Context) error {
		seen := map[string]bool{}
		// With three endpoints, 40 answers without one of them are a matter of 3e-7.
		for range 40 {
			body, err := ask(ctx)
			if err != nil {
				return err
			}
			seen[probe.Field(body, "node")] = true
		}
		for _, n := range nodes {
			if !seen[n] {
				return fmt.Errorf("no answer from %s, only from %v", n, seen)
			}
			delete(seen, n)
		}
		if len(seen) > 0 {
			return fmt.Errorf("answers from %v, too", seen)
		}
		return nil
	})
}

// EchoSettled waits until each node's kube-proxy knows the endpoints of a Service of
// Echo.
func (s *Site) EchoSettled(ctx context.Context, service string) error {
	ips, err := s.ClusterIPs(ctx, EchoNamespace, service)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		for _, n := range s.Nodes() {
			if err := Answered(ctx, s.NetNS(n), httpPort(ip), s.EchoServices()[service]); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
		}
	}
	return nil
}

// ClusterIPs returns those of a Service: one, or one of each family.
func (s *Site) ClusterIPs(ctx context.Context, namespace, service string) ([]netip.Addr, error) {
	out, err := s.Kubectl(ctx, "", "--namespace="+namespace, "get", "service", service, "--output=jsonpath={.spec.clusterIPs[*]}")
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	for f := range strings.FieldsSeq(out) {
		ip, err := netip.ParseAddr(f)
		if err != nil {
			return nil, fmt.Errorf("read ClusterIPs of Service %s: %w", service, err)
		}
		ips = append(ips, ip)
	}
	return ips, nil
}
