package builtcollector

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
)

// Sample is one series of a Collector's metrics, named as Prometheus names it, and its value.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Scrape reads the metrics that can be pulled.
func (c *Collector) Scrape(ctx context.Context) ([]Sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	return parse(response.Body)
}

var (
	sample = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)`)
	label  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// parse reads the Prometheus text format. Escapes in label values stay as they are.
func parse(from io.Reader) ([]Sample, error) {
	var samples []Sample
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		parts := sample.FindStringSubmatch(lines.Text())
		if parts == nil {
			continue // a comment
		}
		value, err := strconv.ParseFloat(parts[3], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", parts[1], err)
		}
		labels := map[string]string{}
		for _, pair := range label.FindAllStringSubmatch(parts[2], -1) {
			labels[pair[1]] = pair[2]
		}
		samples = append(samples, Sample{parts[1], labels, value})
	}
	return samples, lines.Err()
}
