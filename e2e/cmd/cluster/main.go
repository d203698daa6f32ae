// Command cluster runs a throw-away Kubernetes in network namespaces and lets an
// operator play with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"kube-vrrp-vip/e2e/internal/cluster"
)

const usage = `usage: cluster [-name NAME] [-dir DIR] COMMAND

  up [-proxy-mode nftables|iptables]   start a cluster; it runs until "down"
  down                                 stop it and remove all of it
  status                               what runs
  kubectl ARGS...                      kubectl, as its administrator
  exec HOST COMMAND...                 run a command in a host's network namespace
  cut HOST, restore HOST               pull and plug a host's network cable
  crash NODE, power-on NODE            cut a node's power; switch it on again
  kill NODE NAMESPACE POD CONTAINER    SIGKILL a container, behind the kubelet's back
  load IMAGE.tar [NODE...]             import an image archive into the nodes
  build-image DIR TAG                  build DIR/Dockerfile, print the archive's name
  logs                                 the last lines of every program's log

A HOST is n1, n2, n3 (the nodes), cp (the control plane), client (a machine on the
same LAN, not of the cluster) or, for exec, sw (the switch between them).
`

// errUsage asks for the usage text.
var errUsage = errors.New("wrong command line")

func main() {
	// A node's own processes are this program too; no user calls these.
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "node-") {
		if err := cluster.NodeCommand(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	var exit exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(os.Stdout, usage)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "cluster: %v\n\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
}

// exitError is the status of a program run for the user, who has read what it said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// userCommand turns the error of a program run for the user.
func userCommand(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitError(exit.ExitCode())
	}
	return err
}

// flags returns a flag set that leaves the printing to main.
func flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

func run(ctx context.Context, args []string) error {
	o := cluster.Options{Log: os.Stderr}
	fs := flags("cluster")
	fs.StringVar(&o.Name, "name", "", "")
	fs.StringVar(&o.Dir, "dir", "", "")
	if err := parse(fs, args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	name, args := fs.Arg(0), fs.Args()[1:]
	want := func(n int) error {
		if len(args) != n {
			return fmt.Errorf("%w: %s takes %d words, not %d", errUsage, name, n, len(args))
		}
		return nil
	}
	switch name {
	case "up":
		fs := flags(name)
		fs.StringVar(&o.ProxyMode, "proxy-mode", "", "")
		if err := parse(fs, args); err != nil {
			return err
		}
		if fs.NArg() > 0 {
			return fmt.Errorf("%w: up takes no %q", errUsage, fs.Arg(0))
		}
		_, err := cluster.Start(ctx, o)
		return err
	case "down":
		if err := want(0); err != nil {
			return err
		}
		return cluster.Remove(o)
	case "build-image":
		if err := want(2); err != nil {
			return err
		}
		file, err := cluster.BuildImage(ctx, args[0], args[1])
		if err == nil {
			fmt.Fprintln(os.Stdout, file)
		}
		return err
	case "help":
		return flag.ErrHelp
	}
	counts := map[string]int{"status": 0, "logs": 0, "cut": 1, "restore": 1, "crash": 1, "power-on": 1, "kill": 4, "kubectl": -1, "exec": -1, "load": -1}
	n, ok := counts[name]
	if !ok {
		return fmt.Errorf("%w: no command %q", errUsage, name)
	}
	if n >= 0 {
		if err := want(n); err != nil {
			return err
		}
	}
	c, err := cluster.Open(o)
	if err != nil {
		return fmt.Errorf("%w (start it with: cluster up)", err)
	}
	return do(ctx, c, name, args)
}

// do runs a command that needs a cluster.
func do(ctx context.Context, c *cluster.Cluster, name string, args []string) error {
	switch name {
	case "status":
		if err := c.Status(os.Stdout); err != nil {
			return err
		}
		return c.KubectlTo(ctx, nil, os.Stdout, os.Stderr, "get", "nodes,services,pods", "--all-namespaces", "--output=wide")
	case "logs":
		c.DumpLogs(os.Stdout)
		return nil
	case "kubectl":
		return userCommand(c.KubectlTo(ctx, os.Stdin, os.Stdout, os.Stderr, args...))
	case "exec":
		if len(args) < 2 {
			return fmt.Errorf("%w: exec takes a host and a command", errUsage)
		}
		if _, err := os.Stat(c.NetNS(args[0])); err != nil {
			return fmt.Errorf("no host %q", args[0])
		}
		cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", filepath.Base(c.NetNS(args[0]))}, args[1:]...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		// Interrupted at a terminal it is told by that too, and may have a last word.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		return userCommand(cmd.Run())
	case "cut":
		return c.CutLink(args[0])
	case "restore":
		return c.RestoreLink(args[0])
	case "crash":
		return c.Crash(ctx, args[0])
	case "power-on":
		return c.PowerOn(ctx, args[0])
	case "kill":
		return c.KillContainer(ctx, args[0], args[1], args[2], args[3], syscall.SIGKILL)
	default: // load
		if len(args) == 0 {
			return fmt.Errorf("%w: load takes an image archive", errUsage)
		}
		return c.LoadImage(ctx, args[0], args[1:]...)
	}
}

// parse tells a wrong flag from a call for help.
func parse(fs *flag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return err
}
