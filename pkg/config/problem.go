package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem is one thing an operator should know about the configuration. Two
// equal Problems are the same Problem.
type Problem struct {
	// Key is the key of the ConfigMap, or the name of the annotation.
	Key string `json:"key"`
	// Value is what was written there, shortened if it is long.
	Value string `json:"value"`
	// Message says what is wrong, what happens instead and what is right.
	Message string `json:"message"`
	// Notice tells that the entry is served all the same.
	Notice bool `json:"notice,omitempty"`
}

// String returns the one line that logs and Events show.
func (p Problem) String() string {
	if p.Value == "" {
		return p.Key + ": " + p.Message
	}
	return fmt.Sprintf("%s: %q: %s", p.Key, p.Value, p.Message)
}

// maxShown is how many bytes of a key or value a Problem shows.
const maxShown = 128

// Shorten cuts s to what a Problem shows of it, and makes it valid UTF-8.
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
