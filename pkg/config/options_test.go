package config

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"
)

// environment is what the manifests of kube-keepalived-vip set.
func environment(more map[string]string) func(string) string {
	return func(name string) string {
		switch value, ok := more[name]; {
		case ok:
			return value
		case name == "POD_NAME":
			return "kube-vrrp-vip-x"
		case name == "POD_NAMESPACE":
			return "vip"
		}
		return ""
	}
}

func defaultOptions() Options {
	return Options{
		ConfigMap:             ObjectName{Namespace: "vip", Name: "vip-configmap"},
		VRID:                  50,
		HTTPPort:              8080,
		ReleaseVIPs:           true,
		VRRPVersion:           3,
		AdvertisementInterval: 100 * time.Millisecond,
		PodName:               "kube-vrrp-vip-x",
		PodNamespace:          "vip",
	}
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want func(*Options)
	}{
		{name: "defaults", want: func(*Options) {}},
		{
			// The arguments of kube-keepalived-vip's own manifests and chart,
			// with glog's flags.
			name: "as kube-keepalived-vip",
			args: []string{"--services-configmap=default/vip-config", "--vrid=179", "--http-port=8081", "--iface", "eth1", "--release-vips=false", "--watch-namespace=web", "--use-unicast=false", "-v=4", "--logtostderr", "--alsologtostderr=false", "--vmodule=a=1", "--stderrthreshold=INFO", "--log_dir=/tmp", "--log_backtrace_at="},
			want: func(o *Options) {
				o.ConfigMap = ObjectName{Namespace: "default", Name: "vip-config"}
				o.VRID = 179
				o.HTTPPort = 8081
				o.Interface = "eth1"
				o.ReleaseVIPs = false
				o.WatchNamespace = "web"
			},
		},
		{
			name: "version 2",
			args: []string{"--vrrp-version=2", "--preempt"},
			want: func(o *Options) { o.VRRPVersion, o.AdvertisementInterval, o.Preempt = 2, time.Second, true },
		},
		{
			name: "interval",
			args: []string{"--advertisement-interval=10ms"},
			want: func(o *Options) { o.AdvertisementInterval = 10 * time.Millisecond },
		},
		{
			name: "outside of a cluster",
			args: []string{"--apiserver-host=http://127.0.0.1:8080", "--kubeconfig=/root/.kube/config"},
			want: func(o *Options) {
				o.APIServerHost, o.Kubeconfig = "http://127.0.0.1:8080", "/root/.kube/config"
			},
		},
		{
			name: "node",
			env:  map[string]string{"NODE_NAME": "worker-a", "HOST_IP": "10.4.0.11"},
			want: func(o *Options) { o.NodeName, o.HostIP = "worker-a", netip.MustParseAddr("10.4.0.11") },
		},
		{
			name: "proxy mode is no error",
			args: []string{"--proxy-protocol-mode"},
			want: func(o *Options) { o.ProxyProtocolMode = true },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := defaultOptions()
			tt.want(&want)
			got, err := ParseOptions(tt.args, environment(tt.env), os.Stderr, initKlog)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, compareAddr); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

// initKlog registers klog's flags as cmd does, but without their values being
// those of this process.
func initKlog(fs *flag.FlagSet) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	all.VisitAll(func(f *flag.Flag) {
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			fs.Bool(f.Name, false, f.Usage)
			return
		}
		fs.String(f.Name, "", f.Usage)
	})
}

func TestParseOptionsErrors(t *testing.T) {
	t.Parallel()
	none := map[string]string{"POD_NAME": "", "POD_NAMESPACE": ""}
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want []string
	}{
		{
			name: "all at once",
			args: []string{"--vrid=0", "--http-port=70000", "--use-unicast", "--iface=very-long-interface", "--vrrp-version=4", "--watch-namespace=A", "--services-configmap=vip"},
			env:  map[string]string{"HOST_IP": "worker-a"},
			want: []string{
				`--services-configmap="vip": write namespace/name`,
				`environment variable HOST_IP="worker-a": must be an IP address, as status.hostIP gives it`,
				`--use-unicast=true: unicast is not yet supported: leave the flag out to use multicast (224.0.0.18)`,
				`--vrid=0: must be 1 to 255`,
				`--iface=very-long-interface: must be the name of a network interface: at most 15 characters, without '/' or blanks`,
				`--http-port=70000: must be 1 to 65535`,
				`--watch-namespace=A: must be the name of a namespace, or empty for all`,
				`--vrrp-version=4: must be 2 or 3`,
			},
		},
		{
			name: "no environment",
			env:  none,
			want: []string{
				"environment variable POD_NAME is not set: set it from metadata.name",
				"environment variable POD_NAMESPACE is not set: set it from metadata.namespace",
			},
		},
		{
			name: "ConfigMap's name",
			args: []string{"--services-configmap=vip/VIP"},
			want: []string{"--services-configmap=vip/VIP: write namespace/name of a ConfigMap"},
		},
		{name: "VRID too high", args: []string{"--vrid=256"}, want: []string{"--vrid=256: must be 1 to 255"}},
		{name: "VRID not a number", args: []string{"--vrid=x"}, want: []string{`invalid value "x" for flag -vrid: parse error`}},
		{name: "interval too short", args: []string{"--advertisement-interval=5ms"}, want: []string{"--advertisement-interval=5ms: must be 10ms to 40.95s in steps of 10ms"}},
		{name: "interval of no whole step", args: []string{"--advertisement-interval=15ms"}, want: []string{"--advertisement-interval=15ms: must be 10ms to 40.95s in steps of 10ms"}},
		{name: "interval zero", args: []string{"--advertisement-interval=0"}, want: []string{"--advertisement-interval=0s: must be 10ms to 40.95s in steps of 10ms"}},
		{name: "interval too long", args: []string{"--advertisement-interval=41s"}, want: []string{"--advertisement-interval=41s: must be 10ms to 40.95s in steps of 10ms"}},
		{name: "interval of version 2", args: []string{"--vrrp-version=2", "--advertisement-interval=100ms"}, want: []string{"--advertisement-interval=100ms: must be 1s to 255s in whole seconds with --vrrp-version=2"}},
		{name: "unknown flag", args: []string{"--password=x"}, want: []string{"flag provided but not defined: -password"}},
		{
			// kube-keepalived-vip read on, with the opposite of what was meant.
			name: "bool with a blank",
			args: []string{"--release-vips", "false", "--vrid=51"},
			want: []string{`unexpected argument "false": flags are written --name=value`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, err := ParseOptions(tt.args, environment(tt.env), os.Stderr)
			if err == nil {
				t.Fatalf("no error, options %+v", o)
			}
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseOptionsHelp(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if _, err := ParseOptions([]string{"-h"}, environment(nil), &out); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"services-configmap", "use-unicast", "vrid", "iface", "proxy-protocol-mode", "http-port", "release-vips", "watch-namespace", "apiserver-host", "kubeconfig", "vrrp-version"} {
		if !strings.Contains(out.String(), "-"+name) {
			t.Errorf("no -%s in\n%s", name, out.String())
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	o := defaultOptions()
	if got := o.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q", got)
	}
	o.ProxyProtocolMode = true
	if got := o.Warnings(); len(got) != 1 || !strings.Contains(got[0], "--proxy-protocol-mode=true") {
		t.Errorf("warnings %q", got)
	}
}
