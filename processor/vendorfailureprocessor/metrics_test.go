package vendorfailureprocessor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// TestSeriesBeginAtZero: increase() sees the first failure of a series only where the series was there before.
func TestSeriesBeginAtZero(t *testing.T) {
	h := start(t, pizzaConfig())
	td := ptrace.NewTraces()
	addSpan(td, 1, client, callSpan(200))
	addSpan(td, 1, server, orderSpan(200))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)

	series := func(metric string, by ...string) map[string]int64 {
		points := map[string]int64{}
		for _, p := range h.points(t, metric) {
			key := ""
			for _, name := range by {
				if v, ok := p.Attributes.Value(attribute.Key(name)); ok {
					key += v.AsString() + " "
				}
			}
			points[key] = p.Value
		}
		return points
	}
	assert.Equal(t, map[string]int64{
		"pizza-factory success shop traces ":              1,
		"pizza-factory failure error shop traces ":        0,
		"pizza-factory failure timeout shop traces ":      0,
		"pizza-factory failure slow shop traces ":         0,
		"pizza-factory failure throttled shop traces ":    0,
		"pizza-factory failure unreachable shop traces ":  0,
		"pizza-factory failure unauthorized shop traces ": 0,
		"pizza-factory failure rejected shop traces ":     0,
		"pizza-factory failure bad_response shop traces ": 0,
	}, series("vendor.calls", "vendor.name", "vendor.outcome", "vendor.failure.reason", "vendor.caller", "vendor.signal"))
	assert.Equal(t, map[string]int64{
		"pizza-factory success shop traces ":                     1,
		"pizza-factory own_failure shop traces ":                 0,
		"pizza-factory rejected shop traces ":                    0,
		"pizza-factory vendor_failure error shop traces ":        0,
		"pizza-factory vendor_failure timeout shop traces ":      0,
		"pizza-factory vendor_failure slow shop traces ":         0,
		"pizza-factory vendor_failure throttled shop traces ":    0,
		"pizza-factory vendor_failure unreachable shop traces ":  0,
		"pizza-factory vendor_failure unauthorized shop traces ": 0,
		"pizza-factory vendor_failure rejected shop traces ":     0,
		"pizza-factory vendor_failure bad_response shop traces ": 0,
	}, series("vendor.orders", "vendor.name", "vendor.outcome", "vendor.failure.reason", "vendor.caller", "vendor.signal"))
}

// TestCallBeginsOrders: at the first call of a service to a vendor its orders that this vendor may break begin at zero as
// well: the vendor may have become known by it.
func TestCallBeginsOrders(t *testing.T) {
	h := start(t, incidentConfig())
	td := ptrace.NewTraces()
	addSpan(td, 1, client, callSpan(200))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	assert.Len(t, h.points(t, "vendor.orders"), 8, "a reason each")
	m, err := h.tel.GetMetric("vendor.order.value")
	require.NoError(t, err)
	assert.Len(t, m.Data.(metricdata.Sum[float64]).DataPoints, 8)
	for _, p := range h.points(t, "vendor.orders") {
		assert.Zero(t, p.Value)
		outcome, _ := p.Attributes.Value(attribute.Key("vendor.outcome"))
		assert.Equal(t, "vendor_failure", outcome.AsString())
	}
}

// TestOrderBeginsVendors: at the first order of a service those that any vendor may break begin at zero. One that succeeds
// is of the one vendor there is, and of none where there are or may be several.
func TestOrderBeginsVendors(t *testing.T) {
	two := pizzaConfig()
	two.Vendors = append(two.Vendors, VendorConfig{Name: "second", Calls: CallsConfig{URLs: []string{"https://second.example.org"}}})
	discovers := pizzaConfig()
	discovers.Discover = &DiscoverConfig{MaxVendors: 2}
	for _, tc := range []struct {
		name string
		cfg  *Config
		want map[string]int
	}{
		{"one", pizzaConfig(), map[string]int{"pizza-factory": 11}},
		{"two", two, map[string]int{"": 3, "pizza-factory": 8, "second": 8}},
		{"one, and others may be discovered", discovers, map[string]int{"": 3, "pizza-factory": 8}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, tc.cfg)
			td := ptrace.NewTraces()
			addSpan(td, 1, server, orderSpan(200))
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			series := map[string]int{}
			for _, p := range h.points(t, "vendor.orders") {
				name, _ := p.Attributes.Value(tagVendor)
				series[name.AsString()]++
			}
			assert.Equal(t, tc.want, series)
		})
	}
}

