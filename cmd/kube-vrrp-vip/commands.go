package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/config"
)

// run is the program; it returns the exit code.
func run(args []string, getenv func(string) string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer klog.Flush()

	if len(args) > 0 {
		switch args[0] {
		case "version":
			fmt.Fprintln(out, version)
			return 0
		case "cleanup":
			if err := cleanup(); err != nil {
				fmt.Fprintf(errOut, "kube-vrrp-vip cleanup: %v\n", err)
				return 1
			}
			return 0
		}
	}
	o, err := config.ParseOptions(args, getenv, out, klog.InitFlags)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(out, "Commands:\n  version\n    \tprint the version\n  cleanup\n    \tremove this node's virtual addresses, their links and the nftables tables")
		return 0
	}
	if err != nil {
		fmt.Fprintf(errOut, "kube-vrrp-vip: %v\n", err)
		return 2
	}
	if err := readPassword(&o); err != nil {
		fmt.Fprintf(errOut, "kube-vrrp-vip: %v\n", err)
		return 2
	}
	if err := serve(ctx, o); err != nil {
		klog.FromContext(ctx).Error(err, "Stopped")
		return 1
	}
	return 0
}

// readPassword sets the password from its file, if there is to be one.
func readPassword(o *config.Options) error {
	if o.AuthPassFile == "" {
		return nil
	}
	contents, err := os.ReadFile(o.AuthPassFile)
	if err == nil {
		o.VRRP.Password, err = config.ParsePassword(contents)
	}
	if err != nil {
		return fmt.Errorf("--auth-pass-file=%s: %w", o.AuthPassFile, err)
	}
	return nil
}
