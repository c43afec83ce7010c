package vendorfailureprocessor

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unique"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// TestSharing: the instances of one ID share a watch from the first Start to the last Shutdown, and nothing is left.
func TestSharing(t *testing.T) {
	shared := &sharing{watches: map[*Config]*sharedWatch{}}
	f, cfg, ctx := newFactory(shared), pizzaConfig(), context.Background()
	set := processortest.NewNopSettings(metadata.Type)
	traces, err := f.CreateTraces(ctx, set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	logs, err := f.CreateLogs(ctx, set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	neverStarted, err := f.CreateLogs(ctx, set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	assert.Empty(t, shared.watches, "validate creates and never starts")

	host := componenttest.NewNopHost()
	require.NoError(t, traces.Start(ctx, host))
	require.NoError(t, logs.Start(ctx, host))
	assert.Same(t, traces.(*tracesProcessor).watch, logs.(*logsProcessor).watch)
	assert.Len(t, shared.watches, 1)

	require.NoError(t, neverStarted.Shutdown(ctx))
	require.NoError(t, traces.Shutdown(ctx))
	require.NoError(t, traces.Shutdown(ctx), "twice")
	assert.Len(t, shared.watches, 1, "the logs instance still uses it")
	require.NoError(t, logs.Shutdown(ctx))
	assert.Empty(t, shared.watches)

	// A reload makes new instances with a configuration of its own.
	again, err := f.CreateTraces(ctx, set, pizzaConfig(), consumertest.NewNop())
	require.NoError(t, err)
	require.NoError(t, again.Start(ctx, host))
	assert.NotSame(t, traces.(*tracesProcessor).watch, again.(*tracesProcessor).watch)
	require.NoError(t, again.Shutdown(ctx))
	assert.Empty(t, shared.watches)
}

// TestNotStarted: an instance that was never started hands everything on.
func TestNotStarted(t *testing.T) {
	ctx, spans, lines := context.Background(), new(consumertest.TracesSink), new(consumertest.LogsSink)
	set := processortest.NewNopSettings(metadata.Type)
	traces, err := NewFactory().CreateTraces(ctx, set, pizzaConfig(), spans)
	require.NoError(t, err)
	logs, err := NewFactory().CreateLogs(ctx, set, pizzaConfig(), lines)
	require.NoError(t, err)
	td, ld := ptrace.NewTraces(), plog.NewLogs()
	addSpan(td, 1, client, callSpan(500))
	addRecord(ld, "x")
	require.NoError(t, traces.ConsumeTraces(ctx, td))
	require.NoError(t, logs.ConsumeLogs(ctx, ld))
	assert.Equal(t, 1, spans.SpanCount())
	assert.Equal(t, 1, lines.LogRecordCount())
}

// TestUnderLoad: many goroutines, a shutdown among them, and no count lost.
func TestUnderLoad(t *testing.T) {
	const goroutines, requests = 8, 200
	h := start(t, pizzaConfig())
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for n := range requests {
				td, ld := ptrace.NewTraces(), plog.NewLogs()
				id := [16]byte{1, byte(g), byte(n), byte(n >> 8)}
				// The order first, its call in the next request: half of the orders wait.
				addSpan(td, 1, server, orderSpan(500)).SetTraceID(id)
				assert.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
				addRecord(ld, `{"statusCode":500}`, "type", "factory").SetTraceID(id)
				assert.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			}
			if g == 0 {
				assert.NoError(t, h.traces.Shutdown(context.Background()))
			}
		})
	}
	wg.Wait()
	h.shutdown(t)
	assert.Equal(t, map[string]int{"vendor_failure": goroutines * requests}, h.counts(t, "vendor.orders", "vendor.outcome"))
	assert.Equal(t, map[string]int{"failure": goroutines * requests}, h.counts(t, "vendor.calls", "vendor.outcome"))
	assert.Equal(t, goroutines*requests, h.spans.SpanCount())
}

// TestShutdownAmidConsume: both instances end, each twice and at the same time, while others still consume. Whatever
// was taken is handed on and counted, before, while and after.
func TestShutdownAmidConsume(t *testing.T) {
	const rounds, senders, requests = 50, 4, 10
	for range rounds {
		h := start(t, pizzaConfig())
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				<-begin
				for n := range requests {
					td, ld := ptrace.NewTraces(), plog.NewLogs()
					// An own failure waits for its call: some are still open at the end.
					addSpan(td, 1, server, orderSpan(500)).SetTraceID([16]byte{1, byte(s), byte(n)})
					assert.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
					addRecord(ld, "http", "type", "http", "path", "/api/order", "method", "POST", "statusCode", 200)
					assert.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
				}
			})
		}
		for range 2 {
			wg.Go(func() { <-begin; assert.NoError(t, h.traces.Shutdown(context.Background())) })
			wg.Go(func() { <-begin; assert.NoError(t, h.logs.Shutdown(context.Background())) })
		}
		close(begin)
		wg.Wait()
		assert.Equal(t, map[string]int{"traces/own_failure": senders * requests, "logs/success": senders * requests},
			h.counts(t, "vendor.orders", "vendor.signal", "vendor.outcome"))
		assert.Equal(t, map[string]int{"traces/order": senders * requests, "logs/order": senders * requests},
			h.counts(t, "vendor.records", "vendor.signal", "vendor.role"))
		assert.Equal(t, senders*requests, h.spans.SpanCount())
		assert.Equal(t, senders*requests, h.lines.LogRecordCount())
		require.NoError(t, h.tel.Shutdown(context.Background()))
	}
}

// failingMeters is a MeterProvider that gives no counter of a name.
type failingMeters struct {
	noop.MeterProvider
	name string
}

type failingMeter struct {
	noop.Meter
	name string
}

func (p failingMeters) Meter(string, ...metric.MeterOption) metric.Meter {
	return failingMeter{name: p.name}
}

func (m failingMeter) fail(name string) error {
	if name == m.name {
		return errors.New("no " + name)
	}
	return nil
}

func (m failingMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return noop.Int64Counter{}, m.fail(name)
}

func (m failingMeter) Float64Counter(name string, _ ...metric.Float64CounterOption) (metric.Float64Counter, error) {
	return noop.Float64Counter{}, m.fail(name)
}

func (m failingMeter) Int64ObservableGauge(name string, _ ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	return noop.Int64ObservableGauge{}, m.fail(name)
}

func (m failingMeter) Float64ObservableGauge(name string, _ ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	return noop.Float64ObservableGauge{}, m.fail(name)
}

// TestStartFails: what cannot be started says why, and another one of the same configuration can be.
func TestStartFails(t *testing.T) {
	for _, tc := range []struct {
		name, counter, want string
		change              func(*Config)
	}{
		{"no counter", "vendor.orders", "no vendor.orders", func(*Config) {}},
		{"no counter of values", "vendor.order.value", "no vendor.order.value", func(cfg *Config) { cfg.Impact = ImpactConfig{Value: []string{"price"}, Unit: "BTC"} }},
		{"no gauge of outages' value", "vendor.outage.value", "no vendor.outage.value", func(cfg *Config) { cfg.Impact = ImpactConfig{Value: []string{"price"}, Unit: "BTC"} }},
		{"an order's condition", "", `orders[0].conditions[0]: "span.colour == 1" is no condition`, func(cfg *Config) { cfg.Orders[0].Conditions = []string{"span.colour == 1"} }},
		{"a vendor's condition", "", `vendors[0].calls.conditions[0]: "span.colour == 1" is no condition`, func(cfg *Config) { cfg.Vendors[0].Calls.Conditions = []string{"span.colour == 1"} }},
		{"a URL", "", `"https://" names no host`, func(cfg *Config) { cfg.Vendors[0].Calls.URLs = []string{"https://"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := pizzaConfig()
			tc.change(cfg)
			set := processortest.NewNopSettings(metadata.Type)
			set.MeterProvider = failingMeters{name: tc.counter}
			factory := NewFactory()
			p, err := factory.CreateTraces(t.Context(), set, cfg, consumertest.NewNop())
			require.NoError(t, err)
			require.ErrorContains(t, p.Start(t.Context(), componenttest.NewNopHost()), tc.want)
			require.NoError(t, p.Shutdown(t.Context()))

			*cfg = *pizzaConfig()
			again, err := factory.CreateLogs(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
			require.NoError(t, err)
			require.NoError(t, again.Start(t.Context(), componenttest.NewNopHost()))
			require.NoError(t, again.Shutdown(t.Context()))
		})
	}
}

// gate is where something stops until it is let through.
type gate struct {
	name   string // of the counter, or the beginning of the line
	open   chan struct{}
	passed int
}

// gatedMeters is a MeterProvider with a counter that does not count before its gate is open.
type gatedMeters struct {
	noop.MeterProvider
	gate *gate
}

type gatedMeter struct {
	noop.Meter
	gate *gate
}

type gatedCounter struct {
	noop.Int64Counter
	gate *gate
}

func (p gatedMeters) Meter(string, ...metric.MeterOption) metric.Meter {
	return gatedMeter{gate: p.gate}
}

func (m gatedMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	if name == m.gate.name {
		return gatedCounter{gate: m.gate}, nil
	}
	return noop.Int64Counter{}, nil
}

func (c gatedCounter) Add(_ context.Context, n int64, _ ...metric.AddOption) {
	if n > 0 {
		<-c.gate.open
		c.gate.passed += int(n)
	}
}

// gatedLog is the core of a logger that does not write a line before its gate is open.
type gatedLog struct {
	zapcore.Core
	gate *gate
}

func (l gatedLog) Enabled(zapcore.Level) bool { return true }

func (l gatedLog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, l)
}

func (l gatedLog) Write(e zapcore.Entry, _ []zapcore.Field) error {
	if strings.HasPrefix(e.Message, l.gate.name) {
		<-l.gate.open
		l.gate.passed++
	}
	return nil
}

// TestShutdownWaits: what is under way is done before Shutdown returns. The Collector ends the MeterProvider and the
// logger after it, and what is counted or said later is lost.
func TestShutdownWaits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		of    string
		after time.Duration
	}{
		{"the count of an order that has settled", "vendor.orders", 6 * time.Second},
		{"the report of what is missing", "no records at all", firstReport + time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{name: tc.of, open: make(chan struct{})}
				set := processortest.NewNopSettings(metadata.Type)
				set.MeterProvider = gatedMeters{gate: g}
				set.Logger = zap.New(gatedLog{Core: zapcore.NewNopCore(), gate: g})
				ctx := context.Background()
				p, err := NewFactory().CreateTraces(ctx, set, pizzaConfig(), consumertest.NewNop())
				require.NoError(t, err)
				require.NoError(t, p.Start(ctx, componenttest.NewNopHost()))
				if tc.of == "vendor.orders" {
					td := ptrace.NewTraces()
					addSpan(td, 1, server, orderSpan(500))
					require.NoError(t, p.ConsumeTraces(ctx, td))
				}
				time.Sleep(tc.after)

				ended := false
				go func() {
					assert.NoError(t, p.Shutdown(ctx))
					ended = true
				}()
				synctest.Wait()
				assert.False(t, ended, "it waits")
				close(g.open)
				synctest.Wait()
				assert.True(t, ended)
				assert.Equal(t, 1, g.passed)
			})
		})
	}
}

