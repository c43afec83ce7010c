package vendorfailureprocessor

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestConditions: an order, a call and an answer match only where their conditions hold, each asked of the signals that
// it can speak of.
func TestConditions(t *testing.T) {
	const line = `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"{\"message\":\"Failed to fulfill order at factory\"}"}`
	for _, tc := range []struct {
		name                   string
		orders, calls, answers []string // conditions
		want                   map[string]int
	}{
		{"none", nil, nil, nil, map[string]int{
			"traces order vendor_failure/rejected": 1, "logs order vendor_failure/rejected": 1, "traces call error": 1, "logs call error": 1}},
		{"true of both", []string{`attributes["tenant"] == "pizza"`}, []string{`resource.attributes["zone"] == "eu"`}, []string{"true"}, map[string]int{
			"traces order vendor_failure/rejected": 1, "logs order vendor_failure/rejected": 1, "traces call error": 1, "logs call error": 1}},
		{"orders: false of both", []string{`attributes["tenant"] == "sushi"`}, nil, nil, map[string]int{"traces call error": 1, "logs call error": 1}},
		{"orders: false of spans, not asked of lines", []string{`span.attributes["tenant"] == "sushi"`}, nil, nil, map[string]int{
			"logs order vendor_failure/rejected": 1, "traces call error": 1, "logs call error": 1}},
		{"orders: false of lines, not asked of spans", []string{`IsMatch(log.body, "sushi")`}, nil, nil, map[string]int{
			"traces order vendor_failure/rejected": 1, "traces call error": 1, "logs call error": 1}},
		{"orders: one of two is false", []string{`attributes["tenant"] == "pizza"`, `span.kind == SPAN_KIND_CLIENT`}, nil, nil, map[string]int{
			"logs order vendor_failure/rejected": 1, "traces call error": 1, "logs call error": 1}},
		{"calls: false of both", nil, []string{`resource.attributes["zone"] == "us"`}, nil, map[string]int{
			"traces order vendor_failure/rejected": 1, "logs order vendor_failure/rejected": 1}},
		{"calls: false of spans", nil, []string{`span.status.code == STATUS_CODE_OK`}, nil, map[string]int{
			"traces order vendor_failure/rejected": 1, "logs order vendor_failure/rejected": 1, "logs call error": 1}},
		{"calls: false of lines", nil, []string{`log.severity_number >= SEVERITY_NUMBER_ERROR`}, nil, map[string]int{
			"traces order vendor_failure/rejected": 1, "logs order vendor_failure/rejected": 1, "traces call error": 1}},
		{"answers: false of both, the next rule holds", nil, nil, []string{`attributes["tenant"] == "sushi"`}, map[string]int{
			"traces order vendor_failure/error": 1, "logs order vendor_failure/error": 1, "traces call error": 1, "logs call error": 1}},
		{"answers: of lines alone", nil, nil, []string{`Len(ParseJSON(log.body)) > 3`}, map[string]int{
			"traces order vendor_failure/error": 1, "logs order vendor_failure/rejected": 1, "traces call error": 1, "logs call error": 1}},
		{"answers: of spans alone", nil, nil, []string{`IsRootSpan()`}, map[string]int{
			"traces order vendor_failure/rejected": 1, "logs order vendor_failure/error": 1, "traces call error": 1, "logs call error": 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.Orders[0].Conditions = tc.orders
			cfg.Vendors[0].Calls.Conditions = tc.calls
			cfg.Vendors[0].Responses = []ResponseConfig{
				{Contains: "Failed to fulfill", Conditions: tc.answers, Reason: "rejected"},
				{Contains: "Failed to fulfill"},
			}
			h := start(t, cfg)
			td, ld := ptrace.NewTraces(), plog.NewLogs()
			addSpan(td, 1, server, append(orderSpan(500), "tenant", "pizza"), threw("Error", "Failed to fulfill order at factory"))
			addSpan(td, 2, client, callSpan(500))
			td.ResourceSpans().At(0).Resource().Attributes().PutStr("zone", "eu")
			addRecord(ld, line, "type", "http", "tenant", "pizza")
			addRecord(ld, `{"status":500,"resBody":"{}"}`, "type", "factory")
			ld.ResourceLogs().At(0).Resource().Attributes().PutStr("zone", "eu")
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			got := map[string]int{}
			for _, signal := range []string{"traces", "logs"} {
				for key, n := range h.ordersBy(t, signal) {
					got[signal+" order "+key] = n
				}
			}
			for key, n := range h.counts(t, "vendor.calls", "vendor.signal", "vendor.failure.reason") {
				signal, why, _ := strings.Cut(key, "/")
				got[signal+" call "+why] = n
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

// TestConditionsTellVendorsApart: two vendors at one address, and with one label.
func TestConditionsTellVendorsApart(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors = nil
	for _, name := range []string{"visa", "amex"} {
		cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: name, Calls: CallsConfig{
			URLs:       []string{"https://pay.example.com/charge"},
			Logs:       CallLogsConfig{Attributes: map[string][]string{"type": {"pay"}}},
			Conditions: []string{`attributes["card"] == "` + name + `"`},
		}})
	}
	h := start(t, cfg)
	td, ld := ptrace.NewTraces(), plog.NewLogs()
	for card, status := range map[string]int{"visa": 500, "amex": 429, "other": 503} {
		addSpan(td, 1, client, []any{"url.full", "https://pay.example.com/charge", "http.response.status_code", status, "card", card})
		addRecord(ld, map[string]any{"status": status}, "type", "pay", "card", card)
	}
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"traces/visa/error": 1, "traces/amex/throttled": 1, "logs/visa/error": 1, "logs/amex/throttled": 1},
		h.counts(t, "vendor.calls", "vendor.signal", "vendor.name", "vendor.failure.reason"))
}

// TestConditionsOfNoCall: a rule of conditions alone is asked of calls and of lines, and of no span that tells of neither.
func TestConditionsOfNoCall(t *testing.T) {
	cfg := pizzaConfig()
	cfg.ErrorMode = "propagate"
	cfg.Vendors[0].Responses = []ResponseConfig{
		{Conditions: []string{`span.attributes["rpc.grpc.status_code"] == 13`}, Reason: "throttled"},
		{Conditions: []string{`Len(span.attributes["nothing"]) > 1`}, Chaos: true},
	}
	h := start(t, cfg)
	td := ptrace.NewTraces()
	message := func(s ptrace.Span) { s.Events().AppendEmpty().SetName("message") }
	addSpan(td, 1, server, append(orderSpan(500), "rpc.grpc.status_code", 13), message)
	addSpan(td, 1, internal, nil, message, threw("Error", "boom"))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"own_failure/": 1}, h.ordersBy(t, "traces"))
}

