package config

import (
	"errors"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pair is a key of a YAML mapping with its value.
type pair struct{ key, value *yaml.Node }

// mappingPairs returns the pairs of a mapping in their order, including duplicate
// keys; ok is false if n is not a mapping. It does not convert keys: yaml would
// decode 0120 as 80.
func mappingPairs(n *yaml.Node) (list []pair, ok bool) {
	if n = resolveAlias(n); n.Kind != yaml.MappingNode {
		return nil, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		list = append(list, pair{resolveAlias(n.Content[i]), n.Content[i+1]})
	}
	return list, true
}

// fieldName returns the key of a field for Problems, quoted if it is empty or has
// characters that are not printable.
func fieldName(key *yaml.Node) string {
	name := Shorten(key.Value)
	if quoted := strconv.Quote(name); name == "" || quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// sequenceItems returns the elements of a sequence; ok is false if n is not a
// sequence.
func sequenceItems(n *yaml.Node) (list []*yaml.Node, ok bool) {
	n = resolveAlias(n)
	return n.Content, n.Kind == yaml.SequenceNode
}

// scalar returns the text of a scalar, or "" if n is not a scalar or is null.
func scalar(n *yaml.Node) string {
	if n = resolveAlias(n); n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

// stringScalar returns the text of a scalar that YAML resolves to a string, or "" if
// n is anything else.
func stringScalar(n *yaml.Node) string {
	if resolveAlias(n).ShortTag() != "!!str" {
		return ""
	}
	return scalar(n)
}

// resolveAlias returns the node that n refers to if n is an alias, and otherwise n.
func resolveAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// parseBool parses true or false.
func parseBool(n *yaml.Node) (b bool, err error) {
	if n = resolveAlias(n); n.ShortTag() == "!!null" || n.Decode(&b) != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

// parseNumber parses a positive decimal number of at most this many bits. A leading
// zero is an error: YAML would decode 0120 as 80.
func parseNumber(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || n == 0 || s[0] == '0' {
		return 0, errors.New("not a number")
	}
	return n, nil
}

// formatNode returns n as YAML, shortened. It keeps the quotes of strings: "60" is
// not the number 60.
func formatNode(n *yaml.Node) string {
	const quotes = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	switch {
	case n.Kind == yaml.ScalarNode && n.Style&quotes != 0:
		return Shorten(`"` + n.Value + `"`)
	case n.Kind == yaml.ScalarNode:
		return Shorten(n.Value)
	}
	out, err := yaml.Marshal(n)
	if err != nil {
		return ""
	}
	return Shorten(strings.TrimSpace(string(out)))
}

// yamlError returns the text of an error of package yaml on one line.
func yamlError(err error) string {
	return Shorten(strings.Join(strings.Fields(err.Error()), " "))
}
