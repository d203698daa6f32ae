package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"kube-vrrp-vip/pkg/netns"
)

const (
	podNamespace  = "vip"
	configMapName = "vip-configmap"
	daemonSetName = "kube-vrrp-vip"
	daemonSetUID  = "6c0f5d3e-0000-4000-8000-000000000001"
	statusPort    = "8080"
)

// Binary returns the path of the daemon that make build has built.
func Binary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "Dockerfile")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not in the source tree: no directory above has a Dockerfile")
		}
	}
	file := filepath.Join(dir, "bin", "kube-vrrp-vip")
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("there is no daemon to test, run make build first: %w", err)
	}
	return file, nil
}

// SetConfigMap writes the ConfigMap with the VIPs.
func (l *Lab) SetConfigMap(data map[string]string) {
	l.API.Set("configmaps", Object{"metadata": map[string]any{"namespace": podNamespace, "name": configMapName, "uid": "configmap"}, "data": data})
}

// SetService writes a Service with TCP ports.
func (l *Lab) SetService(namespace, name, clusterIP string, ports ...int) {
	list := make([]any, len(ports))
	for i, port := range ports {
		list[i] = map[string]any{"name": fmt.Sprintf("p%d", port), "protocol": "TCP", "port": port, "targetPort": port}
	}
	l.API.Set("services", Object{
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"type":       "ClusterIP",
			"clusterIP":  clusterIP,
			"clusterIPs": []string{clusterIP},
			"ports":      list,
		},
	})
}

// SetNode writes a host's Node. A priority of 0 leaves that to the daemon.
func (l *Lab) SetNode(h *Host, priority int) {
	annotations := map[string]string{}
	if priority != 0 {
		annotations["kube-vrrp-vip/priority"] = strconv.Itoa(priority)
	}
	l.API.Set("nodes", Object{
		"metadata": map[string]any{"name": h.Name, "annotations": annotations},
		"status": map[string]any{"addresses": []any{
			map[string]any{"type": "InternalIP", "address": h.IPv4.String()},
			map[string]any{"type": "InternalIP", "address": h.IPv6.String()},
		}},
	})
}

// SetPod writes the DaemonSet's pod on a host, by which the daemons know their
// peers.
func (l *Lab) SetPod(h *Host) {
	l.API.Set("daemonsets", Object{"metadata": map[string]any{"namespace": podNamespace, "name": daemonSetName, "uid": daemonSetUID}})
	l.API.Set("namespaces", Object{"metadata": map[string]any{"name": podNamespace}})
	l.API.Set("pods", Object{
		"metadata": map[string]any{
			"namespace": podNamespace,
			"name":      podName(h),
			"uid":       podName(h),
			"ownerReferences": []any{map[string]any{
				"apiVersion": "apps/v1", "kind": "DaemonSet", "name": daemonSetName, "uid": daemonSetUID, "controller": true,
			}},
		},
		"spec": map[string]any{"nodeName": h.Name, "hostNetwork": true},
		"status": map[string]any{
			"phase":   "Running",
			"hostIP":  h.IPv4.String(),
			"hostIPs": []any{map[string]any{"ip": h.IPv4.String()}, map[string]any{"ip": h.IPv6.String()}},
		},
	})
}

// DeletePod removes the pod on a host.
func (l *Lab) DeletePod(h *Host) { l.API.Delete("pods", podNamespace, podName(h)) }

func podName(h *Host) string { return daemonSetName + "-" + h.Name }

// Daemon is a running kube-vrrp-vip.
type Daemon struct {
	*netns.Process
	// Host is where it runs.
	Host *Host
}

// StartDaemon starts the daemon on a host as its DaemonSet would: the Node gets
// the priority, 0 for the daemon's own, and the pod is written first.
func (l *Lab) StartDaemon(h *Host, priority int, args ...string) (*Daemon, error) {
	return l.StartDaemonBy(nil, h, priority, args...)
}

// StartDaemonBy is StartDaemon by a command that ends with executing what it is
// given as arguments, such as one of Debian's unshare.
func (l *Lab) StartDaemonBy(command []string, h *Host, priority int, args ...string) (*Daemon, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	l.SetNode(h, priority)
	l.SetPod(h)
	line := slices.Concat(command, []string{binary, "--apiserver-host=http://" + apiAddress, "--http-port=" + statusPort}, args)
	p, err := l.Start(h,
		[]string{"POD_NAME=" + podName(h), "POD_NAMESPACE=" + podNamespace, "NODE_NAME=" + h.Name, "HOST_IP=" + h.IPv4.String()},
		line[0], line[1:]...)
	if err != nil {
		return nil, err
	}
	return &Daemon{Process: p, Host: h}, nil
}

// Status is the part of /status that tests look at.
type Status struct {
	Engine struct {
		Applied bool
		Routers []RouterStatus
		Foreign []struct {
			VRID   int
			Source netip.Addr
		}
		Unheard map[string]uint64
	}
	Datapath struct {
		LastSync   time.Time
		Error      string
		ProxyError string
		Errors     uint64
		Proxy      []ProxyStatus
	}
	Problems []struct{ Key, Value, Message string }
}

// ProxyStatus is a port that the daemon serves itself.
type ProxyStatus struct {
	VIP, Listener, Target netip.AddrPort
	Connections           int
	Ended                 map[string]uint64
}

// RouterStatus is a virtual router of a daemon.
type RouterStatus struct {
	Interface      string
	Family         int // 4 or 6
	VRID           int
	State, Reason  string
	Message        string
	Since          time.Time
	Priority       int
	Master         netip.Addr
	MasterPriority int
	ListOf         netip.Addr
	Unicast        []netip.Addr
	Alarms         []struct {
		Reason string
		Source netip.Addr
		Detail string
	}
	VIPs []struct {
		Address    netip.Addr
		Bound      bool
		Advertised bool
		InUseBy    string
	}
}

// Status asks the daemon.
func (d *Daemon) Status(ctx context.Context) (Status, error) {
	text, err := d.get(ctx, "/status")
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}, fmt.Errorf("read the status of %s: %w", d.Host.Name, err)
	}
	return s, nil
}

// Router asks the daemon for its virtual router of that VRID and family.
func (d *Daemon) Router(ctx context.Context, ipv6 bool, vrid int) (RouterStatus, error) {
	s, err := d.Status(ctx)
	if err != nil {
		return RouterStatus{}, err
	}
	family := 4
	if ipv6 {
		family = 6
	}
	for _, r := range s.Engine.Routers {
		if r.VRID == vrid && r.Family == family {
			return r, nil
		}
	}
	return RouterStatus{}, fmt.Errorf("%s has no virtual router IPv%d %d, problems %v", d.Host.Name, family, vrid, s.Problems)
}

// Health asks the daemon what the kubelet's liveness probe asks; nil is healthy.
func (d *Daemon) Health(ctx context.Context) error {
	_, err := d.get(ctx, "/healthz")
	return err
}

// Metrics asks the daemon for its metrics, as text.
func (d *Daemon) Metrics(ctx context.Context) (string, error) {
	text, err := d.get(ctx, "/metrics")
	return string(text), err
}

func (d *Daemon) get(ctx context.Context, path string) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, d.Host.Path(), network, addr)
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+statusPort+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s of %s: %s", path, d.Host.Name, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
