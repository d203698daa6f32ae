package config

import (
	"errors"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pair is a field of a YAML mapping, or an entry of one that has free keys.
type pair struct{ key, value *yaml.Node }

// mappingPairs returns what a mapping has, in its order and with keys that are there
// twice; ok is false if n is no mapping. Nothing is converted, so that 0120 is
// neither 80 nor a duplicate of it.
func mappingPairs(n *yaml.Node) (list []pair, ok bool) {
	if n = resolveAlias(n); n.Kind != yaml.MappingNode {
		return nil, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		list = append(list, pair{resolveAlias(n.Content[i]), n.Content[i+1]})
	}
	return list, true
}

// fieldName returns the key of a field as Problems name it: quoted if it is
// none that could be printed.
func fieldName(key *yaml.Node) string {
	name := Shorten(key.Value)
	if quoted := strconv.Quote(name); name == "" || quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// sequenceItems returns what a list has; ok is false if n is no list.
func sequenceItems(n *yaml.Node) (list []*yaml.Node, ok bool) {
	n = resolveAlias(n)
	return n.Content, n.Kind == yaml.SequenceNode
}

// scalar returns a scalar as it is written; "" if n is none.
func scalar(n *yaml.Node) string {
	if n = resolveAlias(n); n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

// stringScalar returns a scalar that YAML takes for a string; "" if n is none.
func stringScalar(n *yaml.Node) string {
	if resolveAlias(n).ShortTag() != "!!str" {
		return ""
	}
	return scalar(n)
}

// resolveAlias returns what an alias stands for.
func resolveAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// parseBool reads true or false.
func parseBool(n *yaml.Node) (b bool, err error) {
	if n = resolveAlias(n); n.ShortTag() == "!!null" || n.Decode(&b) != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

// parseNumber reads a number from 1 in decimal digits. A zero before it is an
// error: YAML would take 0120 for 80.
func parseNumber(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || n == 0 || s[0] == '0' {
		return 0, errors.New("not a number")
	}
	return n, nil
}

// formatNode returns n as YAML, shortened. Strings in quotes keep them: "60" is not
// the number 60.
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

// yamlError returns the text of an error of the YAML package as one line.
func yamlError(err error) string {
	return Shorten(strings.Join(strings.Fields(err.Error()), " "))
}
