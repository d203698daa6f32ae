package scenario

import (
	"context"
	"io"
	"strconv"
	"strings"
)

// Metrics returns what the daemon on a node says on /metrics without labels, by name.
func (s *Site) Metrics(ctx context.Context, node string) (map[string]float64, error) {
	body, err := s.get(ctx, node, "/metrics")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(b)), nil
}

// parseMetrics reads the lines "NAME VALUE" of the text format.
func parseMetrics(text string) map[string]float64 {
	metrics := map[string]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 || strings.ContainsAny(f[0], "#{") {
			continue
		}
		if v, err := strconv.ParseFloat(f[1], 64); err == nil {
			metrics[f[0]] = v
		}
	}
	return metrics
}
