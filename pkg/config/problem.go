package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem is an error in the configuration or a notice about it, for the operator.
// Problems are comparable: two equal Problems are the same Problem.
type Problem struct {
	// Key is the key of the ConfigMap, or the name of the annotation.
	Key string `json:"key"`
	// Value is the value that the Problem is about, shortened if it is long.
	Value string `json:"value"`
	// Message describes the error, its consequence and the remedy.
	Message string `json:"message"`
	// Notice reports whether the entry is served nevertheless.
	Notice bool `json:"notice,omitempty"`
}

// String returns the Problem on one line, for logs and Events.
func (p Problem) String() string {
	if p.Value == "" {
		return p.Key + ": " + p.Message
	}
	return fmt.Sprintf("%s: %q: %s", p.Key, p.Value, p.Message)
}

// maxShown is the maximum number of bytes of a key or value in a Problem.
const maxShown = 128

// Shorten returns s as a Problem shows it: valid UTF-8, and cut after 128 bytes.
func Shorten(s string) string {
	if len(s) <= maxShown {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.ToValidUTF8(s[:cut], "\uFFFD") + "..."
}
