package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// kubernetesVersion is the one that hyperkube's go.mod asks for; the programs are
// stamped with it, since they report it to each other.
const kubernetesVersion = "1.36.3"

// hyperkubePrograms are the names that the one program answers to.
var hyperkubePrograms = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl",
}

// requirements are the programs this package runs, with their Debian packages.
var requirements = [][2]string{
	{"ip", "iproute2"},
	{"nft", "nftables"},      // run by kube-proxy
	{"iptables", "iptables"}, // run by kubelet, kube-proxy and the portmap plugin
	{"mount", "mount"},       // run by kubelet
	{"nice", "coreutils"},
	{"apt-get", "apt"},
	{"dpkg-deb", "dpkg"},
}

// preflight reports what this machine lacks.
func preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("must be root: it makes namespaces, network devices and mounts")
	}
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("the go command is needed to build the cluster's programs: %w", err)
	}
	return require(requirements)
}

// require reports the programs that are not installed.
func require(programs [][2]string) error {
	var errs []error
	for _, r := range programs {
		if _, err := exec.LookPath(r[0]); err != nil {
			errs = append(errs, fmt.Errorf("%s is not installed: it is in package %s (run hack/deps)", r[0], r[1]))
		}
	}
	return errors.Join(errs...)
}

// cacheDir returns the directory of what is built or downloaded once.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	return filepath.Join(dir, "kube-vrrp-vip"), nil
}

// moduleDir returns the directory of this module's source: around the working
// directory, or else where this package was compiled.
func moduleDir() (string, error) {
	isModule := func(dir string) bool {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		return err == nil && strings.HasPrefix(string(b), "module kube-vrrp-vip/e2e\n")
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		for _, d := range []string{dir, filepath.Join(dir, "e2e")} {
			if isModule(d) {
				return d, nil
			}
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		if d := filepath.Dir(filepath.Dir(filepath.Dir(file))); isModule(d) {
			return d, nil
		}
	}
	return "", fmt.Errorf("find the source of kube-vrrp-vip/e2e: it is not around %s", wd)
}

// cached returns the directory cache/KIND-KEY, made by build if it is not there yet;
// the key is the hash of what the content depends on. build gets an empty directory
// that takes that name only when it is complete.
func cached(kind string, key []byte, build func(dir string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(key)
	dir := filepath.Join(cache, kind+"-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	tmp, err := os.MkdirTemp(cache, ".tmp-"+kind+"-")
	if err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	if err := build(tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil { // not just another who was quicker
			return "", fmt.Errorf("make cache: %w", err)
		}
	}
	return dir, nil
}

// installPrograms puts everything that the cluster runs into the state directory.
func (c *Cluster) installPrograms(ctx context.Context) error {
	src, err := moduleDir()
	if err != nil {
		return err
	}
	hyperkube, err := c.hyperkube(ctx, filepath.Join(src, "cmd", "hyperkube"))
	if err != nil {
		return fmt.Errorf("build hyperkube: %w", err)
	}
	for _, name := range hyperkubePrograms {
		if err := os.Symlink(filepath.Join(hyperkube, "hyperkube"), c.path("bin", name)); err != nil {
			return err
		}
	}
	debs, err := c.debs(ctx)
	if err != nil {
		return err
	}
	if err := os.Symlink(debs, c.path("debs")); err != nil {
		return err
	}
	defer c.progress("building the cluster's own programs")()
	if err := goBuild(ctx, src, c.path("bin")+"/", "./cmd/cluster", "./cmd/echo", "./cmd/pause"); err != nil {
		return err
	}
	return c.writeOwnImages()
}

// hyperkube builds the programs of Kubernetes.
func (c *Cluster) hyperkube(ctx context.Context, src string) (string, error) {
	const (
		component = "k8s.io/component-base/version"
		client    = "k8s.io/client-go/pkg/version"
	)
	minor := strings.Split(kubernetesVersion, ".")[1]
	flags := []string{
		"-mod=readonly",
		// Not optimized: it builds in half the time, and the cluster is no slower for it.
		"-gcflags=all=-N -l",
		"-ldflags=-s -w" +
			" -X " + component + ".gitVersion=v" + kubernetesVersion +
			" -X " + component + ".gitMajor=1 -X " + component + ".gitMinor=" + minor +
			" -X " + component + ".gitTreeState=clean" +
			" -X " + component + ".gitCommit=" + strings.Repeat("0", 40) +
			" -X " + client + ".gitVersion=v" + kubernetesVersion +
			" -X " + client + ".gitMajor=1 -X " + client + ".gitMinor=" + minor,
	}
	goVersion, err := output(ctx, src, "go", "env", "GOVERSION", "GOARCH")
	if err != nil {
		return "", err
	}
	key := []byte(goVersion + strings.Join(flags, "\n"))
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		b, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return "", err
		}
		key = append(key, b...)
	}
	return cached("hyperkube", key, func(dir string) error {
		defer c.progress("building Kubernetes " + kubernetesVersion + " (once; some minutes)")()
		return goBuild(ctx, src, filepath.Join(dir, "hyperkube"), append(flags, ".")...)
	})
}

// goBuild builds static programs, behind everything else on the machine.
func goBuild(ctx context.Context, dir, out string, args ...string) error {
	argv := append([]string{"nice", "-n", "10", "go", "build", "-trimpath", "-buildvcs=false", "-o", out}, args...)
	_, err := output(ctx, dir, argv...)
	return err
}

// output runs a program in a directory and returns its standard output.
func output(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	// Interrupted, the go command takes its compilers with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), exitText(err, []byte(stderr.String())))
	}
	return string(out), nil
}

// progress reports, every 15 seconds until the function it returns is called, that
// something is going on.
func (c *Cluster) progress(what string) (stop func()) {
	began := time.Now()
	c.logf("%s", what)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(15 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				c.logf("%s: %.0f s", what, time.Since(began).Seconds())
			}
		}
	}()
	return func() { close(done); <-ended }
}
