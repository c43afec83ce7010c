package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// Metrics are pushed once a second. At four times the speed the incident takes a minute, a quarter of it before the
// chaos and a quarter after, so that each subquery of a panel has a step in each of the three.
const (
	pushInterval = time.Second
	speed        = 4
)

// After the incident came through the built Collector to a real Prometheus every panel, annotation and variable finds
// something there, and what an incident report takes from the panels is true.
func TestIncident(t *testing.T) {
	recorded, err := recording.Open(filepath.Join(root, "testdata/incident"))
	require.NoError(t, err)
	out := t.TempDir()
	began := time.Now()
	prometheus, err := monitoring.StartPrometheus(t.Context(), root, out, monitoring.PrometheusConfig{})
	require.NoError(t, err)
	defer prometheus.Kill()
	config, err := prometheus.PushFrom(filepath.Join(root, "examples/demo.yaml"), out, pushInterval)
	require.NoError(t, err)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"token":"t"}`)
	}))
	defer shop.Close()
	configure(t, config, fmt.Sprintf(planned, began.Add(-time.Hour).Format(time.RFC3339), began.Add(time.Hour).Format(time.RFC3339)))
	configure(t, config, fmt.Sprintf(testOrders, shop.URL, prometheus.PushURL()))
	collector, err := builtcollector.Start(t.Context(), root, config, out, "DEMO_OUT="+out)
	require.NoError(t, err)
	defer collector.Kill()

	replay := builtcollector.Replay{Speed: speed}
	require.NoError(t, replay.Run(t.Context(), recorded, collector))
	s := &seen{t: t, prometheus: prometheus}
	require.Eventually(t, func() bool {
		over, err := prometheus.Query(t.Context(), "max(vendor_outages_total) == 1 unless max(vendor_outage) == 1")
		return err == nil && len(over) == 1
	}, 30*time.Second, 200*time.Millisecond, "an outage was found and is over")
	down := s.series(time.Now(), `max_over_time(timestamp(vendor_outage == 1)[10m:1s])`)
	require.Len(t, down, 1)
	// Some panels, such as how long a vendor has been down, only speak during an outage.
	s.during, s.after = time.UnixMilli(int64(down[0].Points[0].Value*1000)), time.Now()
	s.timeRange = s.after.Sub(began).Round(time.Second)

	for _, choice := range []map[string]string{
		{"vendor": "pizza-factory", "latency_vendor": "pizza-factory", "caller": "jwt-pizza-service", "synthetic": "no"},
		{"vendor": ".+", "latency_vendor": "pizza-factory", "caller": ".+", "synthetic": ".+"},
	} {
		s.choice = choice
		for _, dashboard := range dashboards() {
			if dashboard.UID == "vendor-incident" && choice["vendor"] == ".+" {
				continue // it asks for one
			}
			for _, panel := range dashboard.Panels {
				for _, target := range panel.Targets {
					if target.DataSource.Type == "prometheus" {
						s.findsSomething(target, dashboard.Title+": "+panel.Title)
					}
				}
			}
			for _, annotation := range dashboard.Annotations.List {
				s.findsSomething(annotation.Target, dashboard.Title+": "+annotation.Name)
			}
			for _, variable := range dashboard.Templating.List {
				if variable.Type == "query" {
					s.offers(variable)
				}
			}
		}
	}

	for _, query := range promQLBlock.FindAllStringSubmatch(read(t, filepath.Join(root, "docs/metrics.md")), -1) {
		// Some ask for what is amiss, and nothing is.
		if found := len(s.series(s.after, query[1])) + len(s.series(s.during, query[1])); !asksForTrouble.MatchString(query[1]) {
			assert.NotZero(t, found, query[1])
		}
	}

	s.choice = map[string]string{"vendor": "pizza-factory", "caller": ".+", "synthetic": "no"}
	truth := recorded.Truth
	incident := vendorIncident()
	lost := float64(truth.Failed)
	for _, figure := range []struct {
		panel       int
		want, delta float64 // increase() estimates
	}{
		{panelLost, lost, 0},
		{panelLostCounted, lost, 0.1 * lost},
		{panelCustomers, float64(len(truth.FailedDinerIDs)), 0},
		{panelValue, truth.FailedAmount, 1e-9},
		{panelOutagesFound, 1, 0},
		{panelReasons, lost, 0.1 * lost},
		{panelShareLost, lost / float64(truth.Orders), 0.05},
		{panelDowntime, s.after.Sub(began).Seconds() / 2, s.after.Sub(began).Seconds() / 2},
	} {
		panel := panelOf(incident, figure.panel)
		assert.InDelta(t, figure.want, s.value(panel), figure.delta, panel.Title)
	}
	assert.Positive(t, s.value(panelOf(incident, panelPeak)), "how high depends on how busy this machine is: see TestFigures")
	for _, order := range [][]int{{panelFirstFailed, panelLastFailed}, {panelFound, panelLastDown}} {
		first, last := s.value(panelOf(incident, order[0])), s.value(panelOf(incident, order[1]))
		assert.WithinRange(t, time.UnixMilli(int64(first)), began, s.after)
		assert.WithinRange(t, time.UnixMilli(int64(last)), time.UnixMilli(int64(first)), s.after)
	}

	health := vendorHealth()
	assert.Equal(t, lost, s.value(panelOf(health, panelOrdersLost)))
	assert.Zero(t, s.value(panelOf(health, panelBrokenNow)))
	assert.Equal(t, 1., s.value(panelOf(health, panelTestOrder)))
	assert.InDelta(t, 0, s.value(panelOf(health, panelLastGoodOrder)), 30)
	for outcome, want := range map[string]float64{
		"success":        float64(truth.Orders - truth.Failed),
		"vendor_failure": lost,
		"own_failure":    0,
		"rejected":       float64(truth.OtherRequests["unauthOrder"]["401"]),
	} {
		// A graph of rates tells about as many orders as there were, when all of it is taken together. Were signals added,
		// it would be twice as many; a busy machine pushes late and loses some between the windows.
		var orders float64
		for _, target := range panelOf(health, panelOrders).Targets {
			for _, series := range s.graph(target) {
				if series.Labels["vendor_outcome"] == outcome {
					for _, point := range series.Points {
						orders += point.Value / 60 * pushInterval.Seconds()
					}
				}
			}
		}
		assert.InDelta(t, want, orders, 0.25*want, outcome)
	}
}

// What the incident's configuration has besides that of the demo: a window that is on now, and test orders at a shop.
const (
	planned = `
