package controller

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"kube-vrrp-vip/pkg/config"
)

// userAgent names the daemon in the API server's logs and in Events.
const userAgent = "kube-vrrp-vip"

// NewClient returns a client for the API server in o or, if o names none, for the API
// server of the cluster in which the daemon runs as a pod. It sends no request.
func NewClient(o config.Options) (kubernetes.Interface, error) {
	c, err := clientConfig(o)
	if err != nil {
		return nil, fmt.Errorf("configure the Kubernetes client: %w", err)
	}
	c.UserAgent = userAgent
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	// A few watches and rare Events need no rate limit, and it must not delay the
	// requests on SIGTERM.
	c.QPS = -1
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("make the Kubernetes client: %w", err)
	}
	return client, nil
}

func clientConfig(o config.Options) (*rest.Config, error) {
	if o.APIServerHost == "" && o.Kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags(o.APIServerHost, o.Kubeconfig)
}
