package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// document is a Markdown file whose sections are measured by themselves: one
// that is measured again leaves the others as they are.
type document struct {
	// file may be "" for none.
	file string
	// head stands before the sections.
	head string
	// order is the titles of the sections.
	order []string
}

// put writes a section, which begins with its heading, into the document.
func (d document) put(title, section string) error {
	if d.file == "" {
		return nil
	}
	text, err := os.ReadFile(d.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(d.file, []byte(d.with(string(text), title, section)), 0o644)
}

// with returns the document's text with a section put in. Sections that are not
// known to the order are dropped.
func (d document) with(text, title, section string) string {
	sections := map[string]string{}
	for _, part := range strings.Split("\n"+text, "\n## ")[1:] {
		name, _, _ := strings.Cut(part, "\n")
		sections[name] = "## " + part
	}
	sections[title] = section
	var b strings.Builder
	b.WriteString(strings.TrimSpace(d.head) + "\n")
	for _, name := range d.order {
		if s := sections[name]; s != "" {
			b.WriteString("\n" + strings.TrimSpace(s) + "\n")
		}
	}
	return b.String()
}

// measured says when and where a section was measured, and what.
func measured(began time.Time, programs ...string) string {
	kernel, _, _ := strings.Cut(strings.TrimSpace(read("/proc/sys/kernel/osrelease")), "-") // Without what its builder has added.
	return fmt.Sprintf("Measured on %s, in %.0f minutes: %s, %d processors, Linux %s; kube-vrrp-vip built with %s; %s.",
		began.Format(time.DateOnly), time.Since(began).Minutes(), processor(), runtime.NumCPU(),
		kernel, runtime.Version(), strings.Join(programs, "; "))
}

func processor() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// read returns a file of /proc, which is always there.
func read(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

// version is a program's own word for it.
func version(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return name + " of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	// HAProxy adds its site.
	fields := strings.Fields(line)
	return strings.Join(slices.DeleteFunc(fields, func(f string) bool { return f == "-" || strings.HasPrefix(f, "https:") }), " ")
}
