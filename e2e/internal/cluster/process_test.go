package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 %T 0 4242 1000 50 18446744073709551615 0"
	line := func(comm, state, threads string) string {
		return "77 (" + comm + ") " + state + strings.Replace(rest, "%T", threads, 1)
	}
	for _, tt := range []struct {
		name, line string
		want       stat
		bad        bool
	}{
		{name: "running", line: line("etcd", "S", "9"), want: stat{parent: 1, start: 4242}},
		{name: "parentheses in the command", line: line("a) Z (b", "R", "1"), want: stat{parent: 1, start: 4242}},
		{name: "zombie", line: line("etcd", "Z", "1"), want: stat{parent: 1, start: 4242, dead: true}},
		{name: "first thread ended, others not", line: line("cluster", "Z", "3"), want: stat{parent: 1, start: 4242}},
		{name: "empty", line: "", bad: true},
		{name: "short", line: "77 (etcd) S 1 2", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.line)
			if (err != nil) != tt.bad || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestProcessRecord(t *testing.T) {
	c := &Cluster{opt: Options{Name: "kvv", Dir: t.TempDir()}}
	if ps, err := c.processes(); err != nil || ps != nil {
		t.Errorf("without records: %v, %v", ps, err)
	}
	if err := os.Mkdir(c.path("pid"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it is dead already, if all goes well
		_ = cmd.Wait()
	}()
	if err := recordProcess(c.opt.Dir, "sleeper", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	p, err := c.process("sleeper")
	if err != nil || !p.alive() {
		t.Fatalf("%+v is not alive: %v", p, err)
	}
	// Another process of the same number is none of ours.
	other := p
	other.Start++
	if err := other.kill(); err != nil || other.alive() || !p.alive() {
		t.Errorf("killed a process with another start time: %v", err)
	}
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.waitGone(10 * time.Second); err != nil {
		t.Error(err)
	}
	if names, err := c.running(); err != nil || len(names) > 0 {
		t.Errorf("running: %v, %v", names, err)
	}
}

func TestPoll(t *testing.T) {
	wrong := errors.New("wrong")
	n := 0
	err := poll(t.Context(), time.Minute, time.Millisecond, func(context.Context) error {
		if n++; n < 3 {
			return wrong
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d calls, %v", n, err)
	}
	err = poll(t.Context(), 20*time.Millisecond, time.Millisecond, func(context.Context) error { return wrong })
	if !errors.Is(err, wrong) || !strings.Contains(err.Error(), "not within") {
		t.Errorf("limit: %v", err)
	}
	err = poll(t.Context(), time.Minute, time.Millisecond, func(context.Context) error { return &finalError{wrong} })
	if !errors.Is(err, wrong) || strings.Contains(err.Error(), "not within") {
		t.Errorf("final error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = poll(ctx, time.Minute, time.Millisecond, func(context.Context) error { return wrong })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTail(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, []byte("one\ntwo\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int64]string{100: "one\ntwo\nthree", 8: "three", 11: "two\nthree"} {
		if got := tail(name, n); got != want {
			t.Errorf("tail %d: %q, want %q", n, got, want)
		}
	}
}

func TestWriteImage(t *testing.T) {
	program := []byte("\x7fELF not really")
	var b bytes.Buffer
	if err := writeImage(&b, "docker.io/library/x:1", "x", program); err != nil {
		t.Fatal(err)
	}
	files := readTar(t, &b)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || manifest[0].RepoTags[0] != "docker.io/library/x:1" || len(manifest[0].Layers) != 1 {
		t.Fatalf("manifest: %s", files["manifest.json"])
	}
	var config struct {
		Config struct{ Entrypoint []string }
		Rootfs struct {
			Diffs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	sum := sha256.Sum256(layer)
	if config.Config.Entrypoint[0] != "/x" || config.Rootfs.Diffs[0] != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("config: %+v", config)
	}
	if got := readTar(t, bytes.NewReader(layer)); !bytes.Equal(got["x"], program) {
		t.Errorf("layer: %v", got)
	}
}

func readTar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCached(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	wrong := errors.New("wrong")
	if _, err := cached("x", []byte("k"), func(string) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("failed build: %v", err)
	}
	builds := 0
	build := func(dir string) error {
		builds++
		return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
	}
	for _, key := range []string{"k", "k", "l"} {
		dir, err := cached("x", []byte(key), build)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
			t.Error(err)
		}
	}
	if builds != 2 {
		t.Errorf("%d builds, want 2", builds)
	}
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".tmp-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestParseNode(t *testing.T) {
	const ready = `{"status":{"conditions":[{"type":"DiskPressure","status":"False"},{"type":"Ready","status":"True","reason":"KubeletReady","lastHeartbeatTime":"2026-01-02T03:04:05Z"}]}}`
	for _, tt := range []struct {
		name, json string
		ready, bad bool
	}{
		{name: "ready", json: ready, ready: true},
		{name: "unknown", json: strings.Replace(ready, "True", "Unknown", 1)},
		{name: "new", json: `{"status":{}}`},
		{name: "not an object", json: `x`, bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseNode([]byte(tt.json))
			if s.Ready != tt.ready || (err != nil) != tt.bad {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}
