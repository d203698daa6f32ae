package config

import (
	"errors"
	"fmt"
	"strings"
)

// ObjectName is the namespace and the name of a Kubernetes object.
type ObjectName struct {
	Namespace string
	Name      string
}

// String returns "namespace/name".
func (n ObjectName) String() string { return n.Namespace + "/" + n.Name }

// IsZero reports whether n is the zero ObjectName.
func (n ObjectName) IsZero() bool { return n == ObjectName{} }

// maxLabel is the maximum length of a DNS label (RFC 1123 section 2.1).
const maxLabel = 63

// maxSubdomain is the maximum length of the name of an object such as a ConfigMap.
const maxSubdomain = 253

var errLabel = errors.New("must be 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit")

// checkLabel returns an error if s is not a DNS label (RFC 1123), which is how
// Kubernetes defines the name of a namespace or a Service.
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

// checkSubdomain returns an error if s is not a DNS subdomain (RFC 1123), which is
// how Kubernetes defines the name of a ConfigMap: labels separated by dots.
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

// parseObjectName parses "namespace/name". It does not check the two parts.
func parseObjectName(s string) (ObjectName, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return ObjectName{}, errors.New("write namespace/name")
	}
	return ObjectName{Namespace: namespace, Name: name}, nil
}

// parseServiceName parses the namespace and the name of a Service, and checks them.
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
