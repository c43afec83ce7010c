package vendorfailureprocessor

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// worth are the points of vendor.order.value by outcome.
func (h *harness) worth(t testing.TB) map[string]float64 {
	values := map[string]float64{}
	m, err := h.tel.GetMetric("vendor.order.value")
	if err != nil {
		return values
	}
	assert.Equal(t, "{BTC}", m.Unit)
	for _, p := range m.Data.(metricdata.Sum[float64]).DataPoints {
		outcome, _ := p.Attributes.Value(attribute.Key("vendor.outcome"))
		if p.Value != 0 {
			values[outcome.AsString()] += p.Value
		}
	}
	return values
}

// TestOrderValue: what an order was worth, as its own record tells it.
func TestOrderValue(t *testing.T) {
	const head = `{"path":"/api/order","method":"POST","statusCode":200,`
	for _, tc := range []struct {
		name       string
		body       string
		want       float64
		unreadable bool
	}{
		{"prices in a string", head + `"reqBody":"{\"items\":[{\"price\":0.25},{\"price\":0.5}]}"}`, 0.75, false},
		{"prices in an object", head + `"reqBody":{"items":[{"price":0.25},{"price":0.5}]}}`, 0.75, false},
		{"another name for the request", head + `"requestBody":{"items":[{"price":0.25}]}}`, 0.25, false},
		{"prices as strings", head + `"reqBody":{"items":[{"price":"0.25"},{"price":"1e-2"}]}}`, 0.26, false},
		{"nothing tells it", head + `"reqBody":{"items":[]}}`, 0, false},
		{"no items", head + `"reqBody":{}}`, 0, false},
		{"free", head + `"reqBody":{"items":[{"price":0}]}}`, 0, false},
		{"negative", head + `"reqBody":{"items":[{"price":1},{"price":-0.25}]}}`, 0, true},
		{"absurd", head + `"reqBody":{"items":[{"price":1e308}]}}`, 0, true},
		{"absurd together", head + `"reqBody":{"items":[{"price":9e8},{"price":9e8}]}}`, 0, true},
		{"no number", head + `"reqBody":{"items":[{"price":"free"}]}}`, 0, true},
		{"null", head + `"reqBody":{"items":[{"price":null}]}}`, 0, true},
		{"an object", head + `"reqBody":{"items":[{"price":{"amount":1}}]}}`, 0, true},
		{"NaN", head + `"reqBody":{"items":[{"price":"NaN"}]}}`, 0, true},
		{"infinite", head + `"reqBody":{"items":[{"price":"Infinity"}]}}`, 0, true},
		{"a number and more", head + `"reqBody":{"items":[{"price":"1 BTC"}]}}`, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, incidentConfig())
			ld := plog.NewLogs()
			addRecord(ld, tc.body, "type", "http")
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			want := map[string]float64{}
			if tc.want > 0 {
				want["success"] = tc.want
			}
			assert.Equal(t, want, h.worth(t))
			n := 0
			if tc.unreadable {
				n = 1
			}
			assert.Equal(t, n, h.counts(t, "otelcol_processor_vendor_failure_unreadable_values")[""])
			assert.Equal(t, map[string]int{"success": 1}, h.counts(t, "vendor.orders", "vendor.outcome"), "counted all the same")
		})
	}

	t.Run("an attribute of a span", func(t *testing.T) {
		cfg := incidentConfig()
		cfg.Impact.Value = []string{"order.total"}
		for _, v := range []any{2.5, "2.5"} {
			h := start(t, cfg)
			td := ptrace.NewTraces()
			addSpan(td, 1, server, append(orderSpan(200), "order.total", v))
			addSpan(td, 2, server, append(orderSpan(200), "order.total", math.NaN()))
			addSpan(td, 3, server, append(orderSpan(200), "order.total", math.Inf(1)))
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			assert.Equal(t, map[string]float64{"success": 2.5}, h.worth(t))
			assert.Equal(t, 2, h.counts(t, "otelcol_processor_vendor_failure_unreadable_values")[""])
		}
	})
	t.Run("the vendor's line repeats it: it is not added", func(t *testing.T) {
		h := start(t, incidentConfig())
		h.send(t, requests(t, "chaos-fail", false, true))
		h.shutdown(t)
		truth := open(t, "chaos-fail").Truth
		assert.InDelta(t, truth.FailedAmount, h.worth(t)["vendor_failure"], 1e-9)
	})
}

