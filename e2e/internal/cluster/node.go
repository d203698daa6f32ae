package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/netns"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	cniConfDir       = "/run/cni/net.d"
)

// startNodes starts every node and waits for its container runtime.
func (c *Cluster) startNodes(ctx context.Context) error {
	for _, n := range nodeNames {
		if err := c.startNode(ctx, n); err != nil {
			return err
		}
	}
	for _, n := range nodeNames {
		if err := c.waitContainerd(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// startNode switches a node on.
func (c *Cluster) startNode(ctx context.Context, node string) error {
	g, err := detectCgroups()
	if err != nil {
		return err
	}
	if err := g.create(c.opt.Name, node); err != nil {
		return err
	}
	file := c.path("node", node, "spec.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make disk of %s: %w", node, err)
	}
	spec, err := c.nodeSpec(node)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return fmt.Errorf("write node specification: %w", err)
	}
	cmd := exec.CommandContext(ctx, c.path("bin", "cluster"), "node-launch", file)
	if err := netns.Do(c.NetNS(node), func() error {
		out, err := cmd.CombinedOutput()
		return exitText(err, out)
	}); err != nil {
		return fmt.Errorf("start node %s: %w", node, err)
	}
	return nil
}

// nodeSpec says what runs on a node.
func (c *Cluster) nodeSpec(node string) (nodeSpec, error) {
	debs, err := os.Readlink(c.path("debs"))
	if err != nil {
		return nodeSpec{}, fmt.Errorf("find container runtime: %w", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return nodeSpec{}, err
	}
	dual := dualStack()
	ips := c.Addr(node).String()
	if dual {
		ips += "," + c.Addr6(node).String()
	}
	snapshotter := "overlayfs"
	var st unix.Statfs_t
	if err := unix.Statfs(c.opt.Dir, &st); err != nil {
		return nodeSpec{}, fmt.Errorf("state directory: %w", err)
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		snapshotter = "native" // an overlay cannot be stacked on an overlay
	}
	pki := func(name string) string { return c.path("pki", name) }
	conf := func(name string) string { return c.path("conf", name+".conf") }
	return nodeSpec{
		Cluster:     c.opt.Name,
		Node:        node,
		Dir:         c.opt.Dir,
		Expose:      []string{c.opt.Dir, cache},
		HiddenPaths: []string{"/run", "/var/lib"},
		Path: strings.Join([]string{
			filepath.Join(debs, "usr/bin"), filepath.Join(debs, "usr/sbin"),
			"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		}, ":"),
		Files: map[string]string{
			cniConfDir + "/10-pods.conflist": cniConfig(node, dual),
			"/run/containerd/config.toml": containerdConfig(
				filepath.Join(debs, "usr/lib/cni"), cniConfDir, filepath.Join(debs, "usr/sbin/runc"), snapshotter),
			"/run/kubelet.yaml":    kubeletConfig(pki),
			"/run/kube-proxy.yaml": proxyConfig(node, c.opt.ProxyMode, conf("kube-proxy"), dual),
		},
		Services: []service{
			{"containerd", []string{filepath.Join(debs, "usr/bin/containerd"), "--config=/run/containerd/config.toml"}},
			{"kubelet", []string{
				c.path("bin", "kubelet"), "--config=/run/kubelet.yaml", "--kubeconfig=" + conf("kubelet-"+node),
				"--hostname-override=" + node, "--node-ip=" + ips, "--node-labels=type=worker",
			}},
			{"kube-proxy", []string{c.path("bin", "kube-proxy"), "--config=/run/kube-proxy.yaml"}},
		},
	}, nil
}

// waitContainerd waits until a node's container runtime answers.
func (c *Cluster) waitContainerd(ctx context.Context, node string) error {
	err := poll(ctx, stepLimit, 50*time.Millisecond, func(ctx context.Context) error {
		p, err := c.process("node-" + node)
		if err != nil {
			return err
		}
		if !p.alive() {
			return &finalError{fmt.Errorf("the node ended: %s", tail(c.path("log", "node-"+node+".log"), 1000))}
		}
		_, err = c.ctr(ctx, node, "version")
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for containerd on %s: %w", node, err)
	}
	return nil
}

// ctr runs containerd's client from outside the node, by the node's socket.
func (c *Cluster) ctr(ctx context.Context, node string, args ...string) (string, error) {
	p, err := c.process("node-" + node)
	if err != nil {
		return "", err
	}
	socket := fmt.Sprintf("/proc/%d/root%s", p.PID, containerdSocket)
	if _, err := os.Stat(socket); err != nil {
		return "", err // at once, instead of after ctr's own patience
	}
	cmd := exec.CommandContext(ctx, c.path("debs", "usr/bin/ctr"), append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: ctr %s: %w", node, strings.Join(args, " "), exitText(err, []byte(stderr.String())))
	}
	return string(out), nil
}

// checkNode returns an error if there is no such node.
func checkNode(node string) error {
	if !slices.Contains(nodeNames, node) {
		return fmt.Errorf("no node %q", node)
	}
	return nil
}

// Crash stops a node as a power cut does: its network link goes down first, and then
// every process of it is killed at once, before any can say goodbye.
func (c *Cluster) Crash(ctx context.Context, node string) error {
	if err := checkNode(node); err != nil {
		return err
	}
	p, err := c.process("node-" + node)
	if err != nil {
		return fmt.Errorf("crash %s: %w", node, err)
	}
	if err := c.CutLink(node); err != nil {
		return fmt.Errorf("crash %s: %w", node, err)
	}
	if err := p.kill(); err != nil {
		return fmt.Errorf("crash %s: %w", node, err)
	}
	err = poll(ctx, stepLimit, 5*time.Millisecond, func(context.Context) error {
		if p.alive() {
			return errors.New("its first process is still there")
		}
		g, err := detectCgroups()
		if err != nil {
			return err
		}
		left, err := g.processes(filepath.Join(c.opt.Name, node), "")
		if err == nil && len(left) > 0 {
			return fmt.Errorf("its processes %v are still there", left)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("crash %s: %w", node, err)
	}
	return nil
}

// shutdownPatience is how long the programs of a node that is shut down may take to end.
const shutdownPatience = 3 * time.Second

// ShutDown stops a node in order, as its service manager does: all of its programs and
// those in its containers are told to end by SIGTERM, at the same time, and none is
// started again. Only containerd's shims are left alone, as its unit's KillMode=process
// has it: while it runs, it kills the container of one that ends. After that, or after a
// patience, the node is off as by Crash.
func (c *Cluster) ShutDown(ctx context.Context, node string) error {
	what := "shut down " + node
	if err := checkNode(node); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	p, err := c.process("node-" + node)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	g, err := detectCgroups()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// Its first process would start what ends.
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	pids, err := g.processes(filepath.Join(c.opt.Name, node), "")
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	pids = slices.DeleteFunc(pids, func(pid int) bool {
		return pid == p.PID || strings.HasPrefix(programOf(pid), "containerd-shim")
	})
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	err = poll(ctx, shutdownPatience, 10*time.Millisecond, func(context.Context) error {
		for _, pid := range pids {
			if st, err := processStat(pid); err == nil && !st.dead {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return c.Crash(ctx, node)
}

// PowerOn switches a crashed node on again: with its old disks, and a network as
// after a reboot. It waits until the node is Ready and its Services work.
func (c *Cluster) PowerOn(ctx context.Context, node string) error {
	if err := checkNode(node); err != nil {
		return err
	}
	p, err := c.process("node-" + node)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	if err == nil && p.alive() {
		return fmt.Errorf("power on %s: it is on", node)
	}
	// Until the control plane has missed it, a dead node is Ready too.
	before, err := c.readNode(ctx, node)
	if err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	for _, step := range []func() error{
		func() error { return c.resetHost(ctx, node) },
		func() error { return c.startNode(ctx, node) },
		func() error { return c.waitContainerd(ctx, node) },
		func() error { return c.waitReady(ctx, node, before.Heartbeat) },
		func() error { return c.waitService(ctx, node) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("power on %s: %w", node, err)
		}
	}
	return nil
}

// LoadImage imports an image archive into the container runtime of the nodes named,
// or of all.
func (c *Cluster) LoadImage(ctx context.Context, tarPath string, nodes ...string) error {
	if len(nodes) == 0 {
		nodes = nodeNames
	}
	// ctr reads the file itself, but says less when there is none.
	if _, err := os.Stat(tarPath); err != nil {
		return fmt.Errorf("load image: %w", err)
	}
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if errs[i] = checkNode(n); errs[i] != nil {
				return
			}
			_, errs[i] = c.ctr(ctx, n, "images", "import", tarPath)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("load image %s: %w", tarPath, err)
	}
	return nil
}

// KillContainer sends a signal to the first process of each running instance of a
// pod's container, without the kubelet being asked: to it, the container just ends.
func (c *Cluster) KillContainer(ctx context.Context, node, namespace, pod, container string, sig syscall.Signal) error {
	what := fmt.Sprintf("signal container %s of %s/%s on %s", container, namespace, pod, node)
	pids, err := c.containerProcesses(ctx, node, namespace, pod, container)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// Starve leaves a pod's container no more memory than it uses now: the kernel kills it
// when it wants more. The container that is started in its place has its own limit.
func (c *Cluster) Starve(ctx context.Context, node, namespace, pod, container string) error {
	what := fmt.Sprintf("starve container %s of %s/%s on %s", container, namespace, pod, node)
	pids, err := c.containerProcesses(ctx, node, namespace, pod, container)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	g, err := detectCgroups()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, pid := range pids {
		if err := g.limitMemory(filepath.Join(c.opt.Name, node), pid); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// SignalProgram sends a signal to one of a node's own programs: containerd, kubelet or
// kube-proxy. One that ends is started again after a second.
func (c *Cluster) SignalProgram(node, program string, sig syscall.Signal) error {
	what := fmt.Sprintf("signal %s on %s", program, node)
	if err := checkNode(node); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	g, err := detectCgroups()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	pids, err := g.processes(filepath.Join(c.opt.Name, node), "")
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	found := false
	for _, pid := range pids {
		if programOf(pid) != program {
			continue
		}
		found = true
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if !found {
		return fmt.Errorf("%s: it does not run", what)
	}
	return nil
}

// PodNetNS returns the path of a pod's network namespace; container is one of it
// that runs. The path is good for as long as that container runs.
func (c *Cluster) PodNetNS(ctx context.Context, node, namespace, pod, container string) (string, error) {
	pids, err := c.containerProcesses(ctx, node, namespace, pod, container)
	if err != nil {
		return "", fmt.Errorf("find network namespace of %s/%s on %s: %w", namespace, pod, node, err)
	}
	return fmt.Sprintf("/proc/%d/ns/net", pids[0]), nil
}

// containerProcesses returns the first process of each running instance of a pod's
// container; there is at least one.
func (c *Cluster) containerProcesses(ctx context.Context, node, namespace, pod, container string) ([]int, error) {
	if err := checkNode(node); err != nil {
		return nil, err
	}
	out, err := c.ctr(ctx, node, "containers", "list", "--quiet", fmt.Sprintf(
		`labels."io.kubernetes.pod.namespace"==%q,labels."io.kubernetes.pod.name"==%q,labels."io.kubernetes.container.name"==%q`,
		namespace, pod, container))
	if err != nil {
		return nil, err
	}
	g, err := detectCgroups()
	if err != nil {
		return nil, err
	}
	var first []int
	// Containers that ended are listed too, until the kubelet collects them; they
	// have no processes.
	for id := range strings.FieldsSeq(out) {
		pids, err := g.processes(filepath.Join(c.opt.Name, node), id)
		if err != nil {
			return nil, err
		}
		for _, pid := range pids {
			st, err := processStat(pid)
			if err != nil || slices.Contains(pids, st.parent) {
				continue // gone, or not the first
			}
			first = append(first, pid)
		}
	}
	if len(first) == 0 {
		return nil, errors.New("it does not run")
	}
	return first, nil
}
