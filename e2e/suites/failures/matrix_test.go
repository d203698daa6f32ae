package failures

import (
	"flag"
	"sync"
	"testing"
	"time"

	"kube-vrrp-vip/e2e/internal/lab/labtest"
)

var (
	writeFlag = flag.Bool("failures.write", false, "write what is measured to docs/failures.md")
	runsFlag  = flag.Int("failures.runs", 1, "how often each cell is tried")
)

// together is how many cells are tried at the same time: they wait much more than
// they work.
const together = 8

func TestMain(m *testing.M) { labtest.Main(m, together) }

// groups are the sections of the document.
var groups = []struct {
	name  string
	cells []*cell
}{
	{daemonGroup, daemonCells},
	{plannedGroup, plannedCells},
	{nodeGroup, nodeCells},
	{networkGroup, networkCells},
	{addressGroup, addressCells},
	{kubeGroup, kubeCells},
}

// TestNetnsFailures tries every cell of the matrix. With -failures.write the document
// has what was measured afterwards.
func TestNetnsFailures(t *testing.T) {
	var mu sync.Mutex
	measured := map[string][]map[string]time.Duration{}
	t.Run("cell", func(t *testing.T) {
		for _, g := range groups {
			for _, c := range g.cells {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					for range *runsFlag {
						t.Run("run", func(t *testing.T) {
							figures := c.run(t, 10)
							if !*writeFlag {
								if err := c.checkMeasured(figures); err != nil {
									t.Error(err)
								}
							}
							if t.Failed() {
								return
							}
							mu.Lock()
							defer mu.Unlock()
							measured[c.name] = append(measured[c.name], figures)
						})
					}
				})
			}
		}
	})
	if *writeFlag {
		if err := writeDocument(measured); err != nil {
			t.Error(err)
		}
	}
}