// fails sends n failing orders with their calls, a second apart, in the words of the course's logger.
func (h *harness) fails(t testing.TB, n int, extra func(i int, order, call plog.LogRecord)) {
	for i := range n {
		ld := plog.NewLogs()
		order := addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":{"items":[{"price":0.5}]},"resBody":"Failed to fulfill order at factory"}`, "type", "http")
		call := addRecord(ld, fmt.Sprintf(`{"reqBody":{"diner":{"id":%d}},"resBody":{"message":"no"}}`, i%4), "type", "factory", "level", "error")
		for _, r := range []plog.LogRecord{order, call} {
			r.SetTimestamp(stamp(time.Duration(i) * time.Second))
		}
		if extra != nil {
			extra(i, order, call)
		}
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	}
}

// TestCustomersHit: distinct customers, named by an order's record or its vendor's; absent where nothing names them.
func TestCustomersHit(t *testing.T) {
	t.Run("named by the vendor's line", func(t *testing.T) {
		h := start(t, incidentConfig())
		h.fails(t, 10, nil)
		assert.Equal(t, map[string]float64{"pizza-factory": 4}, h.gauge(t, "vendor.outage.users"))
		assert.Equal(t, map[string]float64{"pizza-factory": 10}, h.gauge(t, "vendor.outage.orders"))
		assert.Equal(t, map[string]float64{"pizza-factory": 5}, h.gauge(t, "vendor.outage.value"))
		h.shutdown(t)
	})
	t.Run("named by an attribute", func(t *testing.T) {
		h := start(t, incidentConfig())
		h.fails(t, 10, func(i int, order, _ plog.LogRecord) { order.Attributes().PutStr("enduser.id", fmt.Sprint("u", i)) })
		assert.Equal(t, map[string]float64{"pizza-factory": 14}, h.gauge(t, "vendor.outage.users"), "two ways to name them are two names")
		h.shutdown(t)
	})
	t.Run("nothing names them, nothing tells their value", func(t *testing.T) {
		cfg := incidentConfig()
		cfg.Impact = ImpactConfig{User: []string{"nobody"}, Value: []string{"nothing"}, Unit: "BTC"}
		h := start(t, cfg)
		assert.Equal(t, map[string]float64{"pizza-factory": 0}, h.gauge(t, "vendor.outage.users"), "outside an outage")
		h.fails(t, 10, nil)
		assert.Empty(t, h.gauge(t, "vendor.outage.users"))
		assert.Empty(t, h.gauge(t, "vendor.outage.value"))
		assert.Equal(t, map[string]float64{"pizza-factory": 10}, h.gauge(t, "vendor.outage.orders"))
		h.shutdown(t)
	})
	t.Run("not configured", func(t *testing.T) {
		h := start(t, pizzaConfig())
		h.fails(t, 10, nil)
		assert.Empty(t, h.gauge(t, "vendor.outage.users"))
		assert.Empty(t, h.gauge(t, "vendor.outage.value"))
		assert.Empty(t, h.worth(t))
		h.shutdown(t)
	})
	t.Run("at least as many, beyond the bound", func(t *testing.T) {
		var u users
		for n := range uint64(maxUsers + 100) {
			u.add(n)
		}
		assert.Equal(t, maxUsers, u.count())
		assert.False(t, u.isExact())
	})
}

// TestTimes: a record without a timestamp has its observed one; one with neither happens now.
func TestTimes(t *testing.T) {
	h := start(t, incidentConfig())
	h.fails(t, 5, func(i int, order, call plog.LogRecord) {
		for _, r := range []plog.LogRecord{order, call} {
			r.SetObservedTimestamp(r.Timestamp())
			r.SetTimestamp(0)
		}
	})
	h.shutdown(t)
	require.Len(t, h.told("vendor.outage.start"), 1)
	assert.Equal(t, "2025-12-05T15:00:00Z", h.told("vendor.outage.start")[0]["vendor.outage.since"])

	h = start(t, incidentConfig())
	h.fails(t, 5, func(i int, order, call plog.LogRecord) {
		order.SetTimestamp(0)
		call.SetTimestamp(0)
	})
	h.shutdown(t)
	require.Len(t, h.told("vendor.outage.start"), 1)
	assert.WithinDuration(t, time.Now(), timeOf(t, h.told("vendor.outage.start")[0]["vendor.outage.since"]), time.Minute)
}

// TestSyntheticOrders: they open and close outages, and are no customer's.
func TestSyntheticOrders(t *testing.T) {
	cfg := incidentConfig()
	cfg.Synthetic.Fields = map[string][]string{"reqBody.diner.email": {"synthetic@jwt.com"}, "reqBody.items.#.description": {"test order"}}
	for _, tc := range []struct {
		name string
		mark func(order, call plog.LogRecord)
	}{
		{"user_agent.synthetic.type", func(order, call plog.LogRecord) {
			order.Attributes().PutStr("user_agent.synthetic.type", "test")
			call.Attributes().PutStr("user_agent.synthetic.type", "test")
		}},
		{"user agent", func(order, call plog.LogRecord) {
			order.Attributes().PutStr("user_agent.original", "otelcol-test-order/1.0")
			call.Attributes().PutStr("userAgent", "otelcol-test-order/1.0")
		}},
		{"fields", func(order, call plog.LogRecord) {
			order.Body().SetStr(`{"path":"/api/order","method":"POST","statusCode":500,"reqBody":"{\"items\":[{\"price\":0.5},{\"description\":\"test order\"}]}","resBody":"fetch failed"}`)
			call.Body().SetStr(`{"reqBody":{"diner":{"id":1,"email":"synthetic@jwt.com"}},"resBody":{"message":"no"}}`)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, cfg)
			h.fails(t, 5, func(_ int, order, call plog.LogRecord) { tc.mark(order, call) })
			assert.Equal(t, map[string]float64{"pizza-factory": 1}, h.gauge(t, "vendor.outage"))
			assert.Equal(t, map[string]float64{"pizza-factory": 0}, h.gauge(t, "vendor.outage.orders"))
			assert.Empty(t, h.gauge(t, "vendor.outage.users"))
			assert.Empty(t, h.gauge(t, "vendor.outage.value"))
			assert.Empty(t, h.worth(t))
			assert.Equal(t, map[string]int{"vendor_failure/test": 5}, h.counts(t, "vendor.orders", "vendor.outcome", "user_agent.synthetic.type"))
			assert.Equal(t, map[string]int{"failure/test": 5}, h.counts(t, "vendor.calls", "vendor.outcome", "user_agent.synthetic.type"))
			h.shutdown(t)
		})
	}
	t.Run("spans", func(t *testing.T) {
		h := start(t, cfg)
		for i, mark := range [][]any{
			{"user_agent.original", "otelcol-test-order/1.0"}, {"http.user_agent", "otelcol-test-order"}, {"user_agent.synthetic.type", "bot"},
			{"user_agent.original", "Mozilla/5.0 otelcol-test-order"},
		} {
			td := ptrace.NewTraces()
			addSpan(td, byte(i+1), client, append(callSpan(500), mark...))
			addSpan(td, byte(i+1), server, append(orderSpan(500), mark...))
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		}
		td := ptrace.NewTraces()
		addSpan(td, 9, server, orderSpan(200))
		td.ResourceSpans().At(0).Resource().Attributes().PutStr("user_agent.synthetic.type", "test")
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"vendor_failure/test": 2, "vendor_failure/bot": 1, "vendor_failure/": 1, "success/test": 1},
			h.counts(t, "vendor.orders", "vendor.outcome", "user_agent.synthetic.type"))
		assert.Equal(t, map[string]int{"failure/bot": 1, "failure/": 1, "failure/test": 2}, h.counts(t, "vendor.calls", "vendor.outcome", "user_agent.synthetic.type"),
			"as their orders: the user agent of a call is our own")
	})
}

