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
