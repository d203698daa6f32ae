package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
)

const (
	// Namespace is where the manifests put everything.
	Namespace = "vip"
	// ConfigMap holds the VIPs.
	ConfigMap = "vip-configmap"
	// Image is what the manifests name.
	Image = "kube-vrrp-vip:dev"

	// limit bounds each wait. Each takes seconds; a machine with something else on
	// its processors takes longer.
	limit = 90 * time.Second
)

// Site is a cluster and the source tree of what is installed on it.
type Site struct {
	*cluster.Cluster
	// Root is the root of the source tree.
	Root string
}

// Open returns a Site of a cluster, for a program that runs in a directory of the
// source tree.
func Open(c *cluster.Cluster) (*Site, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "Dockerfile")); err == nil {
			return &Site{Cluster: c, Root: dir}, nil
		}
		if dir == filepath.Dir(dir) {
			return nil, errors.New("not in the source tree: no directory above has a Dockerfile")
		}
		dir = filepath.Dir(dir)
	}
}

// LoadImage makes the image of what the tree's bin directory holds and loads it into
// the nodes. Without a binary there it makes that first.
func (s *Site) LoadImage(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.Root, "bin", "kube-vrrp-vip")); errors.Is(err, os.ErrNotExist) {
		cmd := exec.CommandContext(ctx, "make", "--directory", s.Root, "build")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("make build: %w: %s", err, out)
		}
	}
	file, err := cluster.BuildImage(ctx, s.Root, Image)
	if err != nil {
		return err
	}
	return s.Cluster.LoadImage(ctx, file)
}

// Install applies the manifests, and the ConfigMap as it comes with them.
func (s *Site) Install(ctx context.Context) error {
	if _, err := s.Kubectl(ctx, "", "apply", "--kustomize", s.Manifests()); err != nil {
		return err
	}
	_, err := s.Kubectl(ctx, "", "apply", "--filename", filepath.Join(s.Manifests(), ConfigMap+".yaml"))
	return err
}

// Reinstall deletes the DaemonSet and applies the manifests with patches, the text of
// that field of a kustomization; without any if it is empty. It is how flags are
// changed that all nodes must have in common. The ConfigMap stays.
func (s *Site) Reinstall(ctx context.Context, patches string) error {
	dir, err := os.MkdirTemp("", "kube-vrrp-vip-site")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	base, err := filepath.Rel(dir, s.Manifests())
	if err != nil {
		return err
	}
	kustomization := "resources: [" + base + "]\n" + patches
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, "", "--namespace="+Namespace, "delete", "daemonset", "kube-vrrp-vip",
		"--cascade=foreground", "--ignore-not-found", "--timeout="+limit.String()); err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, "", "apply", "--kustomize", dir)
	return err
}

// Uninstall deletes what the manifests made, and waits until it is gone.
func (s *Site) Uninstall(ctx context.Context) error {
	_, err := s.Kubectl(ctx, "", "delete", "--ignore-not-found", "--timeout="+limit.String(), "--kustomize", s.Manifests())
	return err
}

// Manifests is the directory of the manifests.
func (s *Site) Manifests() string { return filepath.Join(s.Root, "manifests") }

// Label gives a node the label that the manifests want, or takes it away.
func (s *Site) Label(ctx context.Context, node string, worker bool) error {
	label := "type-"
	if worker {
		label = "type=worker"
	}
	_, err := s.Kubectl(ctx, "", "label", "--overwrite", "node", node, label)
	return err
}

// Annotate sets a node's annotation kube-vrrp-vip/priority, or removes it with 0.
func (s *Site) Annotate(ctx context.Context, node string, priority int) error {
	annotation := "kube-vrrp-vip/priority-"
	if priority != 0 {
		annotation = fmt.Sprintf("kube-vrrp-vip/priority=%d", priority)
	}
	_, err := s.Kubectl(ctx, "", "annotate", "--overwrite", "node", node, annotation)
	return err
}

// SetConfig replaces all entries of the ConfigMap.
func (s *Site) SetConfig(ctx context.Context, data map[string]string) error {
	patch, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/data", "value": data}})
	if err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, "", "--namespace="+Namespace, "patch", "configmap", ConfigMap, "--type=json", "--patch="+string(patch))
	return err
}

// SetEntry adds an entry to the ConfigMap or changes it.
func (s *Site) SetEntry(ctx context.Context, key, value string) error {
	return s.patchEntry(ctx, key, value)
}

