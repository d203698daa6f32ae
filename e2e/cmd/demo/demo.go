package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"kube-vrrp-vip/e2e/internal/cluster"
	"kube-vrrp-vip/e2e/internal/scenario"
)

// demo is a demonstration under way.
type demo struct {
	out   io.Writer
	begin time.Time
	steps int
	// crashed is the node whose power was cut.
	crashed string
}

// stillEvery is how often a step says that it goes on.
const stillEvery = 10 * time.Second

// step runs a part of the demonstration under its title.
func (d *demo) step(title string, f func() error) error {
	d.steps++
	fmt.Fprintf(d.out, "\n[%5.1fs] %d. %s\n", time.Since(d.begin).Seconds(), d.steps, title)
	began := time.Now()
	ended := make(chan struct{})
	var still sync.WaitGroup
	still.Go(func() {
		t := time.NewTicker(stillEvery)
		defer t.Stop()
		for {
			select {
			case <-ended:
				return
			case <-t.C:
				d.say("... %.0f s", time.Since(began).Seconds())
			}
		}
	})
	err := f()
	close(ended)
	still.Wait()
	return err
}

// say writes a line of a step.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "    "+format+"\n", args...)
}

// command writes what an operator would type.
func (d *demo) command(line string) { d.say("$ %s", line) }

// kubectl runs it and shows what it says.
func (d *demo) kubectl(ctx context.Context, s *scenario.Site, args ...string) error {
	shown := strings.ReplaceAll(strings.Join(args, " "), s.Root+"/", "")
	d.command("kubectl " + shown)
	out, err := s.Kubectl(ctx, "", args...)
	for line := range strings.Lines(out) {
		d.say("%s", strings.TrimSpace(line))
	}
	return err
}

// explain writes what may explain a failure.
func (d *demo) explain(c *cluster.Cluster) {
	s, err := scenario.Open(c)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c.DumpLogs(d.out)
	s.Dump(ctx, d.out)
}

// indent writes whole lines as those of a step.
type indent struct{ w io.Writer }

func (i *indent) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if _, err := fmt.Fprintf(i.w, "    %s", line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
