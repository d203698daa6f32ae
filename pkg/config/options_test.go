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

	"kube-vrrp-vip/pkg/vrrp"
)

// environment returns a getenv with the variables in the manifests of
// kube-keepalived-vip, and more.
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
		ConfigMap:   ObjectName{Namespace: "vip", Name: "vip-configmap"},
		VRID:        50,
		HTTPPort:    8080,
		ReleaseVIPs: true,
		VRRP: vrrp.Settings{
			Version:               vrrp.V3,
			AdvertisementInterval: 100 * time.Millisecond,
			DownAdverts:           3,
			AdvertsPerInterval:    1,
			Checksum:              vrrp.ChecksumPseudoHeader,
		},
		PodName:      "kube-vrrp-vip-x",
		PodNamespace: "vip",
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
			// The arguments in the manifests and the chart of kube-keepalived-vip,
			// with the flags of glog.
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
			want: func(o *Options) { o.VRRP.Version, o.VRRP.AdvertisementInterval, o.VRRP.Preempt = 2, time.Second, true },
		},
		{
			name: "interval",
			args: []string{"--advertisement-interval=10ms"},
			want: func(o *Options) { o.VRRP.AdvertisementInterval = 10 * time.Millisecond },
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
			name: "unicast",
			args: []string{"--use-unicast", "--unicast-peers=10.4.0.9, ::ffff:10.4.0.3,2001:db8::9,10.4.0.9,"},
			want: func(o *Options) {
				o.VRRP.Unicast = true
				o.UnicastPeers = []netip.Addr{netip.MustParseAddr("10.4.0.3"), netip.MustParseAddr("10.4.0.9"), netip.MustParseAddr("2001:db8::9")}
			},
		},
		{
			name: "several virtual routers",
			args: []string{"--vrids=50-57"},
			want: func(o *Options) { o.VRIDs = VRIDRange{50, 57} },
		},
		{
			name: "all of them",
			args: []string{"--vrids=1-255"},
			want: func(o *Options) { o.VRIDs = VRIDRange{1, 255} },
		},
		{
			name: "without the guard",
			args: []string{"--guard=false"},
			want: func(o *Options) { o.AllowHostPorts = true },
		},
		{
			name: "as patient as can be",
			args: []string{"--preempt", "--preempt-delay=1000s", "--down-adverts=100", "--adverts-per-interval=4", "--vrrp-checksum=rfc9568"},
			want: func(o *Options) {
				o.VRRP.Preempt, o.VRRP.PreemptDelay, o.VRRP.DownAdverts, o.VRRP.AdvertsPerInterval, o.VRRP.Checksum = true, 1000*time.Second, 100, 4, vrrp.ChecksumMessage
			},
		},
		{
			name: "password",
			args: []string{"--vrrp-version=2", "--auth-pass-file=/etc/vrrp/password", "--vrrp-checksum=rfc5798", "--adverts-per-interval=1"},
			want: func(o *Options) {
				o.VRRP.Version, o.VRRP.AdvertisementInterval, o.AuthPassFile = 2, time.Second, "/etc/vrrp/password"
			},
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

// initKlog registers the flags of klog as cmd does, but does not set those of this
// process.
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
			args: []string{"--vrid=0", "--http-port=70000", "--iface=very-long-interface", "--vrrp-version=4", "--watch-namespace=A", "--services-configmap=vip"},
			env:  map[string]string{"HOST_IP": "worker-a"},
			want: []string{
				`--services-configmap="vip": write namespace/name`,
				`environment variable HOST_IP="worker-a": must be an IP address, as status.hostIP gives it`,
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
		{name: "peers without unicast", args: []string{"--unicast-peers=10.4.0.9,10.4.0.3"}, want: []string{"--unicast-peers=10.4.0.3,10.4.0.9: requires --use-unicast"}},
		{name: "peer that is not an address", args: []string{"--use-unicast", "--unicast-peers=10.4.0.9,router"}, want: []string{`--unicast-peers=10.4.0.9,router: "router" is not the address of a router: write addresses separated by commas`}},
		{name: "peer that is a group", args: []string{"--use-unicast", "--unicast-peers=224.0.0.18"}, want: []string{`--unicast-peers=224.0.0.18: "224.0.0.18" is not the address of a router: write addresses separated by commas`}},
		{name: "peer with a zone", args: []string{"--use-unicast", "--unicast-peers=fe80::1%eth0"}, want: []string{`--unicast-peers=fe80::1%eth0: "fe80::1%eth0" is not the address of a router: write addresses separated by commas`}},
		{name: "VRIDs the wrong way round", args: []string{"--vrids=57-50"}, want: []string{"--vrids=57-50: must be FIRST-LAST, such as 50-57, from 1 to 255"}},
		{name: "VRIDs from 0", args: []string{"--vrids=0-7"}, want: []string{"--vrids=0-7: must be FIRST-LAST, such as 50-57, from 1 to 255"}},
		{name: "VRIDs to 256", args: []string{"--vrids=250-256"}, want: []string{"--vrids=250-256: must be FIRST-LAST, such as 50-57, from 1 to 255"}},
		{name: "one VRID is not a range", args: []string{"--vrids=50"}, want: []string{"--vrids=50: must be FIRST-LAST, such as 50-57, from 1 to 255"}},
		{name: "VRID and VRIDs", args: []string{"--vrid=50", "--vrids=50-57"}, want: []string{"--vrids=50-57: cannot be combined with --vrid=50: leave one of the two out"}},
		{name: "delay without preempt", args: []string{"--preempt-delay=1s"}, want: []string{"--preempt-delay=1s: requires --preempt"}},
		{name: "delay too long", args: []string{"--preempt", "--preempt-delay=1001s"}, want: []string{"--preempt-delay=16m41s: must be 0 to 1000s"}},
		{name: "delay below zero", args: []string{"--preempt", "--preempt-delay=-1s"}, want: []string{"--preempt-delay=-1s: must be 0 to 1000s"}},
		{name: "down adverts too few", args: []string{"--down-adverts=1"}, want: []string{"--down-adverts=1: must be 2 to 100"}},
		{name: "down adverts too many", args: []string{"--down-adverts=101"}, want: []string{"--down-adverts=101: must be 2 to 100"}},
		{name: "no adverts", args: []string{"--adverts-per-interval=0"}, want: []string{"--adverts-per-interval=0: must be 1 to 4"}},
		{name: "adverts too many", args: []string{"--adverts-per-interval=5"}, want: []string{"--adverts-per-interval=5: must be 1 to 4"}},
		{
			name: "not with version 2",
			args: []string{"--vrrp-version=2", "--adverts-per-interval=2", "--vrrp-checksum=rfc9568"},
			want: []string{"--adverts-per-interval=2: requires --vrrp-version=3", "--vrrp-checksum=rfc9568: requires --vrrp-version=3"},
		},
		{name: "checksum", args: []string{"--vrrp-checksum=rfc3768"}, want: []string{"--vrrp-checksum=rfc3768: must be rfc5798 or rfc9568"}},
		{name: "password with version 3", args: []string{"--auth-pass-file=/p"}, want: []string{"--auth-pass-file=/p: requires --vrrp-version=2: VRRPv3 has no authentication"}},
		{name: "unknown flag", args: []string{"--password=x"}, want: []string{"flag provided but not defined: -password"}},
		{
			// kube-keepalived-vip accepted this, with the opposite effect.
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

func TestParsePassword(t *testing.T) {
	t.Parallel()
	for contents, want := range map[string]string{
		"a":          "a\x00\x00\x00\x00\x00\x00\x00",
		"secret\n":   "secret\x00\x00",
		" secret ":   " secret ",
		"12345678\n": "12345678",
		"pässe\xff":  "pässe\xff\x00",
	} {
		if got, err := ParsePassword([]byte(contents)); string(got[:]) != want || err != nil {
			t.Errorf("%q: %q, %v", contents, got[:], err)
		}
	}
	const control = "the password has a control character, such as a second newline or the carriage return of a Windows file: remove it"
	for contents, want := range map[string]string{
		"":            "the password is empty",
		"\n":          "the password is empty",
		"swordfish\n": "the password has 9 bytes, and VRRPv2 allows 8: write only the first 8, which are those that keepalived uses",
		"\x00\x00":    control,
		"secret\r\n":  control,
		"secret\n\n":  control,
	} {
		got, err := ParsePassword([]byte(contents))
		if err == nil || err.Error() != want || got != (vrrp.Password{}) {
			t.Errorf("%q: %q, %v", contents, got[:], err)
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
	if got := o.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "--proxy-protocol-mode=true has no effect: ") {
		t.Errorf("warnings %q", got)
	}
}