// TestSeriesLoseDetail: with few series left, first callers and then vendors become _other; an order of no vendor stays one
// of none. That callers are, is said once.
func TestSeriesLoseDetail(t *testing.T) {
	h := start(t, pizzaConfig())
	m := h.traces.(*tracesProcessor).watch.meters
	shop := m.caller("shop")
	of := func(there int, vendor int16) map[string]string {
		in := &instrument{series: map[seriesKey]attributes{}}
		for n := range there {
			in.series[seriesKey{caller: caller(n + 100)}] = attributes{}
		}
		m.add(in, seriesKey{caller: shop, vendor: vendor, outcome: failure})
		told := map[string]string{}
		for key, a := range in.series {
			if key.caller >= 100 {
				continue
			}
			set := metric.NewAddConfig(a.add).Attributes()
			for _, name := range []attribute.Key{"vendor.caller", "vendor.name"} {
				if v, ok := set.Value(name); ok {
					told[string(name)] = v.AsString()
				}
			}
		}
		return told
	}
	for _, tc := range []struct {
		there  int
		vendor int16
		want   map[string]string
	}{
		{seriesWithCallers - 1, 0, map[string]string{"vendor.caller": "shop", "vendor.name": "pizza-factory"}},
		{seriesWithCallers, 0, map[string]string{"vendor.caller": other, "vendor.name": "pizza-factory"}},
		{seriesWithVendors - 1, 0, map[string]string{"vendor.caller": other, "vendor.name": "pizza-factory"}},
		{seriesWithVendors, 0, map[string]string{"vendor.caller": other, "vendor.name": other}},
		{seriesWithVendors, noVendor, map[string]string{"vendor.caller": other}},
	} {
		assert.Equal(t, tc.want, of(tc.there, tc.vendor), "%d series, vendor %d", tc.there, tc.vendor)
	}
	h.shutdown(t)
	assert.Len(t, h.said("new ones are counted under the vendor.caller _other"), 1)
}

// TestDurationByOutcome: how long calls took is told by outcome and not by reason as well, eight times the buckets.
func TestDurationByOutcome(t *testing.T) {
	h := start(t, pizzaConfig())
	td := ptrace.NewTraces()
	for i, status := range []int{200, 500, 504, 429, 404} {
		addSpan(td, byte(i+1), client, callSpan(status))
	}
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	m, err := h.tel.GetMetric("vendor.call.duration")
	require.NoError(t, err)
	assert.Len(t, m.Data.(metricdata.Histogram[float64]).DataPoints, 2)
	for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
		assert.False(t, p.Attributes.HasValue(tagReason))
	}
}

// TestNoExemplar: a log record is no span, and what has no ids leads nowhere.
func TestNoExemplar(t *testing.T) {
	h := start(t, pizzaConfig())
	td, ld := ptrace.NewTraces(), plog.NewLogs()
	addSpan(td, 0, client, callSpan(500))
	addSpan(td, 1, client, callSpan(500)).SetSpanID(pcommon.SpanID{})
	addSpan(td, 2, client, callSpan(500)).SetTraceID(pcommon.TraceID{})
	r := addRecord(ld, `{"statusCode":500}`, "type", "factory")
	r.SetTraceID(pcommon.TraceID{1})
	r.SetSpanID(pcommon.SpanID{1})
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"traces": 3, "logs": 1}, h.counts(t, "vendor.calls", "vendor.signal"))
	for _, p := range h.points(t, "vendor.calls") {
		assert.Empty(t, p.Exemplars)
	}
}

// TestExemplars: a failure on a span leads to its trace.
func TestExemplars(t *testing.T) {
	h := start(t, pizzaConfig())
	td := ptrace.NewTraces()
	call := addSpan(td, 1, client, callSpan(500))
	order := addSpan(td, 1, server, orderSpan(500))
	own := addSpan(td, 2, server, orderSpan(500))
	good := addSpan(td, 3, client, callSpan(200))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)

	exemplars := map[string][]string{}
	for _, metric := range []string{"vendor.calls", "vendor.orders"} {
		for _, p := range h.points(t, metric) {
			outcome, _ := p.Attributes.Value(attribute.Key("vendor.outcome"))
			for _, e := range p.Exemplars {
				exemplars[metric+" "+outcome.AsString()] = append(exemplars[metric+" "+outcome.AsString()], fmt.Sprintf("%x/%x", e.TraceID, e.SpanID))
			}
		}
	}
	id := func(s ptrace.Span) string { return s.TraceID().String() + "/" + s.SpanID().String() }
	assert.Equal(t, map[string][]string{
		"vendor.calls failure":         {id(call)},
		"vendor.orders vendor_failure": {id(order)},
		"vendor.orders own_failure":    {id(own)},
	}, exemplars)

	m, err := h.tel.GetMetric("vendor.call.duration")
	require.NoError(t, err)
	seen := map[string]int{}
	for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
		outcome, _ := p.Attributes.Value(attribute.Key("vendor.outcome"))
		seen[outcome.AsString()] += int(p.Count)
		assert.Equal(t, []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60}, p.Bounds)
		assert.InDelta(t, 1, p.Sum, 1e-9, "a second each")
		for _, e := range p.Exemplars {
			assert.Equal(t, call.TraceID().String(), fmt.Sprintf("%x", e.TraceID))
		}
	}
	assert.Equal(t, map[string]int{"success": 1, "failure": 1}, seen)
	assert.NotEqual(t, good.TraceID(), call.TraceID())
}

