package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/klog/v2"

	"kube-vrrp-vip/pkg/config"
	"kube-vrrp-vip/pkg/desired"
)

// Snapshot is the status of the daemon at one time.
type Snapshot struct {
	Engine   desired.Status         `json:"engine"`
	Datapath desired.DatapathStatus `json:"datapath"`
	Problems []config.Problem       `json:"problems"`
}

// Config is the configuration of a Server.
type Config struct {
	// Port is the TCP port to listen on, on all addresses.
	Port int
	// Version is the version of the daemon, and Node the name of its node.
	Version string
	Node    string
	// Snapshot returns the current status. It is called from several goroutines.
	Snapshot func() Snapshot
}

// Server serves HTTP. Use New to create one.
type Server struct {
	config  Config
	handler http.Handler
}

// New returns a Server. It serves nothing until Run is called.
func New(c Config) *Server {
	s := &Server{config: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthHandler(checkAlive))
	// The path of kube-keepalived-vip, which old manifests probe.
	mux.HandleFunc("GET /health", s.healthHandler(checkAlive))
	mux.HandleFunc("GET /readyz", s.healthHandler(checkReady))
	mux.HandleFunc("GET /status", s.serveStatus)
	mux.Handle("GET /metrics", metricsHandler(c))
	s.handler = mux
	return s
}

// The minimum and maximum time between attempts to listen.
const (
	minListenRetry = time.Second
	maxListenRetry = 30 * time.Second
)

// Run serves until ctx is done, and returns nil once the requests in progress have
// ended or a second has passed. If it cannot listen, it logs the error and retries
// until it can: the VIPs do not depend on the Server.
func (s *Server) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	address := net.JoinHostPort("", strconv.Itoa(s.config.Port))
	lastErr := ""
	for retry := minListenRetry; ; retry = min(2*retry, maxListenRetry) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			logger.Info("Listening", "address", l.Addr())
			lastErr, retry = "", minListenRetry
			err = s.serve(ctx, l)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err.Error() != lastErr {
			lastErr = err.Error()
			logger.Error(err, "HTTP was not served, trying again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// serve serves on l until ctx is done.
func (s *Server) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}()
	err := server.Serve(l)
	cancel()
	<-ended
	return err
}

// healthHandler responds with status 200, or with 503 and the error of f.
func (s *Server) healthHandler(f func(Snapshot, time.Time) error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := f(s.config.Snapshot(), time.Now()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

// maxBeatAge is the maximum time since the last iteration of the loop. The loop
// normally runs twice a second or more: only one that hangs exceeds it.
const maxBeatAge = 10 * time.Second

// checkAlive returns an error if the VRRP loop hangs or has not started. A daemon without
// VIPs is alive.
func checkAlive(s Snapshot, now time.Time) error {
	if s.Engine.Beat == 0 {
		return errors.New("the VRRP loop has not started")
	}
	if age := now.Sub(time.Unix(0, s.Engine.Beat)); age > maxBeatAge {
		return fmt.Errorf("the VRRP loop has not run for %s", age.Round(time.Second))
	}
	return nil
}

// checkReady returns an error if the daemon has not applied the configuration.
func checkReady(s Snapshot, now time.Time) error {
	if err := checkAlive(s, now); err != nil {
		return err
	}
	if !s.Engine.Applied {
		return errors.New("the configuration has not been read yet")
	}
	if s.Datapath.LastSync.IsZero() {
		if s.Datapath.Err != "" {
			return fmt.Errorf("the nftables tables could not be written: %s", s.Datapath.Err)
		}
		return errors.New("the nftables tables have not been written yet")
	}
	return nil
}

// serveStatus responds with the Snapshot as JSON.
func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	body := struct {
		Node    string `json:"node"`
		Version string `json:"version"`
		Snapshot
	}{s.config.Node, s.config.Version, s.config.Snapshot()}
	// Encode a nil slice as [], not as null.
	if body.Problems == nil {
		body.Problems = []config.Problem{}
	}
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// An error means that the client closed the connection.
	_, _ = w.Write(append(text, '\n'))
}
