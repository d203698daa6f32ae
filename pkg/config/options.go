package config

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"kube-vrrp-vip/pkg/vrrp"
)

// Options are the flags and the environment of the daemon. Flags that
// kube-keepalived-vip has too have the same names and meanings.
type Options struct {
	// ConfigMap is the ConfigMap with the VIPs.
	ConfigMap ObjectName
	// VRRP are the settings of every virtual router. ParseOptions does not set
	// Priority, which depends on the Node, nor Password, which the caller reads from
	// AuthPassFile.
	VRRP vrrp.Settings
	// AuthPassFile is the path of the file with the VRRPv2 password; empty for no
	// authentication.
	AuthPassFile string
	// UnicastPeers are the addresses of routers outside the DaemonSet, sorted. It
	// is empty with multicast.
	UnicastPeers []netip.Addr
	// VRID is the virtual router identifier, 1 to 255.
	VRID int
	// VRIDs are the virtual routers that the VIPs are spread over. If it is zero, all
	// VIPs have VRID.
	VRIDs VRIDRange
	// Interface is the name of the interface of all VIPs whose entry names none. If
	// it is empty, the interface is chosen for each VIP.
	Interface string
	// VirtualMAC advertises VIPs with the virtual router MAC address (RFC 9568
	// section 7.3), unless Entry.VirtualMAC is set.
	VirtualMAC bool
	// ProxyProtocolMode is kube-keepalived-vip's flag for HAProxy in front of all
	// entries. It has no effect except for a warning.
	ProxyProtocolMode bool
	// AllowHostPorts is Entry.AllowHostPorts for all entries. It is the inverse of
	// --guard.
	AllowHostPorts bool
	// HTTPPort is the port of /healthz, /readyz, /metrics and /status, on all
	// addresses.
	HTTPPort int
	// ReleaseVIPs makes a Master that stops resign (RFC 9568 section 6.4.3) and
	// remove its addresses. Without it they stay until their lease ends.
	ReleaseVIPs bool
	// WatchNamespace is the namespace whose Services the daemon watches; empty for
	// all namespaces.
	WatchNamespace string
	// APIServerHost is the URL of the API server, and Kubeconfig the path of a
	// kubeconfig file. If both are empty, the daemon uses the service account of its
	// pod.
	APIServerHost string
	Kubeconfig    string

	// PodName and PodNamespace name the daemon's own pod.
	PodName      string
	PodNamespace string
	// NodeName is the name of the Node; if it is empty, the pod has it.
	NodeName string
	// HostIP is the address of the Node; if it is invalid, the pod has it.
	HostIP netip.Addr
}

// ParseOptions parses and checks the arguments, without the name of the program, and
// the environment. Each of register may define further flags, such as those of klog.
// For -h, ParseOptions writes the usage to out and returns flag.ErrHelp. Any other
// error names every invalid flag or variable and its value.
func ParseOptions(args []string, getenv func(string) string, out io.Writer, register ...func(*flag.FlagSet)) (Options, error) {
	o := Options{
		PodName:      getenv("POD_NAME"),
		PodNamespace: getenv("POD_NAMESPACE"),
		NodeName:     getenv("NODE_NAME"),
	}
	fs := flag.NewFlagSet("kube-vrrp-vip", flag.ContinueOnError)
	// The caller reports errors; the usage after them would only hide them.
	fs.SetOutput(io.Discard)
	configMap := fs.String("services-configmap", "", "namespace/name of the ConfigMap with the VIPs (default $POD_NAMESPACE/vip-configmap)")
	unicastPeers := fs.String("unicast-peers", "", "comma-separated addresses of routers outside the DaemonSet (default: none)")
	fs.IntVar(&o.VRID, "vrid", 50, "virtual router identifier, 1 to 255")
	vrids := fs.String("vrids", "", "spread the VIPs over virtual routers, such as 50-57 (default: --vrid for all)")
	fs.StringVar(&o.Interface, "iface", "", "network interface for all VIPs (default: chosen per VIP)")
	fs.BoolVar(&o.VirtualMAC, "virtual-mac", false, "advertise the VIPs with the virtual router MAC address")
	fs.BoolVar(&o.ProxyProtocolMode, "proxy-protocol-mode", false, "no effect: entries with :PROXY or proxyProtocol are proxied with or without it, and the others are forwarded by nftables")
	guard := fs.Bool("guard", true, "refuse ports of a VIP that its Services do not have")
	fs.IntVar(&o.HTTPPort, "http-port", 8080, "port of /healthz, /readyz, /metrics and /status")
	fs.BoolVar(&o.ReleaseVIPs, "release-vips", true, "on exit, resign as master and remove the VIPs")
	fs.StringVar(&o.WatchNamespace, "watch-namespace", "", "namespace of the Services to watch (default: all)")
	fs.StringVar(&o.APIServerHost, "apiserver-host", "", "URL of the API server (default: from the pod)")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", "", "path of a kubeconfig file (default: the pod's service account)")
	settings := newVRRPFlags(fs, &o.VRRP)
	fs.StringVar(&o.AuthPassFile, "auth-pass-file", "", "path of the file with the password of VRRPv2 (default: none)")
	for _, r := range register {
		r(fs)
	}

	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(out)
			fmt.Fprintf(out, "Usage of %s:\n", fs.Name())
			fs.PrintDefaults()
		}
		return Options{}, err
	}

	var (
		errs []error
		err  error
	)
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q: flags are written --name=value", fs.Arg(0)))
	}
	if name := cmp.Or(*configMap, o.PodNamespace+"/vip-configmap"); *configMap != "" || o.PodNamespace != "" {
		if o.ConfigMap, err = parseObjectName(name); err != nil {
			errs = append(errs, fmt.Errorf("--services-configmap=%q: %w", name, err))
		}
	}
	if s := getenv("HOST_IP"); s != "" {
		if o.HostIP, err = netip.ParseAddr(s); err != nil {
			errs = append(errs, fmt.Errorf("environment variable HOST_IP=%q: must be an IP address, as status.hostIP gives it", s))
		}
	}
	if o.UnicastPeers, err = parsePeers(*unicastPeers); err != nil {
		errs = append(errs, fmt.Errorf("--unicast-peers=%s: %w", *unicastPeers, err))
	}
	if isSet(fs, "vrids") {
		if o.VRIDs, err = parseVRIDs(*vrids); err != nil {
			errs = append(errs, fmt.Errorf("--vrids=%s: %w", *vrids, err))
		}
		if isSet(fs, "vrid") {
			errs = append(errs, fmt.Errorf("--vrids=%s: cannot be combined with --vrid=%d: leave one of the two out", *vrids, o.VRID))
		}
	}
	o.AllowHostPorts = !*guard
	err = settings.finish()
	errs = append(errs, o.validate(), err)
	if err := errors.Join(errs...); err != nil {
		return Options{}, err
	}
	return o, nil
}

func isSet(fs *flag.FlagSet, name string) bool {
	found := false
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// validate returns an error that names every invalid flag or variable of o, except
// for those of VRRP, its value, and the accepted values.
func (o Options) validate() error {
	var errs []error
	reject := func(flag string, value any, remedy string) {
		errs = append(errs, fmt.Errorf("--%s=%v: %s", flag, value, remedy))
	}

	if o.PodName == "" {
		errs = append(errs, errors.New("environment variable POD_NAME is not set: set it from metadata.name"))
	}
	if o.PodNamespace == "" {
		errs = append(errs, errors.New("environment variable POD_NAMESPACE is not set: set it from metadata.namespace"))
	}
	if !o.ConfigMap.IsZero() {
		if err := errors.Join(checkLabel(o.ConfigMap.Namespace), checkSubdomain(o.ConfigMap.Name)); err != nil {
			reject("services-configmap", o.ConfigMap, "write namespace/name of a ConfigMap")
		}
	}
	if len(o.UnicastPeers) > 0 && !o.VRRP.Unicast {
		reject("unicast-peers", joinAddrs(o.UnicastPeers), "requires --use-unicast")
	}
	if o.VRID < 1 || o.VRID > 255 {
		reject("vrid", o.VRID, "must be 1 to 255")
	}
	if !isInterfaceName(o.Interface) {
		reject("iface", o.Interface, "must be the name of a network interface: at most 15 characters, without '/' or blanks")
	}
	if o.HTTPPort < 1 || o.HTTPPort > 65535 {
		reject("http-port", o.HTTPPort, "must be 1 to 65535")
	}
	if o.WatchNamespace != "" && checkLabel(o.WatchNamespace) != nil {
		reject("watch-namespace", o.WatchNamespace, "must be the name of a namespace, or empty for all")
	}
	if o.VRRP.Version != vrrp.V2 && o.AuthPassFile != "" {
		reject("auth-pass-file", o.AuthPassFile, "requires --vrrp-version=2: VRRPv3 has no authentication")
	}
	return errors.Join(errs...)
}

// Warnings returns a message for each flag that has no effect.
func (o Options) Warnings() []string {
	var warnings []string
	if o.ProxyProtocolMode {
		warnings = append(warnings, "--proxy-protocol-mode=true has no effect: with it kube-keepalived-vip served every entry by HAProxy; here entries with :PROXY or proxyProtocol are proxied with or without it, and the others are forwarded by nftables")
	}
	return warnings
}

// isInterfaceName reports whether s is empty or the kernel accepts it as the name of
// an interface (dev_valid_name).
func isInterfaceName(s string) bool {
	return len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r")
}
