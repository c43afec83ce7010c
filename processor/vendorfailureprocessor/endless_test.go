package vendorfailureprocessor

import (
	"context"
	"encoding/binary"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// endless sends what never repeats itself: each order is of a service, a customer and a trace of its own, and calls the
// vendor, which fails, and a host that nobody heard of.
type endless struct {
	*harness
	next int
}

const endlessBatch = 500

func newEndless(t *testing.T, cfg *Config) *endless {
	e := &endless{harness: &harness{tel: componenttest.NewTelemetry()}}
	e.open(t, NewFactory(), cfg, consumertest.NewNop(), consumertest.NewNop())
	return e
}

// send makes and sends orders, by both signals, in one batch after another.
func (e *endless) send(t *testing.T, orders int) {
	for until := e.next + orders; e.next < until; {
		td, ld := ptrace.NewTraces(), plog.NewLogs()
		for range endlessBatch {
			n := strconv.Itoa(e.next)
			var trace pcommon.TraceID
			binary.BigEndian.PutUint64(trace[8:], uint64(e.next+1))
			e.next++

			rs := td.ResourceSpans().AppendEmpty()
			rs.Resource().Attributes().PutStr("service.name", "shop-"+n)
			spans := rs.ScopeSpans().AppendEmpty().Spans()
			for _, s := range [...]struct {
				kind       ptrace.SpanKind
				attributes []any
			}{
				{client, callSpan(500)},
				{client, []any{"http.request.method", "GET", "url.full", "https://host-" + n + ".example.com/", "http.response.status_code", 500}},
				{server, append(orderSpan(500), "enduser.id", "user-"+n)},
			} {
				span := spans.AppendEmpty()
				span.SetTraceID(trace)
				span.SetKind(s.kind)
				span.SetEndTimestamp(stamp(0))
				put(span.Attributes(), s.attributes)
			}

			rl := ld.ResourceLogs().AppendEmpty()
			record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			record.SetTimestamp(stamp(0))
			record.Attributes().PutStr("type", "http")
			record.Attributes().PutStr("component", "shop-"+n)
			record.Body().SetStr(`{"path":"/api/order","method":"POST","statusCode":500,"reqBody":{"diner":{"id":` + n + `}},"resBody":"Failed to fulfill order at factory"}`)
		}
		require.NoError(t, e.traces.ConsumeTraces(context.Background(), td))
		require.NoError(t, e.logs.ConsumeLogs(context.Background(), ld))
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool holds survives the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestEndlessNames: a million services, customers, hosts and traces make no more series and no more memory than is
// configured, and each order and each call is counted.
func TestEndlessNames(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Impact.User = []string{"enduser.id", "reqBody.diner.id"}
	cfg.Discover = &DiscoverConfig{MaxVendors: 32}
	cfg.Limits.Traces = 10_000 // so that all bounds are met in the first quarter
	e := newEndless(t, cfg)
	before := heap()
	e.send(t, endlessOrders/4)
	quarter := heap()
	e.send(t, endlessOrders*3/4)
	whole := heap()
	t.Logf("heap: %.1f MB before, %.1f MB after %d orders, %.1f MB after %d", float64(before)/1e6, float64(quarter)/1e6, endlessOrders/4, float64(whole)/1e6, endlessOrders)
	assert.Less(t, whole, quarter+8<<20)

	w := e.traces.(*tracesProcessor).watch
	assert.LessOrEqual(t, len(w.memory.young)+len(w.memory.old), cfg.Limits.Traces)
	assert.Len(t, w.meters.callers, cfg.Limits.Callers)
	for s := range signalCount {
		assert.LessOrEqual(t, len(w.outages.newest[s]), cfg.Limits.Callers+1)
	}
	assert.InDelta(t, maxUsers, e.gauge(t, "vendor.outage.users")["pizza-factory"], 1)
	e.shutdown(t)

	assert.Equal(t, map[string]int{"traces/vendor_failure": endlessOrders, "logs/vendor_failure": endlessOrders}, e.counts(t, "vendor.orders", "vendor.signal", "vendor.outcome"))
	assert.Equal(t, map[string]int{"traces/failure": 2 * endlessOrders}, e.counts(t, "vendor.calls", "vendor.signal", "vendor.outcome"))
	for _, metric := range []string{"vendor.calls", "vendor.orders"} {
		callers, vendors, points := map[string]bool{}, map[string]bool{}, e.points(t, metric)
		for _, p := range points {
			caller, _ := p.Attributes.Value("vendor.caller")
			callers[caller.AsString()] = true
			vendor, _ := p.Attributes.Value(tagVendor)
			vendors[vendor.AsString()] = true
			assert.False(t, p.Attributes.HasValue("otel.metric.overflow"), metric)
		}
		assert.LessOrEqual(t, len(callers), cfg.Limits.Callers+1, "%s: those of their own and %s", metric, other)
		assert.LessOrEqual(t, len(vendors), 1+cfg.Discover.MaxVendors+2, "%s: the configured one, those discovered, %s and none", metric, other)
		t.Logf("%s: %d series", metric, len(points))
		assert.Less(t, len(points), 2000)
	}
	assert.Len(t, e.said("limits.callers is reached"), 1)
	assert.Len(t, e.told("vendor.outage.start"), 1)
}
