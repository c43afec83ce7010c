package declared

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		metric Metric
		want   []string
	}{
		{Metric{Name: "vendor.orders", Kind: Counter, Unit: "{order}"}, []string{"vendor_orders_total"}},
		{Metric{Name: "vendor.order.value", Kind: Counter, Unit: "{BTC}"}, []string{"vendor_order_value_total"}},
		{Metric{Name: "vendor.outage", Kind: Gauge, Unit: ""}, []string{"vendor_outage"}},
		{Metric{Name: "vendor.share", Kind: Gauge, Unit: "1"}, []string{"vendor_share_ratio"}},
		{Metric{Name: "probe.last_success_time", Kind: Gauge, Unit: "s"}, []string{"probe_last_success_time_seconds"}},
		{Metric{Name: "vendor.call.duration", Kind: Histogram, Unit: "s"}, []string{
			"vendor_call_duration_seconds_bucket", "vendor_call_duration_seconds_count", "vendor_call_duration_seconds_sum"}},
	} {
		assert.Equal(t, c.want, c.metric.PrometheusNames(), c.metric.Name)
	}
	assert.Equal(t, "user_agent_synthetic_type", Label("user_agent.synthetic.type"))
}

func TestRepository(t *testing.T) {
	d, err := Read("../../..")
	require.NoError(t, err)
	series := d.Series()
	assert.Subset(t, series["vendor_orders_total"], []string{"job", "instance", "vendor_name", "vendor_outcome",
		"vendor_failure_reason", "vendor_signal", "vendor_caller", "user_agent_synthetic_type"})
	assert.Equal(t, series["vendor_orders_total"], series["vendor_order_value_total"], "made by hand, labelled like orders")
	assert.Equal(t, []string{"job", "instance", "vendor_name"}, series["vendor_outage_value"])
	assert.Contains(t, series["vendor_call_duration_seconds_bucket"], "le")
	assert.NotContains(t, series["vendor_call_duration_seconds_count"], "le")
	for _, metric := range d.Metrics {
		assert.NotEmpty(t, metric.Description, metric.Name)
	}
}

func TestRead(t *testing.T) {
	const metric = "attributes: {a.b: {description: d, name_override: a.c, enum: [x]}}\n" +
		"metrics: {probe.runs: {description: Runs., unit: \"{run}\", sum: {monotonic: true}, attributes: [a.b]}}\n" +
		"telemetry: {metrics: {lost: {description: Lost., unit: s, gauge: {}}}}\n"
	const byHand = "package x\nfunc f(m M) { m.Float64Counter(\"probe.run.value\", metric.WithDescription(\"V.\"), unit()) }\n"
	for _, c := range []struct {
		name, metadata, code, err string
		want                      []Metric
	}{
		{name: "both kinds", metadata: metric, want: []Metric{
			{"otelcol_lost", Gauge, "s", "Lost.", nil},
			{"probe.runs", Counter, "{run}", "Runs.", []string{"a.c"}},
		}},
		{name: "by hand", metadata: metric, code: byHand, want: []Metric{
			{"otelcol_lost", Gauge, "s", "Lost.", nil},
			{"probe.run.value", Counter, "{}", "V.", []string{"a.c"}},
			{"probe.runs", Counter, "{run}", "Runs.", []string{"a.c"}},
		}},
		{name: "no YAML", metadata: "{", err: "metadata.yaml: yaml: "},
		{name: "no kind", metadata: "metrics: {m: {unit: s}}", err: "metadata.yaml: metric m is no gauge, sum or histogram"},
		{name: "undeclared attribute", metadata: "metrics: {m: {gauge: {}, attributes: [a]}}", err: "metric m has an attribute a that is not declared"},
		{name: "no Go", metadata: metric, code: "package", err: "expected 'IDENT'"},
		{name: "name not literal", metadata: metric, code: "package x\nfunc f(m M) { m.Int64Gauge(name) }\n", err: "code.go:2:15: the name of this instrument is no literal"},
		{name: "like none", metadata: metric, code: "package x\nfunc f(m M) { m.Int64Gauge(\"a.b\") }\n", err: "no declared metric is called like a.b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			folder := filepath.Join(root, "receiver", "x")
			require.NoError(t, os.MkdirAll(folder, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(folder, "metadata.yaml"), []byte(c.metadata), 0o600))
			if c.code != "" {
				require.NoError(t, os.WriteFile(filepath.Join(folder, "code.go"), []byte(c.code), 0o600))
			}
			d, err := Read(root)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, d.Metrics)
			assert.Equal(t, []Attribute{{"a.c", "d", []string{"x"}}}, d.Attributes)
		})
	}
	_, err := Read(t.TempDir())
	require.ErrorContains(t, err, "no component has a metadata.yaml below it")
}
