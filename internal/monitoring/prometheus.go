// Package monitoring runs the Prometheus and the Alertmanager that `make` put into .tools/, as processes of their own on
// free ports of 127.0.0.1, and asks them. Tests of rules and dashboards and the alert drill use it.
//
//	prometheus, err := monitoring.StartPrometheus(ctx, root, t.TempDir(), monitoring.PrometheusConfig{Rules: rules})
//	defer prometheus.Kill()
//	config, err := prometheus.PushFrom("../examples/demo.yaml", t.TempDir(), time.Second)
//	collector, err := builtcollector.Start(ctx, root, config, t.TempDir())
package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

// Prometheus is a running Prometheus. Who starts it calls Stop or Kill.
type Prometheus struct {
	// URL is where it listens, without a path.
	URL string
	*process.Process
}

// PrometheusConfig is what differs from one Prometheus to another. Its zero value takes OTLP and knows no rules.
type PrometheusConfig struct {
	// Rules are the files of alert and recording rules, absolute or from the working directory.
	Rules []string
	// Every is how often groups of rules are evaluated that do not say it themselves; 0 is once a second.
	Every time.Duration
	// Alertmanager is the URL of the one to be told of alerts, or empty.
	Alertmanager string
	// Data is the folder of its database, such as one that promtool filled; empty is a new one.
	Data string
}

// StartPrometheus returns when Prometheus is ready. root is the repository; its files go to the folder out.
//
// It takes OTLP metrics at PushURL and names them as a scrape of the Collector does: job and instance are service.name
// and service.instance.id, no other attribute of the resource becomes a label.
func StartPrometheus(ctx context.Context, root, out string, config PrometheusConfig) (*Prometheus, error) {
	binary, err := tool(root, "prometheus")
	if err != nil {
		return nil, err
	}
	if config.Every == 0 {
		config.Every = time.Second
	}
	if config.Data == "" {
		config.Data = filepath.Join(out, "data")
	}
	file, err := config.write(out)
	if err != nil {
		return nil, err
	}
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	p := &Prometheus{URL: "http://" + address}
	command := exec.Command(binary,
		"--config.file", file,
		"--storage.tsdb.path", config.Data,
		"--storage.tsdb.retention.time", "30d",
		"--web.listen-address", address,
		"--web.enable-otlp-receiver",
		"--enable-feature", "exemplar-storage",
		"--log.level", "warn")
	p.Process, err = process.Start(ctx, "Prometheus", command, filepath.Join(out, "prometheus.log"), func(ctx context.Context) bool {
		return process.IsReady(ctx, p.URL+"/-/ready")
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// write writes the configuration file into the folder out and returns its path.
func (c PrometheusConfig) write(out string) (string, error) {
	rules := make([]string, len(c.Rules))
	for i, file := range c.Rules {
		absolute, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		// Prometheus itself takes a missing file for a pattern that matches nothing yet.
		if _, err := os.Stat(absolute); err != nil {
			return "", fmt.Errorf("rules: %w", err)
		}
		rules[i] = absolute
	}
	content := map[string]any{
		"global":     map[string]any{"evaluation_interval": c.Every.String()},
		"rule_files": rules,
		"otlp": map[string]any{
			"translation_strategy":        "UnderscoreEscapingWithSuffixes",
			"promote_resource_attributes": []string{},
		},
	}
	if c.Alertmanager != "" {
		at, err := url.Parse(c.Alertmanager)
		if err != nil {
			return "", fmt.Errorf("address of the Alertmanager: %w", err)
		}
		content["alerting"] = map[string]any{"alertmanagers": []any{map[string]any{
			"scheme":         at.Scheme,
			"static_configs": []any{map[string]any{"targets": []string{at.Host}}},
		}}}
	}
	text, err := yaml.Marshal(content)
	if err != nil {
		return "", err
	}
	path := filepath.Join(out, "prometheus.yml")
	return path, os.WriteFile(path, text, 0o600)
}

// tool returns the path of something that make puts into .tools/ below root.
func tool(root, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(root, ".tools", name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run make .tools/%s first", err, name)
	}
	return path, nil
}

// PushURL is where it takes OTLP metrics.
func (p *Prometheus) PushURL() string { return p.URL + "/api/v1/otlp/v1/metrics" }

// PushFrom writes a copy of a Collector's configuration into the folder out and returns its absolute path. The
// Collector's own metrics, and so the derived ones, are pushed to p at an interval besides what the configuration has.
func (p *Prometheus) PushFrom(config, out string, every time.Duration) (string, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return "", err
	}
	var parsed map[string]any
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		return "", fmt.Errorf("%s: %w", config, err)
	}
	metrics := parsed
	for _, key := range []string{"service", "telemetry", "metrics"} {
		next, ok := metrics[key].(map[string]any)
		if !ok {
			return "", fmt.Errorf("%s: service::telemetry::metrics has no %s", config, key)
		}
		metrics = next
	}
	readers, _ := metrics["readers"].([]any)
	metrics["readers"] = append(readers, map[string]any{"periodic": map[string]any{
		"interval": every.Milliseconds(),
		"exporter": map[string]any{"otlp": map[string]any{
			"protocol":               "http/protobuf",
			"endpoint":               p.PushURL(),
			"temporality_preference": "cumulative",
		}},
	}})
	if text, err = yaml.Marshal(parsed); err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(out, "pushing.yaml"))
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, text, 0o600)
}

