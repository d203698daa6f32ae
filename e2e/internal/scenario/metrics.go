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

// parseMetrics reads the lines "NAME VALUE" and "NAME{LABELS} VALUE" of the text
// format; of a metric with labels it returns the sum.
func parseMetrics(text string) map[string]float64 {
	metrics := map[string]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		name, _, _ := strings.Cut(f[0], "{")
		if v, err := strconv.ParseFloat(f[len(f)-1], 64); err == nil {
			metrics[name] += v
		}
	}
	return metrics
}