// TestBatchLeavesNothing: of a request nothing is kept for the next one, and no more room than for bodies of a common
// size.
func TestBatchLeavesNothing(t *testing.T) {
	id := pcommon.TraceID{1}
	b := &batch{
		calls:     []call{{trace: id}},
		orders:    []order{{trace: id}},
		failed:    []failedOrder{{index: 1, attributes: pcommon.NewMap()}},
		strangers: []strangerSpan{{stranger{name: unique.Make("x")}, pcommon.NewMap()}},
	}
	b.addSign(id, logs, fault{reason: 1})
	h := &harness{tel: componenttest.NewTelemetry()}
	h.open(t, NewFactory(), pizzaConfig(), consumertest.NewNop(), consumertest.NewNop())
	defer h.shutdown(t)
	ld := plog.NewLogs()
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500}`, "type", "http")
	addRecord(ld, `{`+strings.Repeat(`"a":1,`, 2*ordinary)+`"path":"/"}`, "type", "http")
	require.NoError(t, h.logs.(*logsProcessor).watch.inspectLogs(ld, b))
	assert.Zero(t, b.room)
	require.Len(t, b.orders, 2)
	b.asked = asked{record: plog.NewLogRecord(), token: []byte("x"), text: []byte("x")}
	b.done()

	for _, list := range []any{b.calls, b.orders, b.failed, b.strangers} {
		v := reflect.ValueOf(list)
		assert.Zero(t, v.Len(), "%T", list)
		assert.NotZero(t, v.Cap(), "%T: its memory is used again", list)
		for i := range v.Cap() {
			assert.True(t, v.Slice(0, v.Cap()).Index(i).IsZero(), "%T: nothing in it is held", list)
		}
	}
	assert.Empty(t, b.evidence)
	assert.Equal(t, asked{text: []byte{}, token: []byte{}}, b.asked)

	for _, tc := range []struct{ text, token, wantText, wantToken int }{
		{maxRoom, maxRoom, maxRoom, maxRoom},
		{maxRoom + 1, 1, 0, 1}, // one huge body does not stay
		{1, maxRoom + 1, 1, 0}, // nor does a huge token, which need not have been unescaped
	} {
		b = &batch{asked: asked{text: make([]byte, 0, tc.text), token: make([]byte, 0, tc.token)}}
		b.done()
		assert.Equal(t, []int{tc.wantText, tc.wantToken}, []int{cap(b.asked.text), cap(b.asked.token)})
	}
}