// TestErrorMode: a condition that cannot be evaluated is taken as false; error_mode says who hears of it. Nothing of the
// record is told.
func TestErrorMode(t *testing.T) {
	const key = "super-secret-key"
	for _, tc := range []struct {
		mode           string
		lines, refused int
	}{
		{"ignore", 1, 0},
		{"silent", 0, 0},
		{"propagate", 0, 2},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.ErrorMode = tc.mode
			cfg.Orders[0].Conditions = []string{`Len(ParseJSON(log.body)["reqBody"]) > 1`}
			h := start(t, cfg)
			refused := 0
			for range 2 {
				ld := plog.NewLogs()
				addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":7,"resBody":"`+key+`"}`, "type", "http")
				if err := h.logs.ConsumeLogs(context.Background(), ld); err != nil {
					refused++
					assert.True(t, consumererror.IsPermanent(err))
					assert.ErrorContains(t, err, `"Len(ParseJSON(log.body)[\"reqBody\"]) > 1" cannot be evaluated`)
					assert.NotContains(t, err.Error(), key)
				}
			}
			h.shutdown(t)
			assert.Equal(t, tc.refused, refused)
			assert.Len(t, h.lines.AllLogs(), 2-refused)
			assert.Empty(t, h.counts(t, "vendor.orders"))
			assert.Len(t, h.said("cannot be evaluated"), tc.lines)
			for _, e := range h.log.All() {
				assert.NotContains(t, e.Message, key)
				for _, v := range e.ContextMap() {
					assert.NotContains(t, v, key)
				}
			}
			failed := 0
			for _, p := range h.points(t, "otelcol_processor_vendor_failure_condition_errors") {
				failed += int(p.Value)
			}
			assert.GreaterOrEqual(t, failed, 2)
		})
	}
}

