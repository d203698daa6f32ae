package cluster

import (
	"context"
	"fmt"
	"time"
)

const apiServer = "kube-apiserver"

// startControlPlane starts etcd, kube-apiserver, and what needs the latter.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	pki := func(name string) string { return c.path("pki", name) }
	if err := c.startDaemon("etcd",
		"--name=etcd",
		"--data-dir="+c.path("etcd"),
		"--unsafe-no-fsync", // nothing here outlives the machine
		"--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=etcd=http://127.0.0.1:2380",
		"--log-level=warn",
	); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return err
	}
	// Not before: kube-controller-manager exits if its first request fails.
	if err := c.startDaemon("kube-controller-manager", append(
		c.managerArgs("kube-controller-manager"),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+pki("sa.key"),
		"--root-ca-file="+pki("ca.crt"),
		// A dead node is noticed after ten seconds instead of fifty.
		"--node-monitor-period=1s",
		"--node-monitor-grace-period=10s",
	)...); err != nil {
		return err
	}
	return c.startDaemon("kube-scheduler", c.managerArgs("kube-scheduler")...)
}

// StartAPIServer starts kube-apiserver, once more after StopAPIServer, and waits until
// it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	services := serviceCIDR4
	if dualStack() {
		services += "," + serviceCIDR6
	}
	pki := func(name string) string { return c.path("pki", name) }
	if err := c.startDaemon(apiServer,
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0",
		"--secure-port=6443",
		"--advertise-address="+c.Addr(controlHost).String(),
		"--service-cluster-ip-range="+services,
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--token-auth-file="+pki("tokens.csv"),
		"--client-ca-file="+pki("ca.crt"),
		"--tls-cert-file="+pki("server.crt"),
		"--tls-private-key-file="+pki("server.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+pki("sa.key"),
		"--service-account-signing-key-file="+pki("sa.key"),
		"--kubelet-client-certificate="+pki("kubelet-client.crt"),
		"--kubelet-client-key="+pki("kubelet-client.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
	); err != nil {
		return err
	}
	return c.waitAPI(ctx)
}

// StopAPIServer kills kube-apiserver: for the rest of the cluster there is none until
// StartAPIServer.
func (c *Cluster) StopAPIServer() error {
	p, err := c.process(apiServer)
	if err == nil {
		err = p.kill()
	}
	if err == nil {
		err = p.waitGone(stepLimit)
	}
	if err != nil {
		return fmt.Errorf("stop API server: %w", err)
	}
	return nil
}

// managerArgs are the words that begin the command line of a control plane program
// that is a client of the API server.
func (c *Cluster) managerArgs(name string) []string {
	conf := c.path("conf", name+".conf")
	return []string{
		"--kubeconfig=" + conf,
		"--authentication-kubeconfig=" + conf,
		"--authorization-kubeconfig=" + conf,
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
	}
}

// waitAPI waits until the API server is ready.
func (c *Cluster) waitAPI(ctx context.Context) error {
	get, err := c.api()
	if err != nil {
		return err
	}
	err = poll(ctx, stepLimit, 100*time.Millisecond, func(ctx context.Context) error {
		for _, name := range []string{"etcd", apiServer} {
			p, err := c.process(name)
			if err != nil {
				return err
			}
			if !p.alive() {
				return &finalError{fmt.Errorf("%s ended: %s", name, tail(c.path("log", name+".log"), 1000))}
			}
		}
		_, err := get(ctx, "/readyz")
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	return nil
}
