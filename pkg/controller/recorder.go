package controller

import (
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/record/util"
)

// The reasons of Events about the configuration.
const (
	reasonProblem = "ConfigProblem"
	reasonNotice  = "ConfigNotice"
)

const (
	// maxQueuedEvents limits the queue while the API server is unreachable.
	maxQueuedEvents = 256
	// eventRetry is the time between attempts while the API server is unreachable.
	eventRetry = 10 * time.Second
	// eventTimeout limits one request and, on exit, all requests together.
	eventTimeout = time.Second
)

// recorder writes Events. Unlike the recorder of client-go it logs a missing
// permission only once, and writes the queued Events before it stops.
type recorder struct {
	client    kubernetes.Interface
	source    corev1.EventSource
	queue     chan *corev1.Event
	apiErrors *apiErrorLog
}

func newRecorder(client kubernetes.Interface, host string, apiErrors *apiErrorLog) *recorder {
	return &recorder{
		client:    client,
		source:    corev1.EventSource{Component: userAgent, Host: host},
		queue:     make(chan *corev1.Event, maxQueuedEvents),
		apiErrors: apiErrors,
	}
}

// reference returns a reference to o, an object of this kind in core/v1.
func reference(kind string, o metav1.Object) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion:      "v1",
		Kind:            kind,
		Namespace:       o.GetNamespace(),
		Name:            o.GetName(),
		UID:             o.GetUID(),
		ResourceVersion: o.GetResourceVersion(),
	}
}

// record queues an Event, or drops it if the queue is full.
func (r *recorder) record(about corev1.ObjectReference, eventType, reason, message string) {
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: util.GenerateEventName(about.Name, now.UnixNano()), Namespace: about.Namespace},
		InvolvedObject:      about,
		Reason:              reason,
		Message:             message,
		Source:              r.source,
		FirstTimestamp:      now,
		LastTimestamp:       now,
		Count:               1,
		Type:                eventType,
		ReportingController: r.source.Component,
		ReportingInstance:   r.source.Host,
	}
	select {
	case r.queue <- event:
	default:
	}
}

// run writes Events until ctx is done. Then it writes the queued Events, for at most
// eventTimeout.
func (r *recorder) run(ctx context.Context) {
	correlator := record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{
		// Many Problems must not use up the rate limit of transitions.
		SpamKeyFunc: func(e *corev1.Event) string {
			return strings.Join([]string{string(e.InvolvedObject.UID), e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason}, "/")
		},
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case event := <-r.queue:
			r.write(ctx, correlator, event)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case event := <-r.queue:
			r.write(ctx, correlator, event)
		default:
			return
		}
	}
}

// write writes an Event, and retries while the API server is unreachable.
func (r *recorder) write(ctx context.Context, correlator *record.EventCorrelator, event *corev1.Event) {
	result, err := correlator.EventCorrelate(event)
	if err != nil || result.Skip {
		return
	}
	for {
		written, err := r.send(ctx, result)
		r.apiErrors.record(ctx, "write events", err)
		if err == nil {
			correlator.UpdateState(written)
			return
		}
		if _, ok := errors.AsType[*apierrors.StatusError](err); ok {
			return // A retry would get the same response.
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(eventRetry):
		}
	}
}

func (r *recorder) send(ctx context.Context, result *record.EventCorrelateResult) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	events := r.client.CoreV1().Events(result.Event.Namespace)
	if result.Event.Count > 1 {
		written, err := events.Patch(ctx, result.Event.Name, types.StrategicMergePatchType, result.Patch, metav1.PatchOptions{})
		if !apierrors.IsNotFound(err) {
			return written, err
		}
	}
	// Events expire after an hour: the Event to patch may not exist any more.
	event := result.Event.DeepCopy()
	event.ResourceVersion = ""
	return events.Create(ctx, event, metav1.CreateOptions{})
}