// TestConditionErrorsCountOnce: of each span and record, each condition that could not be evaluated counts once: also while
// not all has been seen, and where several URLs and labels lead to the same condition. One that is not asked does not count.
func TestConditionErrorsCountOnce(t *testing.T) {
	const broken, alsoBroken = `Len(attributes["nothing"]) > 1`, `Len(attributes["nothing"]) > 2`
	orderLine := map[string]any{"path": "/api/order", "method": "POST", "statusCode": 500, "resBody": "Failed"}
	ofOrders := func(conditions ...string) func(*Config) {
		return func(cfg *Config) { cfg.Orders[0].Conditions = conditions }
	}
	ofCalls := func(conditions ...string) func(*Config) {
		return func(cfg *Config) { cfg.Vendors[0].Calls.Conditions = conditions }
	}
	ofAnswers := func(cfg *Config) {
		cfg.Vendors[0].Responses = []ResponseConfig{{Contains: "Failed", Conditions: []string{broken}}, {Status: 500, Conditions: []string{alsoBroken}}}
	}
	for _, tc := range []struct {
		name      string
		configure func(*Config)
		spans     func(ptrace.Traces)
		lines     func(plog.Logs)
		want      int
	}{
		{name: "an order's span", configure: ofOrders(broken), spans: func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(500)) }, want: 1},
		{name: "a call's span", configure: ofCalls(broken), spans: func(td ptrace.Traces) { addSpan(td, 1, client, callSpan(500)) }, want: 1},
		{name: "a call's answer", configure: ofAnswers, spans: func(td ptrace.Traces) {
			addSpan(td, 1, client, callSpan(500), threw("Error", "Failed"))
		}, want: 2},
		{name: "an order's line", configure: ofOrders(broken), lines: func(ld plog.Logs) { addRecord(ld, orderLine, "type", "http") }, want: 1},
		{name: "two orders' lines", configure: ofOrders(broken), lines: func(ld plog.Logs) {
			addRecord(ld, orderLine, "type", "http")
			addRecord(ld, orderLine, "type", "http")
		}, want: 2},
		{name: "an order's answer", configure: ofAnswers, lines: func(ld plog.Logs) { addRecord(ld, orderLine, "type", "http") }, want: 1},
		{name: "a call's line", configure: ofCalls(broken), lines: func(ld plog.Logs) { addRecord(ld, map[string]any{"status": 500}, "type", "factory") }, want: 1},
		{name: "the answer in a call's line", configure: ofAnswers, lines: func(ld plog.Logs) {
			addRecord(ld, map[string]any{"status": 500, "resBody": "Failed"}, "type", "factory")
		}, want: 2},
		{name: "of two conditions the first", configure: ofOrders(broken, alsoBroken), lines: func(ld plog.Logs) { addRecord(ld, orderLine, "type", "http") }, want: 1},
		{name: "two URLs of one vendor", configure: func(cfg *Config) {
			ofCalls(broken)(cfg)
			cfg.Vendors[0].Calls.URLs = []string{"http://127.0.0.1:4000/api/order", "http://127.0.0.1:4000/api"}
		}, spans: func(td ptrace.Traces) { addSpan(td, 1, client, callSpan(500)) }, want: 1},
		{name: "vendors of one label, told apart by URL", configure: func(cfg *Config) {
			ofCalls(broken)(cfg)
			for _, name := range []string{"tax", "pay"} {
				second := cfg.Vendors[0]
				second.Name, second.Calls.Conditions = name, []string{"true"}
				cfg.Vendors = append(cfg.Vendors, second)
			}
		}, lines: func(ld plog.Logs) {
			addRecord(ld, map[string]any{"status": 500, "url": "http://127.0.0.1:4000/api/order"}, "type", "factory")
		}, want: 1},
		{name: "a third vendor of one label that is not asked", configure: func(cfg *Config) {
			cfg.Vendors[0].Calls.URLs = nil
			for _, condition := range []string{"true", broken} {
				next := cfg.Vendors[0]
				next.Name, next.Calls.Conditions = condition, []string{condition}
				cfg.Vendors = append(cfg.Vendors, next)
			}
		}, lines: func(ld plog.Logs) {
			addRecord(ld, map[string]any{"status": 500, "url": "https://elsewhere.example.com/"}, "type", "factory")
		}},
		{name: "a second endpoint that is not asked", configure: func(cfg *Config) {
			second := cfg.Orders[0]
			second.Conditions = []string{broken}
			cfg.Orders = append(cfg.Orders, second)
		}, spans: func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(500)) }},
	} {
		for _, mode := range []string{"ignore", "propagate"} {
			t.Run(tc.name+", "+mode, func(t *testing.T) {
				cfg := pizzaConfig()
				cfg.ErrorMode = mode
				tc.configure(cfg)
				h := start(t, cfg)
				refused := false
				if tc.spans != nil {
					td := ptrace.NewTraces()
					tc.spans(td)
					refused = h.traces.ConsumeTraces(context.Background(), td) != nil
				} else {
					ld := plog.NewLogs()
					tc.lines(ld)
					refused = h.logs.ConsumeLogs(context.Background(), ld) != nil
				}
				h.shutdown(t)
				assert.Equal(t, tc.want, h.counts(t, "otelcol_processor_vendor_failure_condition_errors")[""])
				assert.Equal(t, mode == "propagate" && tc.want > 0, refused)
			})
		}
	}
}

