package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2/textlogger"

	"kube-vrrp-vip/pkg/desired"
)

// TestSimulatedKubeProxy comes and goes by the seconds since the start.
func TestSimulatedKubeProxy(t *testing.T) {
	t.Parallel()
	unknown := errors.New("unknown")
	for _, test := range []struct {
		name string
		at   func(second int) (bool, error)
		want string // What the controller is told, and when.
	}{
		{"there", func(int) (bool, error) { return true, nil }, ""},
		{"never there", func(int) (bool, error) { return false, nil }, "60s false"},
		{"late", func(s int) (bool, error) { return s >= 50, nil }, ""},
		{"too late", func(s int) (bool, error) { return s >= 85, nil }, "60s false, 90s true"},
		{"away for a moment", func(s int) (bool, error) { return s < 20 || s >= 70, nil }, ""},
		{"removed", func(s int) (bool, error) { return s < 15, nil }, "70s false"},
		{"unknown", func(int) (bool, error) { return false, unknown }, ""},
		{"unknown in between", func(s int) (bool, error) {
			if s == 30 {
				return false, unknown
			}
			return false, nil
		}, "90s false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				elapsed := func() int { return int(time.Since(start).Seconds()) }
				var told []string
				i := New(Config{KubeProxy: func(present bool) { told = append(told, fmt.Sprintf("%ds %t", elapsed(), present)) }})
				i.present = func() (bool, error) { return test.at(elapsed()) }
				i.conflicts = func(bool) ([]string, error) { return nil, nil }
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				i.Run(ctx)
				if got := strings.Join(told, ", "); got != test.want {
					t.Errorf("told %q, want %q", got, test.want)
				}
			})
		})
	}
}

// TestConflicts come and go; the log has each once.
func TestConflicts(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log)))
	var found []string
	var failure error
	i := New(Config{KubeProxy: func(bool) {}})
	i.present = func() (bool, error) { return true, failure }
	i.conflicts = func(proxied bool) ([]string, error) {
		if proxied {
			return append(slices.Clone(found), "chain"), nil
		}
		return found, nil
	}
	expect := func(conflicts []string, lines ...string) {
		t.Helper()
		for range 2 {
			i.look(logger)
		}
		if diff := cmp.Diff(conflicts, i.Conflicts()); diff != "" {
			t.Errorf("conflicts -want +got:\n%s", diff)
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			_, text, _ := strings.Cut(line, "] ")
			got = append(got, strings.TrimSpace(text))
		}
		log.Reset()
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("log -want +got:\n%s", diff)
		}
	}
	expect(nil)
	found = []string{"flowtable"}
	expect([]string{"flowtable"}, `"Conflict with another program's rules began" reason="flowtable"`)
	i.Set(desired.Datapath{Forwards: []desired.Forward{{}, {Ports: []desired.Port{{}, {Proxy: desired.ProxyPlain}}}}})
	expect([]string{"flowtable", "chain"}, `"Conflict with another program's rules began" reason="chain"`)
	found, failure = nil, errors.New("no answer")
	expect([]string{"chain"},
		`"Conflict with another program's rules ended" reason="flowtable"`,
		`"Surroundings not known" err="no answer"`)
	failure = nil
	expect([]string{"chain"})
	failure = errors.New("no answer")
	expect([]string{"chain"}, `"Surroundings not known" err="no answer"`)
	i.Set(desired.Datapath{})
	expect(nil, `"Conflict with another program's rules ended" reason="chain"`)
}

func TestRepairs(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log)))
	var inet, arp uint64
	i := New(Config{
		KubeProxy: func(bool) {},
		Repairs:   map[string]func() uint64{"inet": func() uint64 { return inet }, "arp": func() uint64 { return arp }},
	})
	i.present = func() (bool, error) { return true, nil }
	i.conflicts = func(bool) ([]string, error) { return nil, nil }
	i.look(logger)
	inet, arp = 3, 1
	i.look(logger)
	inet = 4
	i.look(logger)
	i.look(logger)
	var got []string
	for line := range strings.Lines(log.String()) {
		_, text, _ := strings.Cut(line, "] ")
		got = append(got, strings.TrimSpace(text))
	}
	want := []string{
		`"Repaired a table that another program had changed" table="arp" count=1`,
		`"Repaired a table that another program had changed" table="inet" count=3`,
		`"Repaired a table that another program had changed" table="inet" count=4`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log -want +got:\n%s", diff)
	}
	if got := i.Repairs(); got != 5 {
		t.Errorf("%d repairs, want 5", got)
	}
}
