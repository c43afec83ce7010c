package vendorfailureprocessor

import (
	"context"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// pizzaConfig is JWT Pizza's configuration as the recordings have it: the factory is on this host.
func pizzaConfig() *Config {
	cfg := newDefaultConfig()
	cfg.Orders = []OrderConfig{{
		Method: "POST",
		Route:  "/api/order",
		Logs: OrderLogsConfig{
			Attributes: map[string][]string{"type": {"http", "http-req", "http_request", "httpRequest"}},
			RequestHas: []string{"items"},
		},
	}}
	cfg.Vendors = []VendorConfig{{
		Name: "pizza-factory",
		Calls: CallsConfig{
			URLs: []string{"http://127.0.0.1:4000/api/order", "http://127.0.0.1:4001/api/order"},
			Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"factory", "factory-req", "factory_request"}}},
		},
		SlowAfter:     10_000_000_000,
		ValidResponse: ValidResponseConfig{JWT: []string{"jwt"}},
		Responses: []ResponseConfig{
			{Contains: "The oven is full", Reason: "rejected"},
			{Contains: "Failed to fulfill order at factory"},
			{Contains: "fetch failed", Reason: "unreachable"},
			{Contains: "Unexpected token '<'", Reason: "bad_response"},
			{Contains: "followLinkToEndChaos", Chaos: true},
			{Contains: "reportUrl", Chaos: true},
		},
	}}
	return cfg
}

// harness is one processor ID with a traces and a logs instance, and what came out of them.
type harness struct {
	tel    *componenttest.Telemetry
	traces processor.Traces
	logs   processor.Logs
	spans  *consumertest.TracesSink
	lines  *consumertest.LogsSink
	log    *observer.ObservedLogs
}

func start(t testing.TB, cfg *Config) *harness {
	h := &harness{tel: componenttest.NewTelemetry(), spans: new(consumertest.TracesSink), lines: new(consumertest.LogsSink)}
	h.open(t, NewFactory(), cfg, h.spans, h.lines)
	return h
}

func (h *harness) open(t testing.TB, f processor.Factory, cfg *Config, traces consumer.Traces, logs consumer.Logs) {
	require.NoError(t, cfg.Validate())
	set := processortest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = h.tel.NewTelemetrySettings()
	core, log := observer.New(zap.DebugLevel)
	set.Logger, h.log = zap.New(core), log
	var err error
	h.traces, err = f.CreateTraces(context.Background(), set, cfg, traces)
	require.NoError(t, err)
	h.logs, err = f.CreateLogs(context.Background(), set, cfg, logs)
	require.NoError(t, err)
	for _, c := range []component.Component{h.traces, h.logs} {
		require.NoError(t, c.Start(context.Background(), componenttest.NewNopHost()))
	}
}

func (h *harness) shutdown(t testing.TB) {
	for _, c := range []component.Component{h.traces, h.logs} {
		require.NoError(t, c.Shutdown(context.Background()))
	}
}

// said are the lines of the processor's own log that hold a text.
func (h *harness) said(text string) []observer.LoggedEntry {
	return h.log.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, text) }).All()
}

// tell has vendor.records told now, not a little later.
func (h *harness) tell() { h.traces.(*tracesProcessor).watch.readiness.tell() }

// counts are the points of a counter by the values of some attributes, joined by slashes; zeros are left out.
func (h *harness) counts(t testing.TB, metric string, by ...string) map[string]int {
	counts := map[string]int{}
	for _, p := range h.points(t, metric) {
		key := ""
		for i, name := range by {
			if i > 0 {
				key += "/"
			}
			v, _ := p.Attributes.Value(attribute.Key(name))
			key += v.String()
		}
		counts[key] += int(p.Value)
	}
	maps.DeleteFunc(counts, func(_ string, n int) bool { return n == 0 })
	return counts
}

func (h *harness) points(t testing.TB, name string) []metricdata.DataPoint[int64] {
	m, err := h.tel.GetMetric(name)
	if err != nil {
		return nil // nothing was counted yet
	}
	sum, ok := m.Data.(metricdata.Sum[int64])
	require.True(t, ok, "%s is a %T", name, m.Data)
	return sum.DataPoints
}

// tagged counts, by kind of record, what bears vendor.name.
func (h *harness) tagged() map[string]int {
	tagged := map[string]int{}
	for _, td := range h.spans.AllTraces() {
		eachSpan(td, func(s ptrace.Span) {
			if _, ok := s.Attributes().Get(tagVendor); ok {
				tagged[s.Kind().String()]++
			}
		})
	}
	for _, ld := range h.lines.AllLogs() {
		eachRecord(ld, func(r plog.LogRecord) {
			if _, ok := r.Attributes().Get(tagVendor); ok {
				kind, _ := r.Attributes().Get("type")
				tagged[kind.Str()]++
			}
		})
	}
	return tagged
}

func eachSpan(td ptrace.Traces, f func(ptrace.Span)) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				f(s)
			}
		}
	}
}

func eachRecord(ld plog.Logs, f func(plog.LogRecord)) {
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				f(r)
			}
		}
	}
}

func open(t testing.TB, name string) *recording.Recording {
	r, err := recording.Open(filepath.Join("..", "..", "testdata", name))
	require.NoError(t, err)
	return r
}

func (h *harness) replay(t testing.TB, r *recording.Recording) {
	for _, td := range r.Traces() {
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	for _, ld := range r.Logs() {
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	}
}

// TestRecorded holds the processor against recordings of the real order service, whose truth is known.
func TestRecorded(t *testing.T) {
	type counts = map[string]int
	for _, tc := range []struct {
		recording    string
		spans, lines counts // orders by outcome
		why          counts // calls and orders that the vendor broke: signal/reason
		calls        counts // signal/reason, "" for those that succeeded
	}{
		{
			recording: "healthy",
			spans:     counts{"success": 60, "rejected": 12},
			lines:     counts{"success": 60, "rejected": 12},
			calls:     counts{"traces/": 60, "logs/": 60},
		},
		{
			recording: "chaos-fail",
			spans:     counts{"vendor_failure": 44, "rejected": 9},
			lines:     counts{"vendor_failure": 44, "rejected": 9},
			why:       counts{"traces/error": 44, "logs/error": 44},
			calls:     counts{"traces/error": 44, "logs/error": 44},
		},
		{
			recording: "chaos-badjwt", // HTTP 200 everywhere: spans cannot see it
			spans:     counts{"success": 44, "rejected": 9},
			lines:     counts{"vendor_failure": 44, "rejected": 9},
			why:       counts{"logs/bad_response": 44},
			calls:     counts{"traces/": 44, "logs/bad_response": 44},
		},
		{
			recording: "oven-full",
			spans:     counts{"success": 8, "vendor_failure": 4, "rejected": 3},
			lines:     counts{"success": 8, "vendor_failure": 4, "rejected": 3},
			why:       counts{"traces/error": 4, "logs/error": 4},
			calls:     counts{"traces/": 8, "logs/": 8, "traces/error": 4, "logs/rejected": 4},
		},
		{
			recording: "factory-refused", // the service writes no line of a refused call
			spans:     counts{"vendor_failure": 24, "rejected": 7},
			lines:     counts{"vendor_failure": 24, "rejected": 7},
			why:       counts{"traces/unreachable": 24, "logs/unreachable": 24},
			calls:     counts{"traces/unreachable": 24},
		},
		{
			recording: "db-fail",
			spans:     counts{"success": 12, "vendor_failure": 4, "own_failure": 16, "rejected": 12},
			lines:     counts{"success": 12, "vendor_failure": 4, "own_failure": 16, "rejected": 12},
			why:       counts{"traces/error": 4, "logs/error": 4},
			calls:     counts{"traces/": 12, "logs/": 12, "traces/error": 4, "logs/rejected": 4},
		},
		{
			recording: "incident",
			spans:     counts{"success": 240, "vendor_failure": 240, "rejected": 85},
			lines:     counts{"success": 240, "vendor_failure": 240, "rejected": 85},
			why:       counts{"traces/error": 240, "logs/error": 240},
			calls:     counts{"traces/": 240, "logs/": 240, "traces/error": 240, "logs/error": 240},
		},
		{
			recording: "otlp-logs",
			spans:     counts{"success": 36, "vendor_failure": 36, "rejected": 14},
			lines:     counts{"success": 36, "vendor_failure": 36, "rejected": 14},
			why:       counts{"traces/error": 36, "logs/error": 36},
			calls:     counts{"traces/": 36, "logs/": 36, "traces/error": 36, "logs/error": 36},
		},
	} {
		t.Run(tc.recording, func(t *testing.T) {
			r := open(t, tc.recording)
			h := start(t, pizzaConfig())
			h.replay(t, r)
			h.shutdown(t)

			orders := h.counts(t, "vendor.orders", "vendor.signal", "vendor.outcome")
			want := counts{}
			for outcome, n := range tc.spans {
				want["traces/"+outcome] = n
			}
			for outcome, n := range tc.lines {
				want["logs/"+outcome] = n
			}
			assert.Equal(t, want, orders, "orders by signal and outcome")
			assert.Equal(t, r.Truth.Orders, tc.spans["success"]+tc.spans["vendor_failure"]+tc.spans["own_failure"], "orders the driver placed")

			why := h.counts(t, "vendor.orders", "vendor.signal", "vendor.failure.reason")
			maps.DeleteFunc(why, func(key string, _ int) bool { return key == "traces/" || key == "logs/" })
			assert.Equal(t, orEmpty(tc.why), why, "orders by signal and reason")
			assert.Equal(t, tc.calls, h.counts(t, "vendor.calls", "vendor.signal", "vendor.failure.reason"), "calls by signal and reason")

			failed := func(signal string) (n int) {
				for key, m := range h.counts(t, "vendor.calls", "vendor.signal", "vendor.outcome") {
					if key == signal+"/failure" {
						n += m
					}
				}
				return n
			}
			tagged := counts{"Server": tc.spans["vendor_failure"], "http": tc.lines["vendor_failure"], "Client": failed("traces"), "factory": failed("logs")}
			maps.DeleteFunc(tagged, func(_ string, n int) bool { return n == 0 })
			assert.Equal(t, tagged, h.tagged(), "spans and records that bear vendor.name")

			assertOnlyTagsDiffer(t, r, h)
		})
	}
}

// TestRecordedInPieces: every span and every line in a request of its own, in random order, counts as whole requests do.
// Calls are tagged alike; an order that passes before its call is blamed but cannot be tagged, for it is not held.
func TestRecordedInPieces(t *testing.T) {
	by := []string{"vendor.name", "vendor.signal", "vendor.outcome", "vendor.failure.reason", "vendor.caller"}
	for _, tc := range []struct {
		recording string
		shuffles  uint64
	}{{"chaos-fail", 3}, {"db-fail", 3}, {"otlp-logs", 3}, {"incident", 1}} {
		t.Run(tc.recording, func(t *testing.T) {
			r := open(t, tc.recording)
			whole := start(t, pizzaConfig())
			whole.replay(t, r)
			whole.shutdown(t)

			for seed := range tc.shuffles {
				synctest.Test(t, func(t *testing.T) { // no time passes, so no order settles before its call has come
					h := start(t, pizzaConfig())
					pieces := pieces(h, r)
					rand.New(rand.NewPCG(seed, 0)).Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
					for _, send := range pieces {
						require.NoError(t, send())
					}
					h.shutdown(t)
					for _, metric := range []string{"vendor.orders", "vendor.calls"} {
						assert.Equal(t, whole.counts(t, metric, by...), h.counts(t, metric, by...), "%s, seed %d", metric, seed)
					}
					records := []string{"vendor.signal", "vendor.role"}
					assert.Equal(t, whole.counts(t, "vendor.records", records...), h.counts(t, "vendor.records", records...), "seed %d", seed)
					all, these := whole.tagged(), h.tagged()
					assert.Equal(t, all["Client"], these["Client"])
					assert.Equal(t, all["factory"], these["factory"])
					assert.LessOrEqual(t, these["Server"], all["Server"])
				})
			}
		})
	}
}

// pieces are the ways to send each span and each line of a recording by itself.
func pieces(h *harness, r *recording.Recording) (send []func() error) {
	for _, td := range r.Traces() {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					send = append(send, func() error {
						one := ptrace.NewTraces()
						only := one.ResourceSpans().AppendEmpty()
						rs.Resource().CopyTo(only.Resource())
						scope := only.ScopeSpans().AppendEmpty()
						ss.Scope().CopyTo(scope.Scope())
						s.CopyTo(scope.Spans().AppendEmpty())
						return h.traces.ConsumeTraces(context.Background(), one)
					})
				}
			}
		}
	}
	for _, ld := range r.Logs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, line := range sl.LogRecords().All() {
					send = append(send, func() error {
						one := plog.NewLogs()
						only := one.ResourceLogs().AppendEmpty()
						rl.Resource().CopyTo(only.Resource())
						scope := only.ScopeLogs().AppendEmpty()
						sl.Scope().CopyTo(scope.Scope())
						line.CopyTo(scope.LogRecords().AppendEmpty())
						return h.logs.ConsumeLogs(context.Background(), one)
					})
				}
			}
		}
	}
	return send
}

// TestAnotherClientOfTheVendor: a logger that posts every line to the vendor's host at another path, and is refused
// each time, is no failed call, whether it does so within an order's trace or in one of its own.
func TestAnotherClientOfTheVendor(t *testing.T) {
	const posts = 854
	plain, h := start(t, pizzaConfig()), start(t, pizzaConfig())
	plain.replay(t, open(t, "healthy"))

	requests := open(t, "healthy").Traces()
	var orders []ptrace.Span
	for _, td := range requests {
		eachSpan(td, func(s ptrace.Span) {
			if s.Kind() == server {
				orders = append(orders, s)
			}
		})
	}
	for n := range posts {
		td := requests[n%len(requests)]
		s := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().AppendEmpty()
		order := orders[n%len(orders)]
		order.CopyTo(s)
		s.SetSpanID(pcommon.SpanID{1, 6: byte(n >> 8), 7: byte(n)})
		if n%2 == 0 {
			s.SetTraceID(pcommon.TraceID{1, 14: byte(n >> 8), 15: byte(n)})
		}
		s.SetKind(client)
		s.SetName("POST")
		s.Attributes().Clear()
		put(s.Attributes(), []any{
			"http.request.method", "POST", "url.full", "http://127.0.0.1:4000/api/log", "url.path", "/api/log",
			"server.address", "127.0.0.1", "server.port", 4000, "http.response.status_code", 401, "error.type", "401",
		})
		failedWith("")(s)
	}
	for _, td := range requests {
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	for _, ld := range open(t, "healthy").Logs() {
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	}
	plain.shutdown(t)
	h.shutdown(t)

	by := []string{"vendor.name", "vendor.signal", "vendor.outcome", "vendor.failure.reason", "vendor.caller"}
	for _, metric := range []string{"vendor.orders", "vendor.calls"} {
		assert.Equal(t, plain.counts(t, metric, by...), h.counts(t, metric, by...), metric)
	}
	assert.NotContains(t, h.counts(t, "vendor.calls", "vendor.outcome"), "failure")
	assert.Empty(t, h.tagged())
	assert.Empty(t, h.counts(t, "vendor.outages", "vendor.name"))
	role := []string{"vendor.signal", "vendor.role"}
	assert.Equal(t, posts, h.counts(t, "vendor.records", role...)["traces/other"]-plain.counts(t, "vendor.records", role...)["traces/other"])
}

// TestOvenIsFull: with the rule that this vendor's 503 means rejected, spans tell what its answer tells in lines.
func TestOvenIsFull(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors[0].Responses = append([]ResponseConfig{{Status: 503, Reason: "rejected"}}, cfg.Vendors[0].Responses...)
	h := start(t, cfg)
	h.replay(t, open(t, "oven-full"))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"success/": 8, "vendor_failure/rejected": 4, "rejected/": 3}, h.ordersBy(t, "traces"))
	assert.Equal(t, 4, h.counts(t, "vendor.calls", "vendor.signal", "vendor.failure.reason")["traces/rejected"])
}

// ordersBy are the orders of a signal by outcome and reason.
func (h *harness) ordersBy(t testing.TB, signal string) map[string]int {
	orders := map[string]int{}
	for key, n := range h.counts(t, "vendor.orders", "vendor.signal", "vendor.outcome", "vendor.failure.reason") {
		if rest, ok := strings.CutPrefix(key, signal+"/"); ok {
			orders[rest] = n
		}
	}
	return orders
}

func orEmpty(m map[string]int) map[string]int {
	if m == nil {
		return map[string]int{}
	}
	return m
}

// assertOnlyTagsDiffer asserts that what came out is what went in, request by request, but for vendor.* attributes.
func assertOnlyTagsDiffer(t *testing.T, r *recording.Recording, h *harness) {
	untag := func(m pcommon.Map) {
		for _, key := range []string{tagVendor, tagReason, tagChaos} {
			m.Remove(key)
		}
	}
	in, out := r.Traces(), h.spans.AllTraces()
	require.Len(t, out, len(in))
	for i := range in {
		eachSpan(out[i], func(s ptrace.Span) { untag(s.Attributes()) })
		require.Equal(t, marshalTraces(t, in[i]), marshalTraces(t, out[i]), "trace request %d", i)
	}
	logsIn, logsOut := r.Logs(), h.lines.AllLogs()
	require.Len(t, logsOut, len(logsIn))
	for i := range logsIn {
		eachRecord(logsOut[i], func(r plog.LogRecord) { untag(r.Attributes()) })
		require.Equal(t, marshalLogs(t, logsIn[i]), marshalLogs(t, logsOut[i]), "log request %d", i)
	}
}

func marshalTraces(t *testing.T, td ptrace.Traces) []byte {
	b, err := new(ptrace.ProtoMarshaler).MarshalTraces(td)
	require.NoError(t, err)
	return b
}

func marshalLogs(t *testing.T, ld plog.Logs) []byte {
	b, err := new(plog.ProtoMarshaler).MarshalLogs(ld)
	require.NoError(t, err)
	return b
}
