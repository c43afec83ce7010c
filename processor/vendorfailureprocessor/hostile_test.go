package vendorfailureprocessor

import (
	"context"
	"math"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// TestBrokenTelemetryPasses: whatever a span or record holds, it leaves as it came.
func TestBrokenTelemetryPasses(t *testing.T) {
	h := start(t, pizzaConfig())
	values := []any{nil, true, int64(math.MinInt64), math.NaN(), math.Inf(1), 1e308, "", "\xff\xfe", strings.Repeat("x", 1<<20), []byte{0, 255}, []any{1, "a", nil}, map[string]any{"a": map[string]any{"b": []any{}}}}
	deep := strings.Repeat(`{"resBody":`, 100_000)
	nested := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	bodies := append([]any{deep, nested, `{"path":"/api/order","method":"POST","statusCode":500,"resBody":` + nested + `}`,
		`{"path":"/api/order","method":"POST","statusCode":200,"resBody":` + strings.Repeat(`"\"`, 1000), "{", `{"`, `{"a`, `{"path":`, `"`, `""`, `"\`, "\x00{}", "{}{}"}, values...)

	td, ld := ptrace.NewTraces(), plog.NewLogs()
	keys := []string{
		"http.request.method", "http.method", "http.route", "url.path", "http.target", "url.full", "http.url", "server.address", "server.port",
		"net.peer.name", "net.peer.port", "url.scheme", "http.response.status_code", "http.status_code", "error.type", "rpc.system",
		"rpc.grpc.status_code", "rpc.response.status_code", "db.system", "exception.message", "exception.type",
	}
	for _, v := range values {
		for kind := range ptrace.SpanKindConsumer + 2 {
			s := addSpan(td, 1, ptrace.SpanKind(kind), nil)
			for _, key := range keys {
				require.NoError(t, s.Attributes().PutEmpty(key).FromRaw(v))
			}
			for _, name := range []string{"exception", ""} {
				e := s.Events().AppendEmpty()
				e.SetName(name)
				s.Attributes().CopyTo(e.Attributes())
			}
			s.SetStartTimestamp(math.MaxUint64)
			s.SetEndTimestamp(pcommon.Timestamp(kind))
			s.Status().SetCode(ptrace.StatusCodeError)
		}
	}
	many := addSpan(td, 1, server, orderSpan(500))
	for n := range 10_000 {
		many.Attributes().PutInt(strings.Repeat("k", n%100)+string(rune(n)), int64(n))
	}
	td.ResourceSpans().AppendEmpty()
	td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	for _, kind := range []string{"http", "factory", "none"} {
		for _, body := range bodies {
			addRecord(ld, body, "type", kind)
			addRecord(ld, body)
			addRecord(ld, body, "type", kind, "path", "/api/order", "method", "POST", "statusCode", 500, "resBody", body).SetTimestamp(0)
			addRecord(ld, body, "type", kind, "path", body, "method", body, "statusCode", body, "level", body, "resBody", body)
		}
	}
	for _, v := range values {
		r := addRecord(ld, "x")
		require.NoError(t, r.Attributes().PutEmpty("type").FromRaw(v))
	}

	wantSpans, wantLines := ptrace.NewTraces(), plog.NewLogs()
	td.CopyTo(wantSpans)
	ld.CopyTo(wantLines)
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)

	untag := func(m pcommon.Map) {
		m.RemoveIf(func(key string, _ pcommon.Value) bool {
			return key == tagVendor || key == tagReason || key == tagChaos
		})
	}
	out := h.spans.AllTraces()[0]
	eachSpan(out, func(s ptrace.Span) { untag(s.Attributes()) })
	assert.Equal(t, marshalTraces(t, wantSpans), marshalTraces(t, out))
	lines := h.lines.AllLogs()[0]
	eachRecord(lines, func(r plog.LogRecord) { untag(r.Attributes()) })
	assert.Equal(t, marshalLogs(t, wantLines), marshalLogs(t, lines))
	assert.NotZero(t, h.counts(t, "vendor.orders", "vendor.signal")["traces"], "the order among them was found")
}

func started(f *testing.F) (processor.Traces, processor.Logs) {
	set := processortest.NewNopSettings(metadata.Type)
	factory, cfg := NewFactory(), pizzaConfig()
	traces, err := factory.CreateTraces(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(f, err)
	logs, err := factory.CreateLogs(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(f, err)
	require.NoError(f, traces.Start(context.Background(), nil))
	require.NoError(f, logs.Start(context.Background(), nil))
	f.Cleanup(func() {
		require.NoError(f, traces.Shutdown(context.Background()))
		require.NoError(f, logs.Shutdown(context.Background()))
	})
	return traces, logs
}

// FuzzLine: any body under any label is judged without a panic and leaves as it came.
func FuzzLine(f *testing.F) {
	for _, name := range []string{"chaos-badjwt", "factory-refused"} {
		for i, ld := range open(f, name).Logs() {
			eachRecord(ld, func(r plog.LogRecord) {
				if i%40 == 0 {
					kind, _ := r.Attributes().Get("type")
					f.Add(kind.Str(), r.Body().AsString())
				}
			})
		}
	}
	f.Add("http", `{"path":"/","method":"POST","statusCode":500,"reqBody":{"items":[]},"resBody":"\"\\\"fetch failed\\\"\""}`)
	_, logs := started(f)
	f.Fuzz(func(t *testing.T, kind, body string) {
		ld := plog.NewLogs()
		r := addRecord(ld, body, "type", kind)
		require.NoError(t, logs.ConsumeLogs(context.Background(), ld))
		assert.Equal(t, body, r.Body().Str())
		addRecord(ld, body)
		addRecord(ld, []byte(body), "type", kind)
		addRecord(ld, "http", "type", kind, "path", body, "method", body, "status", body, "response", body)
		require.NoError(t, logs.ConsumeLogs(context.Background(), ld))
	})
}

// FuzzSplitURL: where net/url takes an absolute URL with a host, splitURL finds the same host, port and path.
func FuzzSplitURL(f *testing.F) {
	for _, raw := range []string{"http://127.0.0.1:4000/api/order", "https://u:p@h.example.com/a?b#c", "http://[::1]:80/", "https://h", "http://h:/x", "://", "x", "http://h?x"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := splitURL(raw)
		u, err := url.Parse(raw)
		if err != nil || u.Scheme == "" || u.Hostname() == "" || u.Opaque != "" || strings.ContainsAny(raw, "%") || strings.Contains(u.Hostname(), ":") && !strings.Contains(u.Host, "[") {
			return
		}
		if p := u.Port(); len(p) > 5 || p > "65535" && len(p) == 5 {
			return // no port
		}
		if !strings.HasPrefix(strings.ToLower(raw), strings.ToLower(u.Scheme)+"://") {
			return
		}
		if !ok {
			t.Fatalf("splitURL(%q) takes it for no URL", raw)
		}
		assert.Equal(t, u.Hostname(), got.host, raw)
		assert.Equal(t, trimPath(u.Path), got.path, raw)
	})
}

// FuzzWalk: paths of the configuration into bodies of any kind.
func FuzzWalk(f *testing.F) {
	f.Add(`{"a":"{\"b\":[{\"c\":1}]}"}`, "a.b.#.c")
	f.Add(`{"http.request.method":"POST"}`, "http.request.method")
	f.Fuzz(func(t *testing.T, body, path string) {
		v := walk(gjson.Result{Type: gjson.String, Str: body}, path)
		contains(v, path)
		hasFields(v, []string{path})
	})
}