// RemoveEntry removes an entry of the ConfigMap.
func (s *Site) RemoveEntry(ctx context.Context, key string) error {
	return s.patchEntry(ctx, key, nil)
}

func (s *Site) patchEntry(ctx context.Context, key string, value any) error {
	patch, err := json.Marshal(map[string]any{"data": map[string]any{key: value}})
	if err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, "", "--namespace="+Namespace, "patch", "configmap", ConfigMap, "--type=merge", "--patch="+string(patch))
	return err
}

// Pod is a pod that is not ending.
type Pod struct {
	Name      string
	Container string
	Node      string
	UID       string
	IPs       []netip.Addr
	Restarts  int
	Ready     bool
}

// Pod returns the daemon's pod on a node.
func (s *Site) Pod(ctx context.Context, node string) (Pod, error) {
	return s.podOn(ctx, Namespace, "app.kubernetes.io/name=kube-vrrp-vip", node)
}

func (s *Site) podOn(ctx context.Context, namespace, selector, node string) (Pod, error) {
	pods, err := s.Pods(ctx, namespace, selector)
	if err != nil {
		return Pod{}, err
	}
	i := slices.IndexFunc(pods, func(p Pod) bool { return p.Node == node })
	if i < 0 {
		return Pod{}, fmt.Errorf("no pod %s in namespace %s on %s", selector, namespace, node)
	}
	return pods[i], nil
}

// Pods returns the pods that a selector finds.
func (s *Site) Pods(ctx context.Context, namespace, selector string) ([]Pod, error) {
	out, err := s.Kubectl(ctx, "", "--namespace="+namespace, "get", "pods", "--output=json", "--selector="+selector)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name, UID         string
				DeletionTimestamp *string
			}
			Spec struct {
				NodeName   string
				Containers []struct{ Name string }
			}
			Status struct {
				PodIPs            []struct{ IP netip.Addr }
				ContainerStatuses []struct {
					RestartCount int
					Ready        bool
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read list of pods: %w", err)
	}
	var pods []Pod
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp != nil {
			continue
		}
		pod := Pod{Name: p.Metadata.Name, UID: p.Metadata.UID, Node: p.Spec.NodeName, Container: p.Spec.Containers[0].Name}
		if st := p.Status.ContainerStatuses; len(st) > 0 {
			pod.Restarts, pod.Ready = st[0].RestartCount, st[0].Ready
		}
		for _, ip := range p.Status.PodIPs {
			pod.IPs = append(pod.IPs, ip.IP)
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

// Dump writes what explains a failure: the daemons' logs and Events, and the
// addresses and tables of the nodes.
func (s *Site) Dump(ctx context.Context, w io.Writer) {
	show := func(title, out string, err error) {
		fmt.Fprintf(w, "=== %s\n%s\n", title, strings.TrimRight(out, "\n"))
		if err != nil {
			fmt.Fprintln(w, err)
		}
	}
	for _, n := range s.Nodes() {
		out, err := s.Exec(ctx, n, "nft", "list", "table", "inet", "kube_vrrp_vip")
		show("nftables of "+n, out, err)
		out, err = s.Exec(ctx, n, "ip", "-details", "address", "show", "eth0")
		show("addresses of "+n, out, err)
	}
	out, err := s.Exec(ctx, "client", "ip", "neigh")
	show("neighbors of the client", out, err)
	out, err = s.Kubectl(ctx, "", "get", "pods", "--all-namespaces", "--output=wide")
	show("pods", out, err)
	out, err = s.Kubectl(ctx, "", "--namespace="+Namespace, "get", "events", "--sort-by=.lastTimestamp")
	show("Events", out, err)
	for _, n := range s.Nodes() {
		pod, err := s.Pod(ctx, n)
		if err != nil {
			show("log of "+n, "", err)
			continue
		}
		if pod.Restarts > 0 {
			out, err = s.Kubectl(ctx, "", "--namespace="+Namespace, "logs", "--previous", "--tail=30", pod.Name)
			show("log of "+n+", before its restart", out, err)
		}
		out, err = s.Kubectl(ctx, "", "--namespace="+Namespace, "logs", "--tail=60", pod.Name)
		show("log of "+n, out, err)
	}
}

// Eventually waits until f succeeds.
func Eventually(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		// What is cut short tells nothing of what is waited for.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), last)
		case <-t.C:
		}
	}
}

// httpPort is a VIP's port 80.
func httpPort(vip netip.Addr) netip.AddrPort { return netip.AddrPortFrom(vip, 80) }
