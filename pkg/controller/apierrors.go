package controller

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
)

// apiErrorLog logs the results of requests to the API server, but only changes of
// the result, since failed requests are retried without end.
type apiErrorLog struct {
	mu sync.Mutex
	// last is the latest result of each request that has ever failed.
	last map[string]apiResult
}

// apiResult classifies the result of a request.
type apiResult int

const (
	resultOK apiResult = iota
	resultDenied
	resultFailed
)

func newAPIErrorLog() *apiErrorLog { return &apiErrorLog{last: map[string]apiResult{}} }

// record logs the result of a request, such as "list services", if it differs from
// the previous result of the same request.
func (l *apiErrorLog) record(ctx context.Context, request string, err error) {
	now := resultFailed
	switch {
	case err == nil:
		now = resultOK
	case isDenied(err):
		now = resultDenied
	case ctx.Err() != nil, apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		// The daemon canceled the request, or the watch must start over.
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last[request] == now {
		return
	}
	l.last[request] = now
	logger := klog.FromContext(ctx)
	switch now {
	case resultOK:
		logger.Info("Kubernetes API request succeeded again", "reason", request)
	case resultDenied:
		logger.Info("Kubernetes API request was not permitted, went on without it", "reason", request, "err", err)
	case resultFailed:
		logger.Info("Kubernetes API request failed, went on with what is known", "reason", request, "err", err)
	}
}

// isDenied reports whether err means that the API server denied the request.
func isDenied(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }
