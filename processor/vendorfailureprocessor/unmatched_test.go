package vendorfailureprocessor

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Most of what passes a Collector is neither an order nor a vendor call. These tell what it costs, an operation being
// one span or record: while nothing configured has been seen yet, and once all has.

const unmatchedBatch = 1000

func BenchmarkUnmatchedSpans(b *testing.B) {
	for _, state := range []string{"unseen", "seen"} {
		b.Run(state, func(b *testing.B) {
			h := &harness{tel: componenttest.NewTelemetry()}
			h.open(b, NewFactory(), pizzaConfig(), consumertest.NewNop(), consumertest.NewNop())
			defer h.shutdown(b)
			if state == "seen" {
				td := ptrace.NewTraces()
				addSpan(td, 1, client, callSpan(200))
				addSpan(td, 1, server, orderSpan(200))
				require.NoError(b, h.traces.ConsumeTraces(context.Background(), td))
			}
			td := ptrace.NewTraces()
			for n := range unmatchedBatch {
				switch n % 8 {
				case 0:
					addSpan(td, 1, server, []any{"http.request.method", "GET", "url.path", "/api/franchise", "http.route", "/api/franchise", "http.response.status_code", 200})
				case 1:
					addSpan(td, 1, client, []any{"http.request.method", "POST", "url.full", "http://127.0.0.1:3500/loki/api/v1/push", "server.address", "127.0.0.1", "server.port", 3500, "http.response.status_code", 204})
				case 2:
					addSpan(td, 1, client, []any{"http.request.method", "GET", "url.full", "https://api.example.com/v1/rates?to=usd", "server.address", "api.example.com", "server.port", 443, "http.response.status_code", 200})
				case 3:
					addSpan(td, 1, client, []any{"db.system.name", "mysql", "server.address", "127.0.0.1", "server.port", "3306", "db.query.text", "SELECT 1"})
				default:
					addSpan(td, 1, internal, []any{"code.function", "handler"})
				}
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += unmatchedBatch {
				if err := h.traces.ConsumeTraces(context.Background(), td); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnmatchedLines(b *testing.B) {
	for _, state := range []string{"unseen", "seen"} {
		b.Run(state, func(b *testing.B) {
			h := &harness{tel: componenttest.NewTelemetry()}
			h.open(b, NewFactory(), pizzaConfig(), consumertest.NewNop(), consumertest.NewNop())
			defer h.shutdown(b)
			if state == "seen" {
				ld := plog.NewLogs()
				addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{}"}`, "type", "http")
				addRecord(ld, `{"resBody":"{}"}`, "type", "factory")
				require.NoError(b, h.logs.ConsumeLogs(context.Background(), ld))
			}
			ld := plog.NewLogs()
			for range unmatchedBatch {
				addRecord(ld, `"SELECT * FROM user WHERE email=?"`, "component", "jwt-pizza-service", "level", "info", "type", "db")
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += unmatchedBatch {
				if err := h.logs.ConsumeLogs(context.Background(), ld); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestUnmatchedSpansAllocateNothing: neither HTTP nor gRPC, neither client nor server.
func TestUnmatchedSpansAllocateNothing(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Orders = append(cfg.Orders, OrderConfig{Method: "POST", Route: "/shop.Orders/Place"})
	h := &harness{tel: componenttest.NewTelemetry()}
	h.open(t, NewFactory(), cfg, consumertest.NewNop(), consumertest.NewNop())
	defer h.shutdown(t)
	seen := ptrace.NewTraces()
	addSpan(seen, 1, client, callSpan(200))
	addSpan(seen, 1, server, orderSpan(200))
	addSpan(seen, 2, server, []any{"rpc.method", "shop.Orders/Place", "rpc.response.status_code", "OK"})
	require.NoError(t, h.traces.ConsumeTraces(t.Context(), seen))
	require.False(t, h.traces.(*tracesProcessor).watch.readiness.looks(traces))
	td := ptrace.NewTraces()
	for _, s := range []struct {
		kind       ptrace.SpanKind
		attributes []any
	}{
		{server, []any{"rpc.system", "grpc", "rpc.service", "shop.Menu", "rpc.method", "List"}},
		{server, []any{"rpc.system.name", "grpc", "rpc.method", "shop.Menu/List"}},
		{client, []any{"rpc.system", "aws-api", "rpc.service", "S3", "rpc.method", "GetObject"}},
		{client, []any{"rpc.system.name", "grpc", "rpc.method", "shop.Menu/List", "server.address", "node7"}},
		{client, []any{"url.full", "http://node7:8080/x"}},
		{client, []any{"db.system", "mysql"}},
		{internal, nil},
	} {
		addSpan(td, 3, s.kind, s.attributes)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = h.traces.ConsumeTraces(t.Context(), td) }))
}