// TestDurations: a call whose span tells no time that it can have taken counts, but adds nothing to the durations, and is
// not slow.
func TestDurations(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name       string
		start, end pcommon.Timestamp
		took       time.Duration // negative: not told
	}{
		{"a second", pcommon.NewTimestampFromTime(now.Add(-time.Second)), pcommon.NewTimestampFromTime(now), time.Second},
		{"none at all", pcommon.NewTimestampFromTime(now), pcommon.NewTimestampFromTime(now), 0},
		{"a day", pcommon.NewTimestampFromTime(now.Add(-24 * time.Hour)), pcommon.NewTimestampFromTime(now), 24 * time.Hour},
		{"more than a day", pcommon.NewTimestampFromTime(now.Add(-24*time.Hour - 1)), pcommon.NewTimestampFromTime(now), -1},
		{"since 1970", 1, pcommon.NewTimestampFromTime(now), -1},
		{"no start", 0, pcommon.NewTimestampFromTime(now), -1},
		{"no end", pcommon.NewTimestampFromTime(now), 0, -1},
		{"the end first", pcommon.NewTimestampFromTime(now), pcommon.NewTimestampFromTime(now.Add(-1)), -1},
		{"the end of time", 1, math.MaxUint64, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			td := ptrace.NewTraces()
			call := addSpan(td, 1, client, callSpan(200))
			call.SetStartTimestamp(tc.start)
			call.SetEndTimestamp(tc.end)
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			want := map[string]int{"success": 1}
			if tc.took > 10*time.Second {
				want = map[string]int{"failure": 1} // slow
			}
			assert.Equal(t, want, h.counts(t, "vendor.calls", "vendor.outcome"))
			m, err := h.tel.GetMetric("vendor.call.duration")
			if tc.took < 0 {
				require.Error(t, err, "nothing recorded")
				return
			}
			require.NoError(t, err)
			points := m.Data.(metricdata.Histogram[float64]).DataPoints
			require.Len(t, points, 1)
			assert.EqualValues(t, 1, points[0].Count)
			assert.InDelta(t, tc.took.Seconds(), points[0].Sum, 1e-9)
		})
	}
}

