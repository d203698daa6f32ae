package config

import (
	"errors"
	"fmt"
	"strings"
)

// ObjectName names a namespaced Kubernetes object.
type ObjectName struct {
	Namespace string
	Name      string
}

// String returns "namespace/name".
func (n ObjectName) String() string { return n.Namespace + "/" + n.Name }

// IsZero tells whether n names nothing.
func (n ObjectName) IsZero() bool { return n == ObjectName{} }

// maxLabel is the longest DNS label (RFC 1123 section 2.1).
const maxLabel = 63

// maxSubdomain is the longest name of an object such as a ConfigMap.
const maxSubdomain = 253

var errLabel = errors.New("must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit")

// checkLabel accepts what Kubernetes takes as the name of a namespace or a
// Service: a DNS label (RFC 1123).
func checkLabel(s string) error {
	if len(s) == 0 || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return errLabel
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return errLabel
		}
	}
	return nil
}

// checkSubdomain accepts what Kubernetes takes as the name of a ConfigMap:
// DNS labels with dots between them.
func checkSubdomain(s string) error {
	if len(s) > maxSubdomain {
		return fmt.Errorf("must be at most %d characters", maxSubdomain)
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	return nil
}

// parseObjectName reads "namespace/name" and leaves the two parts unchecked.
func parseObjectName(s string) (ObjectName, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return ObjectName{}, errors.New("write namespace/name")
	}
	return ObjectName{Namespace: namespace, Name: name}, nil
}

// parseServiceName reads the name of a Service.
func parseServiceName(s string) (ObjectName, error) {
	service, err := parseObjectName(s)
	if err != nil {
		return service, errors.New("the name of the Service is incomplete: write namespace/service, or nothing for the address only")
	}
	if err := checkLabel(service.Namespace); err != nil {
		return service, fmt.Errorf("the namespace %q %w", Shorten(service.Namespace), err)
	}
	if err := checkLabel(service.Name); err != nil {
		return service, fmt.Errorf("the Service name %q %w", Shorten(service.Name), err)
	}
	return service, nil
}