// Series is one series of an answer: its labels, with __name__ where it has one, and its points.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	At    time.Time
	Value float64
}

// Query asks for the value of an expression now. A range selector gives the samples as they were stored. A scalar is a
// series without labels.
func (p *Prometheus) Query(ctx context.Context, expression string) ([]Series, error) {
	return p.series(ctx, "/api/v1/query", url.Values{"query": {expression}})
}

// QueryRange asks for the values of an expression from one time to another.
func (p *Prometheus) QueryRange(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]Series, error) {
	return p.series(ctx, "/api/v1/query_range", url.Values{
		"query": {expression},
		"start": {from.Format(time.RFC3339Nano)},
		"end":   {to.Format(time.RFC3339Nano)},
		"step":  {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
}

func (p *Prometheus) series(ctx context.Context, path string, parameters url.Values) ([]Series, error) {
	var answer struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := p.Get(ctx, path, parameters, &answer); err != nil {
		return nil, err
	}
	if answer.ResultType == "scalar" {
		var at point
		if err := json.Unmarshal(answer.Result, &at); err != nil {
			return nil, err
		}
		return []Series{{Points: []Point{Point(at)}}}, nil
	}
	var result []struct {
		Metric map[string]string `json:"metric"`
		Value  *point            `json:"value"`
		Values []point           `json:"values"`
	}
	if err := json.Unmarshal(answer.Result, &result); err != nil {
		return nil, fmt.Errorf("%s of type %s: %w", path, answer.ResultType, err)
	}
	out := make([]Series, len(result))
	for i, series := range result {
		out[i].Labels = series.Metric
		if series.Value != nil {
			series.Values = append(series.Values, *series.Value)
		}
		for _, at := range series.Values {
			out[i].Points = append(out[i].Points, Point(at))
		}
	}
	return out, nil
}

// point is how the API writes a Point: seconds since 1970, and the value as a text.
type point Point

func (p *point) UnmarshalJSON(text []byte) error {
	var seconds float64
	var value string
	if err := json.Unmarshal(text, &[]any{&seconds, &value}); err != nil {
		return err
	}
	p.At = time.UnixMilli(int64(seconds*1000 + 0.5))
	var err error
	p.Value, err = strconv.ParseFloat(value, 64)
	return err
}

// Get asks the API and reads what is under data in its answer. What Prometheus says of a wrong question is the error.
func (p *Prometheus) Get(ctx context.Context, path string, parameters url.Values, data any) error {
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := get(ctx, p.URL+path+"?"+parameters.Encode(), &answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

func get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s answers %s: %s", request.URL.Path, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
