package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// runtimePackages are what a node needs that Debian has. They are unpacked, not
// installed: the machine gets no service and no configuration of theirs.
var runtimePackages = []string{"containerd", "runc", "containernetworking-plugins"}

// debs returns a directory with the files of the runtime packages.
func (c *Cluster) debs(ctx context.Context) (string, error) {
	// The distribution's release stands for the packages' versions: to ask for those
	// would need its package lists at every start.
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("unpack packages: %w", err)
	}
	key := strings.Join(runtimePackages, " ") + runtime.GOARCH + string(release)
	return cached("debs", []byte(key), func(dir string) error {
		defer c.progress("unpacking " + strings.Join(runtimePackages, ", "))()
		tmp, err := os.MkdirTemp("", "kube-vrrp-vip-debs-")
		if err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
		defer os.RemoveAll(tmp)
		// apt downloads as a user of its own, who has to be able to write there.
		if err := os.Chmod(tmp, 0o777); err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
		download := append([]string{"apt-get", "download", "-q"}, runtimePackages...)
		if _, err := output(ctx, tmp, download...); err != nil {
			// The lists of packages may be missing, or older than the archive.
			_, updateErr := output(ctx, tmp, "apt-get", "update", "-q")
			if _, err = output(ctx, tmp, download...); err != nil {
				return fmt.Errorf("download packages: %w", errors.Join(err, updateErr))
			}
		}
		files, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
		if err != nil {
			return err
		}
		for _, f := range files {
			if _, err := output(ctx, tmp, "dpkg-deb", "-x", f, dir); err != nil {
				return fmt.Errorf("unpack package: %w", err)
			}
		}
		return nil
	})
}
