package examples

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

// TestHostileNames: names that no metrics backend takes, not UTF-8 or without end, spoil no metric, neither pushed nor
// pulled, and what bears them is counted.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	cloud := newGrafanaCloud(t)
	collector, err := builtcollector.Start(t.Context(), root, "examples/grafana-cloud.yaml", t.TempDir(), credentials(cloud.URL)...)
	require.NoError(t, err)
	defer collector.Kill()

	const orders = 3
	names := []string{"shop", "\xff\xfe", "caf\xc3", strings.Repeat("a", 1<<20), strings.Repeat("a", 1<<20) + "b", strings.Repeat("é", 1<<19), "\x00", "a\"b\n"}
	td := ptrace.NewTraces()
	for _, name := range names {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", name)
		spans := rs.ScopeSpans().AppendEmpty().Spans()
		for range orders {
			span := spans.AppendEmpty()
			span.SetKind(ptrace.SpanKindServer)
			span.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
			span.Attributes().PutStr("http.request.method", "POST")
			span.Attributes().PutStr("http.route", "/api/order")
			span.Attributes().PutInt("http.response.status_code", 200)
		}
	}
	var marshaler ptrace.ProtoMarshaler
	body, err := marshaler.MarshalTraces(td)
	require.NoError(t, err)
	answer, err := http.Post(collector.OTLP+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)

	const ordersTotal = "vendor_orders_total{"
	counted := func(all map[string]float64) (n float64) {
		for series, value := range all {
			if strings.HasPrefix(series, ordersTotal) {
				n += value
			}
			assert.Less(t, len(series), 1000)
		}
		return n
	}
	pulled := ofVendors(t, collector)
	assert.Equal(t, float64(orders*len(names)), counted(pulled))
	require.NoError(t, collector.Stop())
	cloud.Close()
	cloud.mu.Lock()
	defer cloud.mu.Unlock()
	require.NotEmpty(t, cloud.pushes)
	pushed := asPrometheusNames(t, cloud.pushes[len(cloud.pushes)-1].metrics)
	assert.Equal(t, float64(orders*len(names)), counted(pushed))
	callers := func(all map[string]float64) int {
		found := map[string]bool{}
		for series := range all {
			if strings.HasPrefix(series, ordersTotal) {
				_, rest, _ := strings.Cut(series, "vendor_caller=")
				caller, _, _ := strings.Cut(rest, ",")
				found[caller] = true
			}
		}
		return len(found)
	}
	// The two names of a million letters differ in the last alone: they are cut off to the same.
	assert.Equal(t, len(names)-1, callers(pulled))
	assert.Equal(t, len(names)-1, callers(pushed))
}
