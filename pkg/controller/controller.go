package controller

import (
	"context"

	"k8s.io/client-go/kubernetes"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

// NewClient returns a client for the API server that o names.
func NewClient(o config.Options) (kubernetes.Interface, error) { return nil, nil }

// Controller keeps the desired State up to date. Make one with New.
type Controller struct{}

// New returns a Controller that calls apply, from Run, with every State that
// differs from the one before.
func New(client kubernetes.Interface, o config.Options, apply func(desired.State)) *Controller {
	return &Controller{}
}

// Run watches until ctx is done, and returns when all it started has ended.
func (c *Controller) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Transition reports a change of state of a virtual router as Events. It does
// not block.
func (c *Controller) Transition(t desired.Transition) {}

// Problems returns what is wrong with the configuration now.
func (c *Controller) Problems() []config.Problem { return nil }

// Uninstalled tells whether the daemon is being removed from the cluster, as
// opposed to being restarted. It is meant to be asked once, on SIGTERM, may be
// called after Run has returned, and takes at most one second.
func (c *Controller) Uninstalled(ctx context.Context) bool { return false }
