package controller

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
)

// answers logs what the API server says to requests, a line for each change
// of its mind: a request that fails is repeated for as long as it takes.
type answers struct {
	mu sync.Mutex
	// last is the latest answer to each request that did not always succeed.
	last map[string]answer
}

// answer is what there is to tell about the result of a request.
type answer int

const (
	answerOK answer = iota
	answerDenied
	answerFailed
)

func newAnswers() *answers { return &answers{last: map[string]answer{}} }

// heard takes the result of one request, such as "list services".
func (a *answers) heard(ctx context.Context, request string, err error) {
	now := answerFailed
	switch {
	case err == nil:
		now = answerOK
	case isDenied(err):
		now = answerDenied
	case ctx.Err() != nil, apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		// Our own doing, and a watch that has to begin anew.
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last[request] == now {
		return
	}
	a.last[request] = now
	logger := klog.FromContext(ctx)
	switch now {
	case answerOK:
		logger.Info("Kubernetes API request succeeded again", "reason", request)
	case answerDenied:
		logger.Info("Kubernetes API request was not permitted, went on without it", "reason", request, "err", err)
	case answerFailed:
		logger.Info("Kubernetes API request failed, went on with what is known", "reason", request, "err", err)
	}
}

// isDenied tells that the API server does not permit what it was asked.
func isDenied(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }
