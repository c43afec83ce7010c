package vendorfailureprocessor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// TestSettle: an order that failed with no sign of a vendor leaves untagged at once; a call that arrives within settle
// still decides its count, one that arrives later does not.
func TestSettle(t *testing.T) {
	callLine := func(h *harness) error {
		ld := plog.NewLogs()
		addRecord(ld, `{"statusCode":401}`, "type", "factory").SetTraceID([16]byte{15: 1})
		return h.logs.ConsumeLogs(context.Background(), ld)
	}
	callSpans := func(h *harness) error {
		td := ptrace.NewTraces()
		addSpan(td, 1, client, callSpan(401))
		return h.traces.ConsumeTraces(context.Background(), td)
	}
	for _, tc := range []struct {
		name   string
		settle time.Duration
		after  time.Duration
		call   func(*harness) error
		want   string
	}{
		{"4.9 s", 5 * time.Second, 4900 * time.Millisecond, callSpans, "vendor_failure/unauthorized"},
		{"5.1 s", 5 * time.Second, 5100 * time.Millisecond, callSpans, "own_failure/"},
		{"4.9 s, a line of the other signal", 5 * time.Second, 4900 * time.Millisecond, callLine, "vendor_failure/unauthorized"},
		{"5.1 s, a line of the other signal", 5 * time.Second, 5100 * time.Millisecond, callLine, "own_failure/"},
		{"settle 1 s, 0.9 s", time.Second, 900 * time.Millisecond, callSpans, "vendor_failure/unauthorized"},
		{"settle 1 s, 1.1 s", time.Second, 1100 * time.Millisecond, callSpans, "own_failure/"},
		{"settle 0", 0, time.Nanosecond, callSpans, "own_failure/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pizzaConfig()
				cfg.Settle = tc.settle
				h := start(t, cfg)
				td := ptrace.NewTraces()
				s := addSpan(td, 1, server, orderSpan(500))
				require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
				require.Len(t, h.spans.AllTraces(), 1, "the order is not held")
				_, tagged := s.Attributes().Get(tagVendor)
				assert.False(t, tagged)
				counts := func() map[string]int { return h.counts(t, "vendor.orders", "vendor.outcome", "vendor.failure.reason") }
				if tc.settle > 0 {
					assert.Empty(t, counts(), "its count waits")
				}
				time.Sleep(tc.after)
				require.NoError(t, tc.call(h))
				assert.Equal(t, map[string]int{tc.want: 1}, counts())
				time.Sleep(time.Minute)
				h.shutdown(t)
				assert.Equal(t, map[string]int{tc.want: 1}, counts(), "counted once")
			})
		})
	}
}

// TestSettleEndsByItself: nothing need arrive for a waiting order to be counted, and Shutdown counts what still waits.
func TestSettleEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, pizzaConfig())
		fail := func(trace byte) {
			td := ptrace.NewTraces()
			addSpan(td, trace, server, orderSpan(500))
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		}
		counted := func() int { return h.counts(t, "vendor.orders", "vendor.outcome")["own_failure"] }
		fail(1)
		time.Sleep(4900 * time.Millisecond)
		assert.Equal(t, 0, counted())
		time.Sleep(400 * time.Millisecond)
		assert.Equal(t, 1, counted())

		fail(2)
		fail(0) // without a trace id no call can join: nothing to wait for
		assert.Equal(t, 2, counted())
		require.NoError(t, h.traces.Shutdown(context.Background()))
		assert.Equal(t, 2, counted(), "the logs instance may still tell of a call")
		require.NoError(t, h.logs.Shutdown(context.Background()))
		assert.Equal(t, 3, counted())

		fail(3) // after the end nothing waits, and nothing is lost
		assert.Equal(t, 4, counted())
	})
}

// TestShortSettle: what waits for a moment is not held up until others are.
func TestShortSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Settle = 20 * time.Millisecond
		h := start(t, cfg)
		td := ptrace.NewTraces()
		addSpan(td, 1, server, orderSpan(500))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		time.Sleep(2*cfg.Settle + time.Millisecond)
		assert.Equal(t, map[string]int{"own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
		h.shutdown(t)
	})
}

// TestSignalsShare: a record with a trace id is judged with the spans of its trace, and the other way round.
func TestSignalsShare(t *testing.T) {
	orderLine := func(h *harness, status int) plog.LogRecord {
		ld := plog.NewLogs()
		r := addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", status)
		r.SetTraceID([16]byte{15: 1})
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		return r
	}
	span := func(h *harness, kind ptrace.SpanKind, attributes []any, options ...spanOption) ptrace.Span {
		td := ptrace.NewTraces()
		s := addSpan(td, 1, kind, attributes, options...)
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		return s
	}
	counts := func(h *harness) map[string]int {
		return h.counts(t, "vendor.orders", "vendor.signal", "vendor.outcome", "vendor.failure.reason")
	}

	t.Run("a line by the span of its call", func(t *testing.T) {
		h := start(t, pizzaConfig())
		span(h, client, callSpan(403))
		r := orderLine(h, 500)
		h.shutdown(t)
		assert.Equal(t, map[string]int{"logs/vendor_failure/unauthorized": 1}, counts(h))
		assert.Equal(t, "unauthorized", mustGet(t, r.Attributes(), tagReason))
	})
	t.Run("a line by an exception of its trace", func(t *testing.T) {
		h := start(t, pizzaConfig())
		span(h, internal, nil, threw("TypeError", "fetch failed"))
		orderLine(h, 500)
		h.shutdown(t)
		assert.Equal(t, map[string]int{"logs/vendor_failure/unreachable": 1}, counts(h))
	})
	t.Run("a line that blames a vendor and tells no reason: the call tells it", func(t *testing.T) {
		h := start(t, pizzaConfig())
		span(h, client, callSpan(504))
		ld := plog.NewLogs()
		r := addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", 500, "resBody", "Failed to fulfill order at factory")
		r.SetTraceID([16]byte{15: 1})
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"logs/vendor_failure/timeout": 1}, counts(h))
		assert.Equal(t, "timeout", mustGet(t, r.Attributes(), tagReason))
	})
	t.Run("a span by the line of its order", func(t *testing.T) {
		h := start(t, pizzaConfig())
		ld := plog.NewLogs()
		r := addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", 500, "resBody", `{"message":"Failed to fulfill order at factory","reportUrl":"x"}`)
		r.SetTraceID([16]byte{15: 1})
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		s := span(h, server, orderSpan(500))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"logs/vendor_failure/error": 1, "traces/vendor_failure/error": 1}, counts(h))
		assert.Equal(t, "true", mustGet(t, s.Attributes(), tagChaos))
	})
	t.Run("another processor ID knows nothing of it", func(t *testing.T) {
		h, other := start(t, pizzaConfig()), start(t, pizzaConfig())
		span(other, client, callSpan(403))
		orderLine(h, 500)
		h.shutdown(t)
		other.shutdown(t)
		assert.Equal(t, map[string]int{"logs/own_failure/": 1}, counts(h))
	})
}

// TestCallToldMeanwhile: another request may tell of the call between an order's judgement and its commit.
func TestCallToldMeanwhile(t *testing.T) {
	m := newMemory(5*time.Second, 100)
	id := [16]byte{15: 1}
	found := &evidence{{fault: fault{at: 1, reason: reason.Timeout}, isCall: true}}
	now := time.Now()
	decided, _ := m.learn(now, map[pcommon.TraceID]*evidence{id: found}, nil)
	assert.Empty(t, decided)
	decided, _ = m.learn(now, nil, []order{{outcome: ownFailure, trace: id, waits: true}})
	require.Len(t, decided, 1)
	assert.Equal(t, vendorFailure, decided[0].outcome)
	assert.Equal(t, reason.Timeout, decided[0].reason)
}

// TestForgottenTraceComesAgain: an order that waits since before its trace was forgotten takes none from it that came after.
func TestForgottenTraceComesAgain(t *testing.T) {
	m := newMemory(5*time.Second, 4)
	failed := func(id pcommon.TraceID) map[pcommon.TraceID]*evidence {
		return map[pcommon.TraceID]*evidence{id: {{fault: fault{at: 1, reason: reason.Timeout}, isCall: true}}}
	}
	learn := func(after time.Duration, found map[pcommon.TraceID]*evidence, orders ...order) (outcomes []outcome) {
		decided, _ := m.learn(day.Add(after), found, orders)
		for _, o := range decided {
			outcomes = append(outcomes, o.outcome)
		}
		return outcomes
	}
	waits := order{outcome: ownFailure, trace: pcommon.TraceID{1}, waits: true}
	assert.Empty(t, learn(0, nil, waits))
	for id := range byte(4) {
		assert.Empty(t, learn(time.Second, failed(pcommon.TraceID{2 + id})))
	}
	require.Nil(t, m.get(waits.trace), "it is forgotten")
	assert.Empty(t, learn(3*time.Second, nil, waits))
	assert.Equal(t, []outcome{ownFailure}, learn(6*time.Second, failed(pcommon.TraceID{5})), "the first order's time is up")
	assert.Equal(t, []outcome{vendorFailure}, learn(7*time.Second, failed(pcommon.TraceID{1})))
}

// TestChaosOfAnyCall: an order shows chaos where any failed call of its vendor did.
func TestChaosOfAnyCall(t *testing.T) {
	for _, first := range []int{0, 1} {
		h := start(t, pizzaConfig())
		ld := plog.NewLogs()
		for i, body := range []string{`{"statusCode":500,"resBody":"{}"}`, `{"statusCode":500,"resBody":{"reportUrl":"x"}}`} {
			r := addRecord(ld, body, "type", "factory")
			r.SetTraceID([16]byte{15: 1})
			r.SetTimestamp(stamp(time.Duration((i + first) % 2)))
		}
		order := addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", 500)
		order.SetTraceID([16]byte{15: 1})
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.shutdown(t)
		assert.Equal(t, "true", mustGet(t, order.Attributes(), tagChaos))
	}
}

// TestChaosOfItsTrace: an order shows chaos where an exception of its trace did, though a failed call told more of it,
// and where a call did, though the order's own line told its reason.
func TestChaosOfItsTrace(t *testing.T) {
	t.Run("an exception", func(t *testing.T) {
		h := start(t, pizzaConfig())
		td := ptrace.NewTraces()
		addSpan(td, 1, client, callSpan(500))
		addSpan(td, 1, internal, nil, threw("Error", `{"message":"Failed to fulfill order at factory","reportUrl":"x"}`))
		order := addSpan(td, 1, server, orderSpan(500))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		h.shutdown(t)
		assert.Equal(t, "true", mustGet(t, order.Attributes(), tagChaos))
	})
	t.Run("a call", func(t *testing.T) {
		h := start(t, pizzaConfig())
		ld := plog.NewLogs()
		addRecord(ld, `{"statusCode":500,"resBody":{"reportUrl":"x"}}`, "type", "factory").SetTraceID([16]byte{15: 1})
		order := addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", 500, "resBody", "fetch failed")
		order.SetTraceID([16]byte{15: 1})
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.shutdown(t)
		assert.Equal(t, "true", mustGet(t, order.Attributes(), tagChaos))
	})
}

// TestEachVendorsCallTells: an order whose own line blames the vendor that failed second has the reason of that vendor's
// call.
func TestEachVendorsCallTells(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors = append(cfg.Vendors, VendorConfig{
		Name:      "payment",
		Calls:     CallsConfig{Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"payment"}}}},
		Responses: []ResponseConfig{{Contains: "payment failed"}},
	})
	h := start(t, cfg)
	ld := plog.NewLogs()
	first := addRecord(ld, `{"statusCode":500,"resBody":"{}"}`, "type", "factory")
	second := addRecord(ld, `{"statusCode":429,"resBody":"{}"}`, "type", "payment")
	order := addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", 500, "resBody", "payment failed")
	for i, r := range []plog.LogRecord{first, second, order} {
		r.SetTraceID([16]byte{15: 1})
		r.SetTimestamp(stamp(time.Duration(i)))
	}
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"payment/throttled": 1}, h.counts(t, "vendor.orders", "vendor.name", "vendor.failure.reason"))
}

// TestMemoryIsBounded: what goes over limits.traces is forgotten, counted and metered, and said once.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Limits.Traces = 100
		h := start(t, cfg)
		watch := h.traces.(*tracesProcessor).watch
		for n := range 1000 {
			td := ptrace.NewTraces()
			order, call := addSpan(td, 1, server, orderSpan(500)), addSpan(td, 1, client, callSpan(500))
			for _, s := range []ptrace.Span{order, call} {
				s.SetTraceID([16]byte{1, byte(n >> 8), byte(n)})
			}
			lonely := addSpan(td, 1, server, orderSpan(500))
			lonely.SetTraceID([16]byte{2, byte(n >> 8), byte(n)})
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			require.LessOrEqual(t, len(watch.memory.young)+len(watch.memory.old), 100)
			require.LessOrEqual(t, len(watch.memory.queue), 100)
		}
		h.shutdown(t)
		assert.Equal(t, map[string]int{"vendor_failure": 1000, "own_failure": 1000}, h.counts(t, "vendor.orders", "vendor.outcome"))
		assert.Greater(t, h.counts(t, "otelcol_processor_vendor_failure_forgotten_traces")[""], 1500)
		assert.Len(t, h.said("limits.traces is reached"), 1)
	})
}

// sendSpan is a request of one span.
func (h *harness) sendSpan(t testing.TB, trace byte, kind ptrace.SpanKind, attributes []any) {
	td := ptrace.NewTraces()
	addSpan(td, trace, kind, attributes)
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
}

// TestMemoryForgets: a trace is remembered for minutes, not for ever.
func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, pizzaConfig())
		h.sendSpan(t, 1, client, callSpan(500))
		time.Sleep(rememberFor)
		h.sendSpan(t, 2, client, callSpan(500))
		h.sendSpan(t, 1, server, orderSpan(500))
		assert.Equal(t, map[string]int{"vendor_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
		time.Sleep(rememberFor)
		h.sendSpan(t, 3, client, callSpan(500))
		time.Sleep(rememberFor)
		h.sendSpan(t, 4, client, callSpan(500))
		time.Sleep(rememberFor)
		h.sendSpan(t, 5, client, callSpan(500))
		assert.Len(t, h.traces.(*tracesProcessor).watch.memory.young, 1)
		assert.Len(t, h.traces.(*tracesProcessor).watch.memory.old, 1)
		h.shutdown(t)
		assert.Empty(t, h.said("limits.traces is reached"))
	})
}

// TestRemembered: how long a trace is remembered at least, whatever else comes meanwhile.
func TestRemembered(t *testing.T) {
	for settle, want := range map[time.Duration]time.Duration{0: rememberFor, 5 * time.Second: rememberFor, 2 * rememberFor: 2 * rememberFor} {
		synctest.Test(t, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.Settle = settle
			h := start(t, cfg)
			h.sendSpan(t, 1, client, callSpan(500))
			for n := range byte(want / time.Minute) {
				time.Sleep(time.Minute)
				h.sendSpan(t, 2+n, client, callSpan(500))
			}
			h.sendSpan(t, 1, server, orderSpan(500))
			h.shutdown(t)
			assert.Equal(t, map[string]int{"vendor_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"), settle)
		})
	}
}

// TestLongSettle: a trace is remembered for as long as its order waits, and nothing is said of limits that were not met.
func TestLongSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Settle = 4 * rememberFor
		h := start(t, cfg)
		h.sendSpan(t, 1, server, orderSpan(500))
		for n := range byte(3) {
			time.Sleep(rememberFor)
			h.sendSpan(t, 2+n, client, callSpan(500))
		}
		h.sendSpan(t, 1, client, callSpan(500))
		assert.Equal(t, map[string]int{"vendor_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))

		// It is forgotten all the same.
		for n := range byte(2) {
			time.Sleep(cfg.Settle)
			h.sendSpan(t, 5+n, client, callSpan(500))
		}
		assert.Len(t, h.traces.(*tracesProcessor).watch.memory.young, 1)
		assert.Len(t, h.traces.(*tracesProcessor).watch.memory.old, 1)
		h.shutdown(t)
		assert.Empty(t, h.said("limits.traces is reached"))
		assert.Empty(t, h.counts(t, "otelcol_processor_vendor_failure_forgotten_traces"))
	})
}
