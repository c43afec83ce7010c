package examples

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// grafanaCloud takes the place of Grafana Cloud's OTLP endpoint.
type grafanaCloud struct {
	*httptest.Server

	mu            sync.Mutex
	authorization map[string][]string // by path, each value once
	pushes        []push              // of metrics
	outages       []string            // event.name of lines about pizza-factory
}

type push struct {
	at      time.Time
	metrics pmetric.Metrics
}

func newGrafanaCloud(t *testing.T) *grafanaCloud {
	g := &grafanaCloud{authorization: map[string][]string{}}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *grafanaCloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := read(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if header := r.Header.Get("Authorization"); !slices.Contains(g.authorization[r.URL.Path], header) {
		g.authorization[r.URL.Path] = append(g.authorization[r.URL.Path], header)
	}
	if r.URL.Path == "/otlp/v1/logs" {
		var decoder plog.ProtoUnmarshaler
		logs, err := decoder.UnmarshalLogs(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g.outages = append(g.outages, outageEvents(logs)...)
	}
	if r.URL.Path == "/otlp/v1/metrics" {
		// On the wire a request is the same as the metrics in it.
		var decoder pmetric.ProtoUnmarshaler
		metrics, err := decoder.UnmarshalMetrics(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g.pushes = append(g.pushes, push{time.Now(), metrics})
	}
}

func outageEvents(logs plog.Logs) []string {
	var events []string
	for _, rl := range logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				event, isEvent := record.Attributes().Get("event.name")
				vendor, hasVendor := record.Attributes().Get("vendor.name")
				if isEvent && hasVendor && vendor.Str() == "pizza-factory" {
					events = append(events, event.Str())
				}
			}
		}
	}
	return events
}

func read(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	unzip, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unzip)
}

// Both the pipelines and the Collector's own telemetry reach Grafana Cloud with the credentials of the environment, and
// the derived metrics have the same names, labels and values there as at the pull endpoint.
func TestGrafanaCloud(t *testing.T) {
	t.Parallel()
	cloud := newGrafanaCloud(t)
	collector, err := builtcollector.Start(t.Context(), root, "examples/grafana-cloud.yaml", t.TempDir(), credentials(cloud.URL)...)
	require.NoError(t, err)
	defer collector.Kill()
	replayChaos(t, collector)
	pulled := ofVendors(t, collector)

	counted := time.Now()
	var running push
	require.Eventually(t, func() bool {
		cloud.mu.Lock()
		defer cloud.mu.Unlock()
		if len(cloud.pushes) < 2 {
			return false
		}
		running = cloud.pushes[len(cloud.pushes)-1]
		return running.at.After(counted)
	}, 30*time.Second, 50*time.Millisecond, "metrics are pushed while the Collector runs")
	require.NoError(t, collector.Stop())
	cloud.Close() // waits for what is still being answered
	cloud.mu.Lock()
	defer cloud.mu.Unlock()

	between := cloud.pushes[1].at.Sub(cloud.pushes[0].at)
	assert.InDelta(t, 10, between.Seconds(), 2)

	const header = "Basic MTIzNDU2OmdsY19rZXk="
	assert.Equal(t, map[string][]string{
		"/otlp/v1/traces":  {header},
		"/otlp/v1/logs":    {header},
		"/otlp/v1/metrics": {header},
	}, cloud.authorization)

	assert.Equal(t, []string{"vendor.outage.start"}, cloud.outages, "the Collector's own lines arrive too, each once")

	assert.Equal(t, pulled, asPrometheusNames(t, running.metrics))
	assert.True(t, hasExemplar(running.metrics, "vendor.orders"), "a failed order leads to its trace")
	last := asPrometheusNames(t, cloud.pushes[len(cloud.pushes)-1].metrics)
	for series, value := range pulled {
		if strings.Contains(series, "_total{") {
			assert.Equal(t, value, last[series], "the push at shutdown has every count: %s", series)
		}
	}
	for _, resource := range running.metrics.ResourceMetrics().All() {
		attributes := resource.Resource().Attributes().AsRaw()
		assert.Equal(t, "otelcol-vendorfailure", attributes["service.name"])
		assert.NotEmpty(t, attributes["service.instance.id"], "replicas add up")
	}
}

func TestPull(t *testing.T) {
	for _, name := range []string{"demo.yaml", "jwt-pizza.yaml"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			collector, err := builtcollector.Start(t.Context(), root, "examples/"+name, out, "DEMO_OUT="+out, "OTEL_SERVICE_NAME=collector-"+name)
			require.NoError(t, err)
			defer collector.Kill()
			replayChaos(t, collector)
			pulled := ofVendors(t, collector)
			assert.Equal(t, "collector-"+name, nameOf(t, collector), "one of several that is gone is known by it")
			require.NoError(t, collector.Stop())

			names := map[string]bool{}
			for series := range pulled {
				name, labels, _ := strings.Cut(series, "{")
				names[name] = true
				assert.NotContains(t, labels, "otel_scope")
				assert.NotContains(t, labels, "otelcol_")
			}
			assert.Contains(t, names, "vendor_calls_total")
			assert.Contains(t, names, "vendor_orders_total")
			assert.Equal(t, 44., pulled["vendor_orders_total{vendor_caller=jwt-pizza-service,vendor_failure_reason=error,"+
				"vendor_name=pizza-factory,vendor_outcome=vendor_failure,vendor_signal=logs}"])
			if name == "demo.yaml" { // in jwt-pizza.yaml the factory is not on this machine
				assert.Contains(t, names, "vendor_call_duration_seconds_bucket")
			}
		})
	}
}

// replayChaos returns when all of a small recording is counted.
func replayChaos(t *testing.T, collector *builtcollector.Collector) {
	t.Helper()
	recorded, err := recording.Open("../testdata/chaos-fail")
	require.NoError(t, err)
	var replay builtcollector.Replay
	require.NoError(t, replay.Run(t.Context(), recorded, collector))

	orders := float64(recorded.Truth.Orders + recorded.Truth.OtherRequests["unauthOrder"]["401"])
	counted := map[string]float64{}
	require.Eventually(t, func() bool {
		samples, err := collector.Scrape(t.Context())
		clear(counted)
		for _, sample := range samples {
			if sample.Name == "vendor_orders_total" {
				counted[sample.Labels["vendor_signal"]] += sample.Value
			}
		}
		return err == nil && counted["traces"] == orders && counted["logs"] == orders
	}, 20*time.Second, 100*time.Millisecond, "%v of %v orders are counted by each signal", counted, orders)
}

// ofVendors is what can be pulled of the derived metrics: series and value.
func ofVendors(t *testing.T, collector *builtcollector.Collector) map[string]float64 {
	t.Helper()
	samples, err := collector.Scrape(t.Context())
	require.NoError(t, err)
	out := map[string]float64{}
	for _, sample := range samples {
		if strings.HasPrefix(sample.Name, "vendor_") {
			out[series(sample.Name, sample.Labels)] = sample.Value
		}
	}
	return out
}

// nameOf returns service.name as the Collector's metrics tell it.
func nameOf(t *testing.T, collector *builtcollector.Collector) string {
	t.Helper()
	samples, err := collector.Scrape(t.Context())
	require.NoError(t, err)
	i := slices.IndexFunc(samples, func(s builtcollector.Sample) bool { return s.Name == "target_info" })
	require.GreaterOrEqual(t, i, 0)
	return samples[i].Labels["service_name"]
}

func series(name string, labels map[string]string) string {
	var pairs []string
	for name, value := range labels {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return name + "{" + strings.Join(pairs, ",") + "}"
}

// asPrometheusNames gives pushed metrics the names that Prometheus, Mimir and Grafana Cloud give them: underscores for
// dots, _total for counters, _seconds for the unit s, no units in braces. Only the derived metrics are looked at.
func asPrometheusNames(t *testing.T, metrics pmetric.Metrics) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, rm := range metrics.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, metric := range sm.Metrics().All() {
				if !strings.HasPrefix(metric.Name(), "vendor.") {
					continue
				}
				name := strings.ReplaceAll(metric.Name(), ".", "_")
				if metric.Unit() == "s" {
					name += "_seconds"
				}
				switch metric.Type() {
				case pmetric.MetricTypeSum:
					assert.True(t, metric.Sum().IsMonotonic(), name)
					assert.Equal(t, pmetric.AggregationTemporalityCumulative, metric.Sum().AggregationTemporality(), name)
					for _, point := range metric.Sum().DataPoints().All() {
						out[series(name+"_total", labels(point.Attributes()))] = number(point)
					}
				case pmetric.MetricTypeGauge:
					for _, point := range metric.Gauge().DataPoints().All() {
						out[series(name, labels(point.Attributes()))] = number(point)
					}
				case pmetric.MetricTypeHistogram:
					assert.Equal(t, pmetric.AggregationTemporalityCumulative, metric.Histogram().AggregationTemporality(), name)
					for _, point := range metric.Histogram().DataPoints().All() {
						at := labels(point.Attributes())
						out[series(name+"_count", at)] = float64(point.Count())
						out[series(name+"_sum", at)] = point.Sum()
						var cumulative uint64
						for i, n := range point.BucketCounts().All() {
							cumulative += n
							at["le"] = "+Inf"
							if i < point.ExplicitBounds().Len() {
								at["le"] = fmt.Sprint(point.ExplicitBounds().At(i))
							}
							out[series(name+"_bucket", at)] = float64(cumulative)
						}
					}
				default:
					assert.Fail(t, "a kind of metric that this test does not know", "%s: %s", name, metric.Type())
				}
			}
		}
	}
	return out
}

func number(point pmetric.NumberDataPoint) float64 {
	if point.ValueType() == pmetric.NumberDataPointValueTypeDouble {
		return point.DoubleValue()
	}
	return float64(point.IntValue())
}

func hasExemplar(metrics pmetric.Metrics, name string) bool {
	for _, rm := range metrics.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, metric := range sm.Metrics().All() {
				if metric.Name() != name {
					continue
				}
				for _, point := range metric.Sum().DataPoints().All() {
					for _, exemplar := range point.Exemplars().All() {
						if !exemplar.TraceID().IsEmpty() && !exemplar.SpanID().IsEmpty() {
							return true
						}
					}
				}
			}
		}
	}
	return false
}

func labels(attributes pcommon.Map) map[string]string {
	out := map[string]string{}
	for name, value := range attributes.All() {
		out[strings.ReplaceAll(name, ".", "_")] = value.AsString()
	}
	return out
}
