package cluster

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestParseMounts(t *testing.T) {
	for _, tt := range []struct {
		name, mounts string
		want         cgroups
	}{
		{
			name: "version 1, hybrid",
			mounts: `25 20 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
31 25 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
44 31 0:28 / /mnt/memory rw,nosuid - cgroup cgroup rw,memory
`,
			want: cgroups{hierarchies: []hierarchy{
				{"/sys/fs/cgroup/systemd", "name=systemd"},
				{"/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"},
				{"/sys/fs/cgroup/memory", "memory"},
			}},
		},
		{
			name: "version 2",
			mounts: `28 23 0:25 / /sys rw - sysfs sysfs rw
31 28 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`,
			want: cgroups{v2: true, hierarchies: []hierarchy{{"/sys/fs/cgroup", ""}}},
		},
		{name: "none", mounts: "28 23 0:25 / /sys rw - sysfs sysfs rw\ngarbage\n", want: cgroups{v2: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseMounts(tt.mounts); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestContainerOf(t *testing.T) {
	for path, want := range map[string]string{
		"/sys/fs/cgroup/memory/kvv/n1/kubepods/besteffort/pod12-34/abc/cgroup.procs": "abc",
		"/sys/fs/cgroup/kvv/n1/kubepods/pod12-34/abc/cgroup.procs":                   "abc",
		"/sys/fs/cgroup/kvv/n1/kubepods/pod12-34/abc/inner/cgroup.procs":             "abc",
		"/sys/fs/cgroup/kvv/n1/kubepods/burstable/pod12-34/cgroup.procs":             "",
		"/sys/fs/cgroup/kvv/n1/kubepods/cgroup.procs":                                "",
		"/sys/fs/cgroup/kvv/n1/cgroup.procs":                                         "",
		"":                                                                           "",
	} {
		if got := containerOf(path); got != want {
			t.Errorf("containerOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestCgroupProcesses(t *testing.T) {
	// A directory that looks like a hierarchy will do.
	root := t.TempDir()
	for dir, procs := range map[string]string{
		"kvv/n1":                        "1\n2\n",
		"kvv/n1/kubepods/podA":          "",
		"kvv/n1/kubepods/podA/sandbox":  "10\n",
		"kvv/n1/kubepods/podA/main":     "11\n12\n",
		"kvv/n1/kubepods/podA/main/sub": "13\n",
		"kvv/n2/kubepods/podB/main":     "20\n",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "cgroup.procs"), []byte(procs), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := cgroups{hierarchies: []hierarchy{{"/nonexistent", "cpu"}, {root, "memory"}}}
	for _, tt := range []struct {
		group, container string
		want             int
	}{
		{"kvv/n1", "main", 3}, {"kvv/n1", "sandbox", 1}, {"kvv/n1", "", 6}, {"kvv/n1", "x", 0}, {"kvv/n3", "", 0},
	} {
		pids, err := g.processes(tt.group, tt.container)
		if err != nil || len(pids) != tt.want {
			t.Errorf("processes(%q, %q) = %v, %v; want %d", tt.group, tt.container, pids, err, tt.want)
		}
	}
}

func TestRemoveCgroupsOfNothing(t *testing.T) {
	if _, err := detectCgroups(); err != nil {
		t.Skip(err)
	}
	if err := removeCgroups("kvvnothing", time.Second); err != nil {
		t.Error(err)
	}
}
