package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// certLifetime is ample for a cluster that is thrown away.
const certLifetime = 30 * 24 * time.Hour

// A user is somebody kube-apiserver knows by a token: one of the cluster's own
// programs, which has the rights that the default roles give to its user or group.
type user struct {
	file  string // its kubeconfig is conf/FILE.conf
	name  string
	group string
}

func users() []user {
	us := []user{
		{"admin", "admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
	}
	for _, n := range nodeNames {
		us = append(us, user{"kubelet-" + n, "system:node:" + n, "system:nodes"})
	}
	return us
}

// writeCredentials makes the certificates, the tokens and a kubeconfig for each user.
func (c *Cluster) writeCredentials() error {
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
	addrs := []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(kubernetesIP)}
	for host := range hosts {
		names = append(names, host)
		addrs = append(addrs, c.Addr(host).AsSlice())
		if a := c.Addr6(host); a.IsValid() {
			addrs = append(addrs, a.AsSlice())
		}
	}
	if err := writePKI(c.path("pki"), names, addrs); err != nil {
		return err
	}
	var tokens strings.Builder
	for _, u := range users() {
		b := make([]byte, 16)
		rand.Read(b) // never fails
		token := hex.EncodeToString(b)
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, u.name, u.name, u.group)
		server := fmt.Sprintf("https://%s:6443", c.Addr(controlHost))
		text := kubeconfig(server, c.path("pki", "ca.crt"), token)
		if err := os.WriteFile(c.path("conf", u.file+".conf"), []byte(text), 0o600); err != nil {
			return err
		}
		if u.file == "admin" {
			if err := os.WriteFile(c.path("pki", "admin.token"), []byte(token), 0o600); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(c.path("pki", "tokens.csv"), []byte(tokens.String()), 0o600)
}

// writePKI makes, in dir: an authority (ca), the certificate of every server of the
// cluster (server), kube-apiserver's certificate as a client of the kubelets
// (kubelet-client), and the key that signs service account tokens (sa).
func writePKI(dir string, names []string, addrs []net.IP) error {
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "kube-vrrp-vip-e2e"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caKey, err := writePair(dir, "ca", ca, nil, nil)
	if err != nil {
		return err
	}
	if _, err := writePair(dir, "server", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-vrrp-vip-e2e server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names,
		IPAddresses: addrs,
	}, ca, caKey); err != nil {
		return err
	}
	if _, err := writePair(dir, "kubelet-client", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "apiserver-kubelet-client", Organization: []string{"system:masters"}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca, caKey); err != nil {
		return err
	}
	_, err = writeKey(dir, "sa")
	return err
}

// writePair makes a key and a certificate for it, NAME.key and NAME.crt, signed by
// the parent, or by itself if there is none.
func writePair(dir, name string, cert, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := writeKey(dir, name)
	if err != nil {
		return nil, err
	}
	if cert.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, fmt.Errorf("make certificate %s: %w", name, err)
	}
	cert.NotBefore = time.Now().Add(-time.Hour)
	cert.NotAfter = time.Now().Add(certLifetime)
	if parent == nil {
		parent, parentKey = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, fmt.Errorf("make certificate %s: %w", name, err)
	}
	return key, writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der, 0o644)
}

func writeKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	return key, writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der, 0o600)
}

func writePEM(name, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
