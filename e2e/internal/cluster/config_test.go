package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOptionsComplete(t *testing.T) {
	o, err := Options{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if o.Name != "kvv" || o.Dir != "/var/lib/kube-vrrp-vip-e2e/kvv" || o.ProxyMode != "nftables" || o.Log == nil {
		t.Errorf("defaults: %+v", o)
	}
	for _, bad := range []Options{{Name: "a/b"}, {Name: "A"}, {Name: ".."}, {Name: strings.Repeat("a", 17)}, {ProxyMode: "ipvs"}} {
		if _, err := bad.complete(); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

func TestHosts(t *testing.T) {
	c := &Cluster{opt: Options{Name: "kvv"}}
	if got := c.Addr("n2").String(); got != "10.89.0.12" {
		t.Errorf("address of n2: %s", got)
	}
	if c.Addr("n9").IsValid() || c.Addr6("n9").IsValid() || c.MAC("n9") != nil {
		t.Error("n9 has an address")
	}
	if got := c.NetNS("client"); got != "/run/netns/kvv-client" {
		t.Errorf("namespace of client: %s", got)
	}
	v4, v6 := podNets("n3")
	if v4.String() != "10.244.3.0/24" || v6.String() != "fd44:3::/64" {
		t.Errorf("pods of n3: %s, %s", v4, v6)
	}
	for _, host := range []string{clientHost, routerHost} {
		if r := c.routes(host); r != nil {
			t.Errorf("the %s has routes: %v", host, r)
		}
	}
	if got := c.Addr("routed"); !routedNet4.Contains(got) {
		t.Errorf("address of routed: %s", got)
	}
	// It has no port of the switch.
	for _, host := range []string{"n9", "routed"} {
		if err := c.CutLink(host); err == nil {
			t.Errorf("cut %s: no error", host)
		}
	}
}

func TestCNIConfigIsJSON(t *testing.T) {
	for _, dual := range []bool{false, true} {
		text := cniConfig("n2", dual)
		var v struct {
			Plugins []struct {
				Type string
				IPAM struct{ Ranges [][]struct{ Subnet string } }
			}
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("dual %v: %v\n%s", dual, err, text)
		}
		want := 1
		if dual {
			want = 2
		}
		if len(v.Plugins) != 2 || len(v.Plugins[0].IPAM.Ranges) != want || v.Plugins[0].IPAM.Ranges[0][0].Subnet != "10.244.2.0/24" {
			t.Errorf("dual %v: %s", dual, text)
		}
	}
}

func TestConfigTexts(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{
			"kube-proxy", proxyConfig("n1", "iptables", "/d/kube-proxy.conf", true),
			[]string{"mode: iptables\n", "hostnameOverride: n1\n", `clusterCIDR: "10.244.0.0/16,fd44::/16"`, `kubeconfig: "/d/kube-proxy.conf"`},
		},
		{
			"kubelet", kubeletConfig(func(n string) string { return "/p/" + n }),
			[]string{`clientCAFile: "/p/ca.crt"`, `tlsCertFile: "/p/server.crt"`, `memory.available: "0%"`},
		},
		{
			"containerd", containerdConfig("/c/bin", "/c/conf", "/c/runc", "native"),
			[]string{`bin_dir = "/c/bin"`, `conf_dir = "/c/conf"`, `BinaryName = "/c/runc"`, `snapshotter = "native"`},
		},
		{
			"kubeconfig", kubeconfig("https://192.0.2.1:6443", "/p/ca.crt", "abc"),
			[]string{`server: "https://192.0.2.1:6443"`, `certificate-authority: "/p/ca.crt"`, `token: "abc"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, w := range tt.want {
				if !strings.Contains(tt.text, w) {
					t.Errorf("no %q in:\n%s", w, tt.text)
				}
			}
			if strings.Contains(tt.text, "%!") {
				t.Errorf("bad format:\n%s", tt.text)
			}
		})
	}
}

func TestWritePKI(t *testing.T) {
	dir := t.TempDir()
	if err := writePKI(dir, []string{"kubernetes"}, []net.IP{net.IPv4(10, 96, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate in ca.crt")
	}
	for _, tt := range []struct {
		name  string
		host  string
		usage x509.ExtKeyUsage
		ok    bool
	}{
		{"server", "kubernetes", x509.ExtKeyUsageServerAuth, true},
		{"server", "10.96.0.1", x509.ExtKeyUsageServerAuth, true},
		{"server", "10.96.0.2", x509.ExtKeyUsageServerAuth, false},
		{"server", "", x509.ExtKeyUsageClientAuth, false},
		{"kubelet-client", "", x509.ExtKeyUsageClientAuth, true},
		{"kubelet-client", "", x509.ExtKeyUsageServerAuth, false},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, tt.name+".crt"), filepath.Join(dir, tt.name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: tt.host, KeyUsages: []x509.ExtKeyUsage{tt.usage}})
		if (err == nil) != tt.ok {
			t.Errorf("%s for %q, usage %v: %v", tt.name, tt.host, tt.usage, err)
		}
	}
	sa, err := os.ReadFile(filepath.Join(dir, "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(sa)
	if block == nil {
		t.Fatal("sa.key is not PEM")
	}
	if _, err := x509.ParseECPrivateKey(block.Bytes); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "sa.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of sa.key: %v, %v", st.Mode(), err)
	}
}