processors: {vendor_failure: {planned: [{vendor: pizza-factory, from: "%s", to: "%s", note: drill}]}}
`
	testOrders = `
receivers:
  test_order:
    vendor: pizza-factory
    interval: 2s
    collection_interval: 1s
    steps:
      - {name: login, request: {method: PUT, url: "%[1]s/api/auth"}, expect: {status: 200}, capture: {token: token}}
      - {name: order, request: {method: POST, url: "%[1]s/api/order", bearer: "{{token}}"}, expect: {status: 200}}
exporters: {otlp_http/prometheus: {metrics_endpoint: "%[2]s"}}
service: {pipelines: {metrics: {receivers: [test_order], exporters: [otlp_http/prometheus]}}}
`
)

// configure merges YAML into a Collector's configuration.
func configure(t *testing.T, config, more string) {
	t.Helper()
	var parsed, added map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(read(t, config)), &parsed))
	require.NoError(t, yaml.Unmarshal([]byte(more), &added))
	merge(parsed, added)
	text, err := yaml.Marshal(parsed)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, text, 0o600))
}

func merge(into, from map[string]any) {
	for key, value := range from {
		below, ok := value.(map[string]any)
		if there, both := into[key].(map[string]any); ok && both {
			merge(there, below)
		} else {
			into[key] = value
		}
	}
}

var (
	promQLBlock    = regexp.MustCompile("(?s)```promql\n(.*?)```")
	asksForTrouble = regexp.MustCompile(`== 0|unless|own_failure"`)
)

func panelOf(d Dashboard, id int) Panel {
	return d.Panels[slices.IndexFunc(d.Panels, func(p Panel) bool { return p.ID == id })]
}

// seen asks Prometheus as Grafana does.
type seen struct {
	t             *testing.T
	prometheus    *monitoring.Prometheus
	choice        map[string]string // of variables
	during, after time.Time
	timeRange     time.Duration
}

func (s *seen) fill(expr string) string {
	return fill(expr, s.choice, 4*pushInterval, s.timeRange)
}

// fill puts values in the place of variables.
func fill(expr string, choice map[string]string, rateInterval, timeRange time.Duration) string {
	pairs := []string{"$__rate_interval", rateInterval.String(), "$__range", timeRange.String(), "$__interval", pushInterval.String()}
	for name, value := range choice {
		pairs = append(pairs, "$"+name, value)
	}
	return strings.NewReplacer(pairs...).Replace(expr)
}

func (s *seen) series(at time.Time, expr string) []monitoring.Series {
	s.t.Helper()
	got, err := s.prometheus.QueryRange(s.t.Context(), s.fill(expr), at, at, time.Second)
	require.NoError(s.t, err, s.fill(expr))
	return got
}

func (s *seen) graph(target Target) []monitoring.Series {
	s.t.Helper()
	got, err := s.prometheus.QueryRange(s.t.Context(), s.fill(target.Expr), s.after.Add(-s.timeRange), s.after, pushInterval)
	require.NoError(s.t, err, s.fill(target.Expr))
	return got
}

// value is what a panel of one figure shows at the end.
func (s *seen) value(p Panel) float64 {
	s.t.Helper()
	require.Len(s.t, p.Targets, 1)
	got := s.series(s.after, p.Targets[0].Expr)
	require.Len(s.t, got, 1, p.Title)
	return got[0].Points[0].Value
}

func (s *seen) findsSomething(target Target, where string) {
	s.t.Helper()
	if target.Instant {
		if len(s.series(s.after, target.Expr)) == 0 {
			assert.NotEmpty(s.t, s.series(s.during, target.Expr), "%s: %s", where, s.fill(target.Expr))
		}
		return
	}
	assert.NotEmpty(s.t, s.graph(target), "%s: %s", where, s.fill(target.Expr))
	if !target.Exemplar {
		return
	}
	var found []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	require.NoError(s.t, s.prometheus.Get(s.t.Context(), "/api/v1/query_exemplars", url.Values{
		"query": {s.fill(target.Expr)},
		"start": {s.after.Add(-s.timeRange).Format(time.RFC3339)},
		"end":   {s.after.Format(time.RFC3339)},
	}, &found))
	require.NotEmpty(s.t, found, "%s: failed calls lead to their traces", where)
	for _, series := range found {
		for _, exemplar := range series.Exemplars {
			assert.Regexp(s.t, "^[0-9a-f]{32}$", exemplar.Labels["trace_id"])
		}
	}
}

// offers looks whether a variable has what was chosen, or all, to choose from.
func (s *seen) offers(v Variable) {
	s.t.Helper()
	parts := labelValues.FindStringSubmatch(v.Query.(SeriesQuery).Query)
	var values []string
	require.NoError(s.t, s.prometheus.Get(s.t.Context(), "/api/v1/label/"+parts[2]+"/values", url.Values{"match[]": {s.fill(parts[1])}}, &values))
	if chosen := s.choice[v.Name]; chosen == ".+" {
		assert.NotEmpty(s.t, values, v.Name)
	} else {
		assert.Contains(s.t, values, chosen, v.Name)
	}
}