// TestPlanned: the gauge goes by the wall clock, the note by when the outage was.
func TestPlanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := time.Now()
		cfg := incidentConfig()
		cfg.Planned = []PlannedConfig{
			{Vendor: "pizza-factory", From: day.Add(-time.Hour), To: day.Add(time.Hour), Note: "chaos test"},
			{Vendor: "pizza-factory", From: wall.Add(time.Minute), To: wall.Add(2 * time.Minute), Note: "maintenance"},
		}
		h := start(t, cfg)
		planned := func() float64 { return h.gauge(t, "vendor.planned")["pizza-factory"] }
		assert.Equal(t, 0.0, planned())
		time.Sleep(time.Minute)
		assert.Equal(t, 1.0, planned())
		time.Sleep(time.Minute + 1)
		assert.Equal(t, 0.0, planned())
		h.shutdown(t)
	})
	for _, tc := range []struct {
		name     string
		from, to time.Duration
		want     any
	}{
		{"ended before it was known", -time.Hour, 500 * time.Millisecond, "chaos test"},
		{"began after the first failure", 500 * time.Millisecond, time.Hour, "chaos test"},
		{"was over", -time.Hour, -time.Second, nil},
		{"came later", time.Minute, time.Hour, nil},
	} {
		cfg := incidentConfig()
		cfg.Planned = []PlannedConfig{{Vendor: "pizza-factory", From: day.Add(tc.from), To: day.Add(tc.to), Note: "chaos test"}}
		h := start(t, cfg)
		h.fails(t, 5, nil)
		h.shutdown(t)
		require.Len(t, h.told("vendor.outage.start"), 1)
		assert.Equal(t, tc.want, h.told("vendor.outage.start")[0]["vendor.planned.note"], tc.name)
	}
	cfg := incidentConfig()
	cfg.Planned = []PlannedConfig{{Vendor: "pizza-factory", From: day.Add(-time.Hour), To: day.Add(time.Hour), Note: "chaos test"}}
	h := start(t, cfg)
	h.fails(t, 5, nil)
	h.shutdown(t)
	require.Len(t, h.told("vendor.outage.start"), 1)
	assert.Equal(t, "chaos test", h.told("vendor.outage.start")[0]["vendor.planned.note"])
	assert.Contains(t, h.told("vendor.outage.start")[0]["vendor.outage.note"], "may be older", "nothing but failure since the start")
	assert.Equal(t, map[string]int{"pizza-factory/false": 1}, h.counts(t, "vendor.outages", "vendor.name", "vendor.failure.chaos"))
}

// TestCustomerUnderOtherNames: a path through the request finds it under every name that loggers have for it, and at the
// top of a line.
func TestCustomerUnderOtherNames(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       bool
	}{
		{"as configured", `{"reqBody":{"diner":{"id":7}}}`, true},
		{"another name", `{"factoryRequest":"{\"diner\":{\"id\":7}}"}`, true},
		{"under data", `{"data":{"diner":{"id":7},"order":{"items":[]}},"resBody":"{}"}`, true},
		{"under body", `{"body":"{\"diner\":{\"id\":\"7\"}}","status":500}`, true},
		{"at the top", `{"diner":{"id":7},"order":{"items":[]}}`, true},
		{"at the top, encoded once more", `{"diner":"{\"id\":7}","order":"{}"}`, true},
		{"in the answer", `{"resBody":{"diner":{"id":7}}}`, false},
		{"nowhere", `{"reqBody":{"items":[]}}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			paths := newImpactPaths(ImpactConfig{User: []string{"reqBody.diner.id"}})
			ld := plog.NewLogs()
			x := asked{signal: logs, record: addRecord(ld, tc.body)}
			l := readLine(&x, nil)
			var i impact
			paths.readUser(&i, telling{attributes: x.record.Attributes(), line: &l})
			assert.Equal(t, tc.want, i.named)
		})
	}
}
