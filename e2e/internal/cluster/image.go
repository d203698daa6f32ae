package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// EchoImage is an image that every node has: an HTTP and UDP server that answers
// "host=HOSTNAME node=$NODE_NAME client=ADDRESS". Its flags are -addr (":8080", HTTP),
// -udp (":8081") and -proxy (none, HTTP behind a PROXY protocol header).
const EchoImage = "kube-vrrp-vip-echo:dev"

// ownImages are the images made of this module's programs, by program.
var ownImages = map[string]string{
	"pause": "docker.io/local/pause:1",
	"echo":  "docker.io/library/" + EchoImage,
}

func (c *Cluster) writeOwnImages() error {
	for program, ref := range ownImages {
		b, err := os.ReadFile(c.path("bin", program))
		if err != nil {
			return fmt.Errorf("make image: %w", err)
		}
		f, err := os.Create(c.path("images", program+".tar"))
		if err != nil {
			return fmt.Errorf("make image: %w", err)
		}
		if err := errors.Join(writeImage(f, ref, program, b), f.Close()); err != nil {
			return fmt.Errorf("make image %s: %w", ref, err)
		}
	}
	return nil
}

func (c *Cluster) loadOwnImages(ctx context.Context) error {
	for program := range ownImages {
		if err := c.LoadImage(ctx, c.path("images", program+".tar")); err != nil {
			return err
		}
	}
	return nil
}

// writeImage writes a docker-archive of an image that has nothing but one static
// program, its entry point.
func writeImage(w io.Writer, ref, name string, program []byte) error {
	var layer bytes.Buffer
	err := writeTar(&layer, []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: name, Mode: 0o755, Size: int64(len(program))},
	}, program)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/" + name}, "Env": []string{"PATH=/"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
		"history":      []map[string]string{{"created_by": "kube-vrrp-vip e2e"}},
	})
	if err != nil {
		return err
	}
	sum = sha256.Sum256(config)
	configName := hex.EncodeToString(sum[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{ref}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	return writeTar(w, []tar.Header{
		{Name: "layer.tar", Mode: 0o644, Size: int64(layer.Len())},
		{Name: configName, Mode: 0o644, Size: int64(len(config))},
		{Name: "manifest.json", Mode: 0o644, Size: int64(len(manifest))},
	}, layer.Bytes(), config, manifest)
}

// writeTar writes an archive; each header that is a file takes the next content.
func writeTar(w io.Writer, headers []tar.Header, contents ...[]byte) error {
	t := tar.NewWriter(w)
	for _, h := range headers {
		if err := t.WriteHeader(&h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if _, err := t.Write(contents[0]); err != nil {
			return err
		}
		contents = contents[1:]
	}
	return t.Close()
}

// BuildImage builds the Dockerfile of a source tree with buildah and returns the file
// name of a docker-archive of it, in the cache. A node knows the image by the tag, as
// in "kube-vrrp-vip:e2e".
func BuildImage(ctx context.Context, repoRoot, tag string) (tarPath string, err error) {
	if err := require([][2]string{{"buildah", "buildah"}}); err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	images := filepath.Join(cache, "images")
	if err := os.MkdirAll(images, 0o755); err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	// buildah's storage, all of it: the operator's own is left alone.
	tmp, err := os.MkdirTemp(cache, ".tmp-buildah-")
	if err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	defer os.RemoveAll(tmp)
	policy := filepath.Join(tmp, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	buildah := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "buildah", append([]string{
			"--root", filepath.Join(tmp, "root"),
			"--runroot", filepath.Join(tmp, "run"),
			// Copies instead of overlays: slower for big images, but it works on any
			// file system, and this one is a single small layer.
			"--storage-driver", "vfs",
		}, args...)...)
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "CONTAINERS_STORAGE_CONF=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build image: buildah %s: %w", strings.Join(args, " "), exitText(err, out))
		}
		return nil
	}
	name := tag
	if !strings.Contains(name, "/") {
		name = "docker.io/library/" + name
	}
	if err := buildah("build", "--isolation", "chroot", "--format", "docker", "--signature-policy", policy,
		"--file", filepath.Join(repoRoot, "Dockerfile"), "--tag", name, repoRoot); err != nil {
		return "", err
	}
	file := filepath.Join(images, strings.NewReplacer("/", "_", ":", "_").Replace(tag)+".tar")
	next := filepath.Join(tmp, "image.tar")
	if err := buildah("push", "--signature-policy", policy, name, "docker-archive:"+next+":"+name); err != nil {
		return "", err
	}
	if err := os.Rename(next, file); err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	return file, nil
}
