package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

// kubectlArgs are the words that begin every kubectl command line: its discovery
// cache is the cluster's, not the operator's.
func (c *Cluster) kubectlArgs() []string {
	return []string{c.path("bin", "kubectl"), "--kubeconfig=" + c.path("conf", "admin.conf"), "--cache-dir=" + c.path("kubectl-cache")}
}

// Kubectl runs kubectl as the cluster's administrator and returns what it printed to
// standard output; what it printed to standard error is in the error.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	err := c.KubectlTo(ctx, strings.NewReader(stdin), &stdout, &stderr, args...)
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), exitText(err, []byte(stderr.String())))
	}
	return stdout.String(), err
}

// KubectlTo is Kubectl for an operator: with files, such as those of a terminal.
func (c *Cluster) KubectlTo(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) error {
	argv := append(c.kubectlArgs(), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	if err := netns.Do(c.NetNS(controlHost), cmd.Start); err != nil {
		return err
	}
	return cmd.Wait()
}

// api returns a function that gets an object from the API server. Waiting by kubectl would cost a process for every look.
func (c *Cluster) api() (get func(ctx context.Context, path string) ([]byte, error), err error) {
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	token, err := os.ReadFile(c.path("pki", "admin.token"))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read credentials: no certificate in %s", c.path("pki", "ca.crt"))
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		DisableKeepAlives: true, // nothing is left to close
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, c.NetNS(controlHost), network, addr)
		},
	}}
	return func(ctx context.Context, path string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s:6443%s", c.Addr(controlHost), path), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("get %s: %s: %.300s", path, resp.Status, b)
		}
		return b, err
	}, nil
}

// nodeState is what is waited for of a Node object.
type nodeState struct {
	Ready     bool
	Reason    string
	Heartbeat string // when the kubelet last reported that it is Ready or not
}

func (c *Cluster) readNode(ctx context.Context, node string) (nodeState, error) {
	get, err := c.api()
	if err != nil {
		return nodeState{}, err
	}
	b, err := get(ctx, "/api/v1/nodes/"+node)
	if err != nil {
		return nodeState{}, err
	}
	return parseNode(b)
}

// parseNode reads a Node object.
func parseNode(b []byte) (nodeState, error) {
	var o struct {
		Status struct {
			Conditions []struct{ Type, Status, Reason, Message, LastHeartbeatTime string }
		}
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return nodeState{}, fmt.Errorf("read node object: %w", err)
	}
	for _, cond := range o.Status.Conditions {
		if cond.Type == "Ready" {
			return nodeState{
				Ready:     cond.Status == "True",
				Reason:    cond.Reason + ": " + cond.Message,
				Heartbeat: cond.LastHeartbeatTime,
			}, nil
		}
	}
	return nodeState{Reason: "no condition yet"}, nil
}

// waitReady waits until a node is Ready by a report other than the given one.
func (c *Cluster) waitReady(ctx context.Context, node, heartbeat string) error {
	err := poll(ctx, stepLimit, 100*time.Millisecond, func(ctx context.Context) error {
		s, err := c.readNode(ctx, node)
		switch {
		case err != nil:
			return err
		case !s.Ready:
			return errors.New(s.Reason)
		case s.Heartbeat == heartbeat:
			return errors.New("it has not reported since it is on")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s to be Ready: %w", node, err)
	}
	return nil
}

func (c *Cluster) waitNodesReady(ctx context.Context) error {
	for _, n := range nodeNames {
		if err := c.waitReady(ctx, n, ""); err != nil {
			return err
		}
	}
	return nil
}

// tellPodNets writes the networks of its pods into each Node object, as the controller
// that assigns them does in a cluster that has it.
func (c *Cluster) tellPodNets(ctx context.Context) error {
	for _, n := range nodeNames {
		v4, v6 := podNets(n)
		nets := []string{v4.String()}
		if dualStack() {
			nets = append(nets, v6.String())
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"podCIDR": nets[0], "podCIDRs": nets}})
		if err != nil {
			return err
		}
		if _, err := c.Kubectl(ctx, "", "patch", "node", n, "--patch="+string(patch)); err != nil {
			return err
		}
	}
	return nil
}

// waitService waits until kube-proxy has done its work on a node, which Ready does
// not say: until a connection to a ClusterIP succeeds.
func (c *Cluster) waitService(ctx context.Context, node string) error {
	err := poll(ctx, stepLimit, 100*time.Millisecond, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		conn, err := netns.Dial(ctx, c.NetNS(node), "tcp", net.JoinHostPort(kubernetesIP, "443"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return fmt.Errorf("wait for Services on %s: %w", node, err)
	}
	return nil
}

func (c *Cluster) waitServices(ctx context.Context) error {
	for _, n := range nodeNames {
		if err := c.waitService(ctx, n); err != nil {
			return err
		}
	}
	return nil
}
