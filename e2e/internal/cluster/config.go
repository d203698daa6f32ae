package cluster

import "fmt"

// kubeconfig is the kubeconfig file of a user with a token.
func kubeconfig(server, ca, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: cluster, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: user, user: {token: %q}}]
contexts: [{name: context, context: {cluster: cluster, user: user}}]
current-context: context
`, server, ca, token)
}

// proxyConfig is kube-proxy's configuration on a node.
//
// conntrack: its limits are of the whole machine and cannot be written from a
// network namespace; zero leaves them alone.
func proxyConfig(node, mode, kubeconfig string, dual bool) string {
	pods := podCIDR4
	if dual {
		pods += "," + podCIDR6
	}
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
hostnameOverride: %s
clusterCIDR: %q
bindAddress: 0.0.0.0
oomScoreAdj: 0
healthzBindAddress: 0.0.0.0:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: %q}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, mode, node, pods, kubeconfig)
}

// kubeletConfig is the kubelet's configuration.
//
//   - failCgroupV1: kubelet otherwise refuses to run on cgroup v1.
//   - oomScoreAdj: a machine may lack the capability to lower it.
//   - eviction, image collection: the nodes share one disk that is not theirs.
//   - crashLoopBackOff: a test that kills a container often need not wait ever longer.
func kubeletConfig(pki func(string) string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %q}}
authorization: {mode: Webhook}
tlsCertFile: %q
tlsPrivateKeyFile: %q
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: ""
volumePluginDir: /var/lib/kubelet/volumeplugins
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%"}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
registerNode: true
`, pki("ca.crt"), pki("server.crt"), pki("server.key"))
}

// containerdConfig is containerd's configuration. restrict_oom_score_adj: see
// kubeletConfig; the pods' sandboxes ask for a lower one too.
func containerdConfig(cniBin, cniConf, runc, snapshotter string) string {
	return fmt.Sprintf(`version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = %q
        SystemdCgroup = false
`, cniBin, cniConf, snapshotter, runc)
}

// cniConfig is the pod network of a node: a bridge whose address is the pods' router.
func cniConfig(node string, dual bool) string {
	pods4, pods6 := podNets(node)
	ranges := fmt.Sprintf(`[{"subnet":"%s"}]`, pods4)
	routes := `{"dst":"0.0.0.0/0"}`
	if dual {
		ranges += fmt.Sprintf(`,[{"subnet":"%s"}]`, pods6)
		routes += `,{"dst":"::/0"}`
	}
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"pods","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,"mtu":1500,
  "ipam":{"type":"host-local","ranges":[%s],"routes":[%s]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
`, ranges, routes)
}
