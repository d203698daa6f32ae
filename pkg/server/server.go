package server

import (
	"context"
	"time"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

// Snapshot is everything the server shows, as it is at one moment.
type Snapshot struct {
	Engine   desired.Status   `json:"engine"`
	Datapath Datapath         `json:"datapath"`
	Problems []config.Problem `json:"problems"`
}

// Datapath is how the nftables tables are doing.
type Datapath struct {
	// LastSync is when the tables last were as they should be; zero: never.
	LastSync time.Time `json:"lastSync"`
	// Err is what the latest attempt failed with; empty: it succeeded.
	Err string `json:"error,omitempty"`
	// Errors counts the failed attempts.
	Errors uint64 `json:"errors"`
}

// Server serves HTTP. Make one with New.
type Server struct{}

// Config is what a Server needs.
type Config struct {
	// Port is listened on, on all addresses.
	Port int
	// Version and Node name this daemon.
	Version string
	Node    string
	// Snapshot is called from any goroutine.
	Snapshot func() Snapshot
}

// New returns a Server.
func New(c Config) *Server { return &Server{} }

// Run serves until ctx is done and the last request has ended.
func (s *Server) Run(ctx context.Context) error { <-ctx.Done(); return nil }