// TestRefusedCountsNothing: what the next consumer refuses neither counts nor is remembered, so a retry counts once.
func TestRefusedCountsNothing(t *testing.T) {
	refuse := &refusing{err: errors.New("queue is full")}
	h := &harness{tel: componenttest.NewTelemetry()}
	h.open(t, NewFactory(), pizzaConfig(), refuse, refuse)
	request := func() (ptrace.Traces, plog.Logs) {
		td, ld := ptrace.NewTraces(), plog.NewLogs()
		addSpan(td, 1, client, callSpan(500))
		addSpan(td, 1, server, orderSpan(500))
		addSpan(td, 2, client, callSpan(500))
		addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"fetch failed"}`, "type", "http")
		addRecord(ld, `{"statusCode":500}`, "type", "factory").SetTraceID([16]byte{15: 3})
		return td, ld
	}
	for range 3 {
		td, ld := request()
		require.ErrorIs(t, h.traces.ConsumeTraces(context.Background(), td), refuse.err)
		require.ErrorIs(t, h.logs.ConsumeLogs(context.Background(), ld), refuse.err)
	}
	assert.Empty(t, h.points(t, "vendor.calls"))
	assert.Empty(t, h.points(t, "vendor.orders"))
	assert.Empty(t, h.traces.(*tracesProcessor).watch.memory.young)

	refuse.err = nil
	td, ld := request()
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"traces": 2, "logs": 1}, h.counts(t, "vendor.calls", "vendor.signal"))
	assert.Equal(t, map[string]int{"traces": 1, "logs": 1}, h.counts(t, "vendor.orders", "vendor.signal"))
}

// TestCallersAreBounded: further services are _other, still counted, and that is said once.
func TestCallersAreBounded(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Limits.Callers = 2
	h := start(t, cfg)
	for n := range 10 {
		td := ptrace.NewTraces()
		addSpan(td, 1, server, orderSpan(200))
		td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", fmt.Sprint("shop-", n%5))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	h.shutdown(t)
	assert.Equal(t, map[string]int{"shop-0": 2, "shop-1": 2, "_other": 6}, h.counts(t, "vendor.orders", "vendor.caller"))
	assert.Len(t, h.said("limits.callers is reached"), 1)
}

// TestCallerName: a service's name becomes an attribute that every backend takes.
func TestCallerName(t *testing.T) {
	for _, tc := range []struct{ name, want string }{
		{"", ""},
		{"shop", "shop"},
		{"café", "café"},
		{"caf\xc3", "caf\uFFFD"},
		{"\xff\xfe", "\uFFFD"},
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{strings.Repeat("a", 1<<20), strings.Repeat("a", 255)},
		{strings.Repeat("é", 1<<19), strings.Repeat("é", 127) + "\uFFFD"},
	} {
		assert.Equal(t, tc.want, attributeText(tc.name), "%.20q", tc.name)
	}
}

// TestSeriesAreBounded: a thousand services and a hundred vendors with every outcome stay below the SDK's limit of
// 2000 series, and every item is counted.
func TestSeriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Limits.Callers = 1000
		cfg.Vendors = nil
		for v := range 100 {
			cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: fmt.Sprint("vendor-", v), Calls: CallsConfig{URLs: []string{fmt.Sprintf("https://v%d.example.com", v)}}})
		}
		h := start(t, cfg)
		items := 0
		for n := range 1000 {
			td := ptrace.NewTraces()
			for i, status := range []int{200, 500, 504, 429, 401, 404} {
				call := addSpan(td, 1, client, []any{"http.request.method", "POST", "url.full", fmt.Sprintf("https://v%d.example.com/", n%100), "http.response.status_code", status})
				order := addSpan(td, 1, server, orderSpan(status))
				for _, s := range []ptrace.Span{call, order} {
					s.SetTraceID(pcommon.TraceID{0: 1, 1: byte(i), 2: byte(n), 3: byte(n >> 8)})
				}
				items++
			}
			td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", fmt.Sprint("shop-", n))
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		}
		h.shutdown(t)
		for _, metric := range []string{"vendor.calls", "vendor.orders"} {
			total := 0
			for _, p := range h.points(t, metric) {
				total += int(p.Value)
				assert.False(t, p.Attributes.HasValue("otel.metric.overflow"), metric)
			}
			assert.Equal(t, items, total, metric)
			assert.Less(t, len(h.points(t, metric)), 1999, metric)
		}
		assert.NotZero(t, h.counts(t, "vendor.calls", "vendor.caller")[other])
	})
}

// TestZerosLeaveRoom: series at zero never take the room of services that have something to count.
func TestZerosLeaveRoom(t *testing.T) {
	const services = 500
	cfg := pizzaConfig()
	cfg.Limits.Callers = services
	h := start(t, cfg)
	td := ptrace.NewTraces()
	for n := range services {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", fmt.Sprint("shop-", n))
		s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetKind(client)
		put(s.Attributes(), callSpan(200))
	}
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	callers := h.counts(t, "vendor.calls", "vendor.caller")
	assert.Len(t, callers, services)
	assert.NotContains(t, callers, other)
	zeros := 0
	for _, p := range h.points(t, "vendor.calls") {
		if p.Value == 0 {
			zeros++
		}
	}
	assert.Equal(t, seriesWithZeros/9*8, zeros, "as long as there is ample room: eight reasons of each service")
}

// TestCallerHoldsNoRequest: a service's name is kept for as long as the processor runs, what it came in is not.
func TestCallerHoldsNoRequest(t *testing.T) {
	h := start(t, pizzaConfig())
	m := h.traces.(*tracesProcessor).watch.meters
	request := strings.Repeat("shop ", 1000)
	name := request[:4]
	c := m.caller(name)
	assert.Equal(t, name, m.names[c])
	assert.NotSame(t, unsafe.StringData(name), unsafe.StringData(m.names[c]))
	for kept := range m.callers {
		assert.NotSame(t, unsafe.StringData(name), unsafe.StringData(kept))
	}
	h.shutdown(t)
}

// refusing is a next consumer that returns an error, if it has one.
type refusing struct{ err error }

func (r *refusing) Capabilities() consumer.Capabilities                { return consumer.Capabilities{} }
func (r *refusing) ConsumeTraces(context.Context, ptrace.Traces) error { return r.err }
func (r *refusing) ConsumeLogs(context.Context, plog.Logs) error       { return r.err }