// TestOvenIsFullByLines: with the rule of examples/jwt-pizza.yaml, an order of more than 20 pizzas or of none is rejected
// also where only its own line is seen, and opens no outage.
func TestOvenIsFullByLines(t *testing.T) {
	cfg := exampleConfig(t, "jwt-pizza.yaml")
	for _, name := range []string{"oven-full", "db-fail"} {
		t.Run(name, func(t *testing.T) {
			cfg := *cfg // a processor ID of its own
			h := start(t, &cfg)
			r := open(t, name)
			for _, ld := range r.Logs() {
				require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			}
			h.shutdown(t)
			orders := h.ordersBy(t, "logs")
			assert.Equal(t, 4, orders["vendor_failure/rejected"])
			assert.Zero(t, orders["vendor_failure/error"])
			assert.Empty(t, h.said("outage"))
		})
	}
	t.Run("none at all, in bodies of every encoding", func(t *testing.T) {
		cfg := *cfg
		h := start(t, &cfg)
		ld := plog.NewLogs()
		for _, request := range []string{`{"items":[]}`, `"{\"items\":[]}"`} {
			addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":`+request+`,"resBody":{"message":"Failed to fulfill order at factory"}}`, "type", "http")
		}
		addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":{"items":[{"menuId":1}]},"resBody":{"message":"Failed to fulfill order at factory"}}`, "type", "http")
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"vendor_failure/rejected": 2, "vendor_failure/error": 1}, h.ordersBy(t, "logs"))
	})
}

// exampleConfig is the vendor_failure of a shipped example.
func exampleConfig(t testing.TB, name string) *Config {
	all, err := confmaptest.LoadConf(filepath.Join("..", "..", "examples", name))
	require.NoError(t, err)
	conf, err := all.Sub("processors::vendor_failure")
	require.NoError(t, err)
	cfg := newDefaultConfig()
	require.NoError(t, conf.Unmarshal(cfg))
	return cfg
}

// BenchmarkConditions tells what a condition costs those who use one, an operation being one matching span, and that it
// costs a span that matches nothing nothing.
func BenchmarkConditions(b *testing.B) {
	for _, tc := range []struct {
		name       string
		conditions []string
		attributes []any
	}{
		{"matching, none", nil, callSpan(200)},
		{"matching, one", []string{`span.attributes["http.request.method"] == "POST"`}, callSpan(200)},
		{"not matching, none", nil, []any{"http.request.method", "POST", "url.full", "https://api.example.com/v1"}},
		{"not matching, one", []string{`span.attributes["http.request.method"] == "POST"`}, []any{"http.request.method", "POST", "url.full", "https://api.example.com/v1"}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			cfg := pizzaConfig()
			cfg.Vendors[0].Calls.Conditions = tc.conditions
			h := &harness{tel: componenttest.NewTelemetry()}
			h.open(b, NewFactory(), cfg, consumertest.NewNop(), consumertest.NewNop())
			defer h.shutdown(b)
			td := ptrace.NewTraces()
			for range unmatchedBatch {
				addSpan(td, 1, client, tc.attributes)
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
