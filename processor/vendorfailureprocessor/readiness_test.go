package vendorfailureprocessor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// TestRecordsByRole: every span and record counts as what it was taken as, and all series are there from the start.
func TestRecordsByRole(t *testing.T) {
	h := start(t, pizzaConfig())
	assert.Len(t, h.points(t, "vendor.records"), 6, "two signals, three roles, before anything came")
	assert.Empty(t, h.counts(t, "vendor.records"))

	h.replay(t, open(t, "healthy"))
	h.shutdown(t)
	assert.Equal(t, map[string]int{
		"traces/order": 72, "traces/call": 60, "traces/other": h.spans.SpanCount() - 132,
		"logs/order": 72, "logs/call": 60, "logs/other": h.lines.LogRecordCount() - 132,
	}, h.counts(t, "vendor.records", "vendor.signal", "vendor.role"))
}

// TestRefusedRecordsDoNotCount: what the next consumer refuses will come again.
func TestRefusedRecordsDoNotCount(t *testing.T) {
	refuse := errors.New("try again")
	h := &harness{tel: componenttest.NewTelemetry()}
	noTraces, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error { return refuse })
	require.NoError(t, err)
	noLogs, err := consumer.NewLogs(func(context.Context, plog.Logs) error { return refuse })
	require.NoError(t, err)
	h.open(t, NewFactory(), pizzaConfig(), noTraces, noLogs)
	defer h.shutdown(t)
	td, ld := ptrace.NewTraces(), plog.NewLogs()
	addSpan(td, 1, server, orderSpan(200))
	addRecord(ld, "x")
	require.ErrorIs(t, h.traces.ConsumeTraces(context.Background(), td), refuse)
	require.ErrorIs(t, h.logs.ConsumeLogs(context.Background(), ld), refuse)
	h.tell()
	assert.Empty(t, h.counts(t, "vendor.records"))
}

// TestRecordsAreTold: what passed is told soon, the last of it at Shutdown, and each record once. So it is where no order
// waits.
func TestRecordsAreTold(t *testing.T) {
	for _, settle := range []time.Duration{0, time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.Settle = settle
			h := start(t, cfg)
			send := func() {
				td, ld := ptrace.NewTraces(), plog.NewLogs()
				addSpan(td, 1, server, orderSpan(200))
				addRecord(ld, "x")
				require.NoError(t, h.traces.ConsumeTraces(t.Context(), td))
				require.NoError(t, h.logs.ConsumeLogs(t.Context(), ld))
			}
			for n := 1; n <= 2; n++ {
				send()
				time.Sleep(tellEvery)
				synctest.Wait()
				assert.Equal(t, map[string]int{"traces/order": n, "logs/other": n}, h.counts(t, "vendor.records", "vendor.signal", "vendor.role"))
			}
			send()
			h.shutdown(t)
			assert.Equal(t, map[string]int{"traces/order": 3, "logs/other": 3}, h.counts(t, "vendor.records", "vendor.signal", "vendor.role"))
		})
	}
}

// unseen are the lines so far that tell what has not been seen.
func (h *harness) unseen() []observer.LoggedEntry {
	return h.log.Filter(func(e observer.LoggedEntry) bool { return e.ContextMap()["cause"] != nil }).All()
}

// missing are those lines as "signal endpoint-or-vendor cause".
func (h *harness) missing() (lines []string) {
	for _, e := range h.unseen() {
		f := e.ContextMap()
		line := fmt.Sprint(f["vendor.signal"])
		for _, name := range []string{"endpoint", "vendor.name", "cause"} {
			if v, ok := f[name]; ok {
				line += " " + fmt.Sprint(v)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// eachBody changes the bodies of all log records.
func eachBody(requests []plog.Logs, change func(body string) string) {
	for _, ld := range requests {
		eachRecord(ld, func(r plog.LogRecord) {
			if body := r.Body(); body.Type() == pcommon.ValueTypeStr {
				body.SetStr(change(body.Str()))
			}
		})
	}
}

// renamed changes the text of log bodies.
func renamed(oldnew ...string) func(*[]ptrace.Traces, *[]plog.Logs) {
	replacer := strings.NewReplacer(oldnew...)
	return func(_ *[]ptrace.Traces, lines *[]plog.Logs) { eachBody(*lines, replacer.Replace) }
}

// cutAt cuts log bodies off as a shipper with a limit does.
func cutAt(limit int) func(*[]ptrace.Traces, *[]plog.Logs) {
	return func(_ *[]ptrace.Traces, lines *[]plog.Logs) {
		eachBody(*lines, func(body string) string { return body[:min(limit, len(body))] })
	}
}

// TestMisWired: real telemetry and one thing wrong with the wiring. The likeliest cause of it is told, and no other.
func TestMisWired(t *testing.T) {
	const order, factory = "POST /api/order", "pizza-factory"
	urls := func(urls ...string) func(*Config) {
		return func(cfg *Config) { cfg.Vendors[0].Calls.URLs = urls }
	}
	orderLabel := func(name string, values ...string) func(*Config) {
		return func(cfg *Config) { cfg.Orders[0].Logs.Attributes = map[string][]string{name: values} }
	}
	callLabel := func(name string, values ...string) func(*Config) {
		return func(cfg *Config) { cfg.Vendors[0].Calls.Logs.Attributes = map[string][]string{name: values} }
	}
	requestHas := func(fields ...string) func(*Config) {
		return func(cfg *Config) { cfg.Orders[0].Logs.RequestHas = fields }
	}
	route := func(route string) func(*Config) {
		return func(cfg *Config) { cfg.Orders[0].Route = route }
	}
	opened := map[string]*recording.Recording{}
	// Express writes "/" for whatever a router is mounted at.
	rootPaths := renamed(`"path":"/api/order"`, `"path":"/"`, `"path":"/api/auth"`, `"path":"/"`)
	for _, tc := range []struct {
		name      string
		recording string // healthy unless given
		configure func(*Config)
		change    func(*[]ptrace.Traces, *[]plog.Logs)
		want      []string
		says      string // in the first line
	}{
		{name: "right"},
		{name: "right, OTLP logs", recording: "otlp-logs"},
		{name: "right, in an incident", recording: "incident"},
		{name: "right, paths / and request_has", change: rootPaths},
		{name: "right, one of many vendors' hosts", configure: urls("https://api.example.com", "http://127.0.0.1:4000/api/order")},
		{name: "right, a host below", configure: urls("*.0.0.1:4000/api/order")},
		{name: "right, with no URLs", configure: urls()},
		{name: "right, with no label of calls", configure: func(cfg *Config) { cfg.Vendors[0].Calls.Logs.Attributes = nil }},

		{
			name:   "no logs",
			change: func(_ *[]ptrace.Traces, lines *[]plog.Logs) { *lines = nil },
			want:   []string{"logs no_records"},
			says:   "service::pipelines",
		},
		{
			name:   "no traces",
			change: func(spans *[]ptrace.Traces, _ *[]plog.Logs) { *spans = nil },
			want:   []string{"traces no_records"},
		},
		{
			name:   "nothing at all",
			change: func(spans *[]ptrace.Traces, lines *[]plog.Logs) { *spans, *lines = nil, nil },
			want:   []string{"traces no_records", "logs no_records"},
		},
		{
			name:   "empty requests",
			change: func(spans *[]ptrace.Traces, _ *[]plog.Logs) { *spans = []ptrace.Traces{ptrace.NewTraces()} },
			want:   []string{"traces no_records"},
		},

		// Labels.
		{
			name:      "wrong value of the orders' label",
			configure: orderLabel("type", "served", "served-request"),
			want:      []string{"logs " + order + " no_label"},
			says:      "type=served|served-request; set orders[0].logs.attributes",
		},
		{
			name:      "wrong name of the orders' label",
			configure: orderLabel("category", "http"),
			want:      []string{"logs " + order + " no_label"},
			says:      "category=http",
		},
		{
			name: "wrong value of the orders' second label",
			configure: func(cfg *Config) {
				cfg.Orders[0].Logs.Attributes["component"] = []string{"another-service"}
			},
			want: []string{"logs " + order + " no_label"},
			says: "component=another-service, type=http|",
		},
		{
			name:      "wrong value of the calls' label",
			configure: callLabel("type", "vendor"),
			want:      []string{"logs " + factory + " no_label"},
			says:      "type=vendor; set vendors[0].calls.logs.attributes",
		},
		{
			name:      "refused calls are not logged",
			recording: "factory-refused",
			want:      []string{"logs " + factory + " no_label"},
		},
		{
			name:   "responses renamed",
			change: renamed(`"resBody":`, `"answer":`),
			want:   []string{"logs " + factory + " no_answer"},
			says:   "vendors[0].calls.logs.attributes",
		},
		{
			name: "two vendors share a label, and no line tells the URL",
			configure: func(cfg *Config) {
				second := cfg.Vendors[0]
				second.Name, second.Calls.URLs = "second", nil
				cfg.Vendors = append(cfg.Vendors, second)
			},
			want: []string{"logs " + factory + " no_url", "logs second no_url"},
			says: "vendors[0].calls.logs.attributes",
		},

		// Paths and requests.
		{
			name:      "wrong route",
			configure: route("/order"),
			want:      []string{"traces POST /order no_route", "logs POST /order no_path"},
			says:      "set orders[0].route",
		},
		{
			name:      "wrong route, OTLP logs",
			recording: "otlp-logs",
			configure: route("/api/orders/{id}"),
			want:      []string{"traces POST /api/orders/{id} no_route", "logs POST /api/orders/{id} no_path"},
		},
		{
			name:      "wrong method",
			configure: func(cfg *Config) { cfg.Orders[0].Method = "PATCH" },
			want:      []string{"traces PATCH /api/order no_method", "logs PATCH /api/order no_method"},
			says:      "set orders[0].method",
		},
		{
			name: "conditions that never hold",
			configure: func(cfg *Config) {
				cfg.Orders[0].Conditions = []string{`attributes["tenant"] == "pizza"`}
				cfg.Vendors[0].Calls.Conditions = []string{`attributes["tenant"] == "pizza"`}
			},
			want: []string{
				"traces " + order + " no_condition", "traces " + factory + " no_condition",
				"logs " + order + " no_condition", "logs " + factory + " no_condition",
			},
			says: "orders[0].conditions hold of none of it",
		},
		{
			name:      "paths / without request_has",
			configure: requestHas(),
			change:    rootPaths,
			want:      []string{"logs " + order + " root_path"},
			says:      "set orders[0].logs.request_has",
		},
		{
			name:      "no paths and no request_has",
			configure: requestHas(),
			change:    renamed(`"path":`, `"route":`),
			want:      []string{"logs " + order + " root_path"},
		},
		{
			name:      "paths / and a request_has that no request has",
			configure: requestHas("items", "pizzas"),
			change:    rootPaths,
			want:      []string{"logs " + order + " no_request_has"},
			says:      "orders[0].logs.request_has",
		},
		{
			name: "two endpoints, one of which nobody uses",
			configure: func(cfg *Config) {
				cfg.Orders = append(cfg.Orders, OrderConfig{Method: "POST", Route: "/api/gift"})
			},
			want: []string{"traces POST /api/gift no_route", "logs POST /api/gift no_path"},
		},

		// Statuses and responses.
		{
			name:   "status renamed",
			change: renamed(`"statusCode":`, `"resultCode":`),
			want:   []string{"logs " + order + " no_status"},
			says:   "statusCode",
		},
		{
			name: "bodies cut off in the middle",
			change: func(_ *[]ptrace.Traces, lines *[]plog.Logs) {
				eachBody(*lines, func(body string) string { return body[:len(body)/2] })
			},
			want: []string{"logs " + order + " unreadable", "logs " + factory + " unreadable"},
			says: "cut off in the middle",
		},
		{name: "bodies cut off in the method", change: cutAt(50), want: []string{"logs " + order + " unreadable", "logs " + factory + " unreadable"}},
		{name: "bodies cut off before the path", change: cutAt(20), want: []string{"logs " + order + " unreadable", "logs " + factory + " unreadable"}},
		{name: "bodies cut off so that only refusals are whole", change: cutAt(450), want: []string{"logs " + order + " unreadable", "logs " + factory + " unreadable"}},
		{
			name:      "responses cut off in the middle, OTLP logs",
			recording: "otlp-logs",
			change: func(_ *[]ptrace.Traces, lines *[]plog.Logs) {
				for _, ld := range *lines {
					eachRecord(ld, func(r plog.LogRecord) {
						if v, ok := r.Attributes().Get("resBody"); ok && v.Type() == pcommon.ValueTypeStr {
							v.SetStr(v.Str()[:len(v.Str())/2])
						}
					})
				}
			},
			want: []string{"logs " + order + " unreadable", "logs " + factory + " unreadable"},
		},

		// Where calls go.
		{
			name:      "wrong port",
			configure: urls("http://127.0.0.1:4444/api/order"),
			want:      []string{"traces " + factory + " wrong_port"},
			says:      "no CLIENT span goes to 127.0.0.1:4444, but some go to another port of that host (seen: 127.0.0.1:4000); set the port in vendors[0].calls.urls",
		},
		{
			name:      "wrong scheme, and so the port",
			configure: urls("https://127.0.0.1/api/order"),
			want:      []string{"traces " + factory + " wrong_port"},
			says:      "(seen: 127.0.0.1:4000)",
		},
		{
			name:      "the port of something else",
			configure: urls("http://127.0.0.1:3500/api/order"),
			want:      []string{"traces " + factory + " wrong_port"},
			says:      "(seen: 127.0.0.1:4000)",
		},
		{
			name:      "wrong port below a domain",
			configure: urls("*.0.0.1:4444/api/order"),
			want:      []string{"traces " + factory + " wrong_port"},
			says:      "(seen: *.0.0.1:4000)",
		},
		{
			name:      "wrong port, any path",
			configure: urls("http://127.0.0.1:4444"),
			want:      []string{"traces " + factory + " wrong_port"},
			says:      "127.0.0.1:4000",
		},
		{
			name:      "wrong path",
			configure: urls("http://127.0.0.1:4000/api/v2/order"),
			want:      []string{"traces " + factory + " wrong_path"},
			says:      "(seen: /api/order)",
		},
		{
			name:      "wrong host",
			configure: urls("https://pizza-factory.cs329.click/api/order", "*.example.com:8443"),
			want:      []string{"traces " + factory + " no_host"},
			says:      "no CLIENT span goes to pizza-factory.cs329.click:443, *.example.com:8443; set vendors[0].calls.urls",
		},
		{
			name: "the port of another vendor",
			configure: func(cfg *Config) {
				cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: "second", Calls: CallsConfig{URLs: []string{"http://127.0.0.1:4000/api/menu"}}})
			},
			want: []string{"traces second wrong_path"},
		},
		{
			name: "several things at once",
			configure: func(cfg *Config) {
				urls("http://127.0.0.1:4444/api/order")(cfg)
				callLabel("type", "vendor")(cfg)
				route("/order")(cfg)
			},
			want: []string{"traces POST /order no_route", "traces " + factory + " wrong_port", "logs POST /order no_path", "logs " + factory + " no_label"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := cmp.Or(tc.recording, "healthy")
			if opened[name] == nil {
				opened[name] = open(t, name)
			}
			r := opened[name]
			spans, lines := r.Traces(), r.Logs()
			if tc.change != nil {
				tc.change(&spans, &lines)
			}
			cfg := pizzaConfig()
			if tc.configure != nil {
				tc.configure(cfg)
			}
			synctest.Test(t, func(t *testing.T) {
				h := start(t, cfg)
				for _, td := range spans {
					require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
				}
				for _, ld := range lines {
					require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
				}
				time.Sleep(firstReport - time.Second)
				assert.Empty(t, h.missing(), "not yet")
				time.Sleep(2 * time.Second)
				h.shutdown(t)
				assert.Equal(t, tc.want, h.missing())
				assert.Len(t, h.said("has been seen in each signal"), 1-min(len(tc.want), 1))
				if tc.says != "" {
					assert.Contains(t, h.unseen()[0].Message, tc.says)
				}
			})
		})
	}
}

// TestMissingIsToldAgain: hourly, until it has been seen; then that all has, and nothing more.
func TestMissingIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, pizzaConfig())
		send := func(spans ...[]any) {
			td := ptrace.NewTraces()
			for _, attributes := range spans {
				addSpan(td, 1, client, attributes)
				addSpan(td, 1, server, attributes)
			}
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			ld := plog.NewLogs()
			addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{}"}`, "type", "http")
			addRecord(ld, `{"resBody":"{}"}`, "type", "factory")
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		}
		told := func() (lines []string) {
			synctest.Wait()
			lines = h.missing()
			h.log.TakeAll()
			return lines
		}
		noRoute, noHost := "traces POST /api/order no_route", "traces pizza-factory no_host"
		send([]any{"url.path", "/"})
		time.Sleep(firstReport)
		assert.Equal(t, []string{noRoute, noHost}, told())
		time.Sleep(reportEvery - time.Second)
		assert.Empty(t, told())
		time.Sleep(time.Second)
		assert.Equal(t, []string{noRoute, noHost}, told())
		send(orderSpan(200))
		time.Sleep(reportEvery)
		assert.Equal(t, []string{noHost}, told(), "the order has been seen since")
		send(callSpan(200))
		time.Sleep(reportEvery)
		synctest.Wait()
		assert.Len(t, h.said("every configured vendor and order endpoint has been seen"), 1)
		assert.Empty(t, told())
		time.Sleep(100 * reportEvery)
		assert.Empty(t, told())
		assert.Empty(t, h.log.All())
		h.shutdown(t)
	})
}

// TestSilentSignal: a signal that does not flow is told once, for many shops have only one; where none flows, again
// and again.
func TestSilentSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, pizzaConfig())
		time.Sleep(firstReport + reportEvery + time.Second)
		none := []string{"traces no_records", "logs no_records"}
		assert.Equal(t, slices.Concat(none, none), h.missing())
		h.log.TakeAll()

		ld := plog.NewLogs()
		addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200}`, "type", "http")
		addRecord(ld, `{"resBody":"{}"}`, "type", "factory")
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		time.Sleep(10 * reportEvery)
		assert.Empty(t, h.log.All(), "traces were told")

		td := ptrace.NewTraces()
		addSpan(td, 1, server, orderSpan(200))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		time.Sleep(reportEvery)
		assert.Equal(t, []string{"traces pizza-factory no_host"}, h.missing(), "now they flow")
		h.shutdown(t)
	})
}

// TestOneSignalAlone: where the processor is in one pipeline only, nothing is expected of the other signal.
func TestOneSignalAlone(t *testing.T) {
	for _, tc := range []struct {
		name         string
		traces, logs bool
		want         []string
	}{
		{"traces", true, false, []string{"traces no_records"}},
		{"logs", false, true, []string{"logs no_records"}},
		{"both", true, true, []string{"traces no_records", "logs no_records"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, log := observer.New(zap.DebugLevel)
				h, set := &harness{log: log}, processortest.NewNopSettings(metadata.Type)
				set.Logger = zap.New(core)
				f, cfg, ctx := NewFactory(), pizzaConfig(), context.Background()
				// Both are created, as `validate` does; what counts is what is started.
				traces, err := f.CreateTraces(ctx, set, cfg, consumertest.NewNop())
				require.NoError(t, err)
				logs, err := f.CreateLogs(ctx, set, cfg, consumertest.NewNop())
				require.NoError(t, err)
				if tc.traces {
					require.NoError(t, traces.Start(ctx, componenttest.NewNopHost()))
				}
				if tc.logs {
					require.NoError(t, logs.Start(ctx, componenttest.NewNopHost()))
				}
				time.Sleep(firstReport + time.Second)
				require.NoError(t, traces.Shutdown(ctx))
				require.NoError(t, logs.Shutdown(ctx))
				assert.Equal(t, tc.want, h.missing())
			})
		})
	}
}

// TestMissingTellsNoSecret: of what was seen, only a configured host's port and such words of a path are told as the
// configuration has too.
func TestMissingTellsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Vendors[0].Calls.URLs = []string{"https://*.example.com/services/T0CANARY/hook"}
		cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: "second", Calls: CallsConfig{URLs: []string{"https://second.example.org/hook"}}})
		h := start(t, cfg)
		td, ld := ptrace.NewTraces(), plog.NewLogs()
		for _, url := range []string{
			"https://user:CANARY@a.example.com/api/support/vendorkey123canary/report/x?token=CANARY",
			"https://a.example.com/api/users/canary/order",
			"https://canary.example.com/CANARY", "https://canary.example.com/canary",
			"https://b.example.com/v1/order?canary#canary", "https://b.example.com/services/T0CANARY/order",
			"https://b.example.com/more", "https://b.example.com/than/four",
			"https://second.example.org:8443/canary?canary",
		} {
			addSpan(td, 1, client, []any{"http.request.method", "POST", "url.full", url})
		}
		addSpan(td, 1, server, []any{"http.request.method", "POST", "url.path", "/canary"})
		addRecord(ld, `{"path":"/canary","method":"POST","resBody":"canary"}`, "type", "http")
		addRecord(ld, `{"reqBody":"canary"}`, "type", "factory")
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		time.Sleep(firstReport + time.Second)
		h.shutdown(t)
		assert.Equal(t, []string{
			"traces POST /api/order no_route", "traces pizza-factory wrong_path", "traces second wrong_port",
			"logs POST /api/order no_path", "logs pizza-factory no_answer",
		}, h.missing())
		for _, e := range h.log.All() {
			assert.NotContains(t, strings.ToLower(fmt.Sprint(e.Message, e.ContextMap())), "canary")
		}
		assert.Contains(t, h.unseen()[1].Message, "(seen: /api/…, /api/…/order, /…, /v1/order)")
		assert.Contains(t, h.unseen()[2].Message, "(seen: second.example.org:8443)")
	})
}

// TestNearlyAtTheRoot: what lines with the path "/" lack is told by their method and by the route.
func TestNearlyAtTheRoot(t *testing.T) {
	for _, tc := range []struct{ name, route, path, method, want string }{
		{"the router's root, the order's method", "/api/order", "/", "POST", "root_path"},
		{"the router's root, another method", "/api/order", "/", "GET", "no_path"},
		{"orders at the root, another method", "/", "/", "GET", "no_method"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pizzaConfig()
				cfg.Orders[0].Route, cfg.Orders[0].Logs.RequestHas = tc.route, nil
				h := start(t, cfg)
				ld := plog.NewLogs()
				addRecord(ld, fmt.Sprintf(`{"path":%q,"method":%q,"statusCode":200,"resBody":"{}"}`, tc.path, tc.method), "type", "http")
				require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
				time.Sleep(firstReport + time.Second)
				h.shutdown(t)
				assert.Contains(t, h.missing(), "logs POST "+tc.route+" "+tc.want)
			})
		})
	}
}

// TestAnotherVendorsCallsAreNoHint: calls to another vendor of the same host are not told as what may have been meant.
func TestAnotherVendorsCallsAreNoHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: "second", Calls: CallsConfig{URLs: []string{"http://127.0.0.1:4000/second", "http://127.0.0.1:4000/other"}}})
		h := start(t, cfg)
		td := ptrace.NewTraces()
		addSpan(td, 1, client, callSpan(200))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		time.Sleep(firstReport + time.Second)
		h.shutdown(t)
		assert.Contains(t, h.missing(), "traces second wrong_path")
		for _, e := range h.unseen() {
			assert.NotContains(t, e.Message, "(seen")
			assert.NotContains(t, e.Message, "127.0.0.1:4000, 127.0.0.1:4000", "one host of two URLs")
		}
	})
}

// TestNearlyAProcedure: of a remote procedure call the path is told by its service and method.
func TestNearlyAProcedure(t *testing.T) {
	for _, tc := range []struct{ name, url, condition, want string }{
		{"another method", "https://tax.example.com/prices/for", "true", "traces tax wrong_path"},
		{"the service, another condition", "https://tax.example.com/prices", "false", "traces tax no_condition"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pizzaConfig()
				cfg.Vendors[0] = VendorConfig{Name: "tax", Calls: CallsConfig{URLs: []string{tc.url}, Conditions: []string{tc.condition}}}
				h := start(t, cfg)
				td := ptrace.NewTraces()
				addSpan(td, 1, client, []any{"rpc.system", "grpc", "rpc.service", "prices", "rpc.method", "of", "server.address", "tax.example.com", "server.port", 443})
				require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
				time.Sleep(firstReport + time.Second)
				h.shutdown(t)
				require.Contains(t, h.missing(), tc.want)
				for _, e := range h.unseen() {
					if e.ContextMap()["cause"] == "wrong_path" {
						assert.Contains(t, e.Message, "(seen: /prices/…)")
					}
				}
			})
		})
	}
}

// TestOrdersAreNoCalls: where both have one label, an order's line shows nothing of the vendor's calls.
func TestOrdersAreNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pizzaConfig()
		cfg.Vendors[0].Calls.Logs.Attributes = defaultOrderLogs
		h := start(t, cfg)
		ld := plog.NewLogs()
		addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"`+goodJWT+`\"}"}`, "type", "http")
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		time.Sleep(firstReport + time.Second)
		h.shutdown(t)
		assert.Equal(t, []string{"traces no_records", "logs pizza-factory no_url"}, h.missing())
	})
}

// TestToldPath: of a path those segments are told that are words of the configuration, and versions. Any other may be an
// id, a name or a key; how many of them there are in a row does not matter.
func TestToldPath(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Orders = append(cfg.Orders, OrderConfig{Route: "/shops/{id}/gift-order/"})
	cfg.Vendors[0].Calls.URLs = []string{"http://factory.example.com/api/order", "https://hooks.example.com/services/T0CANARY/oauth2", "https://hooks.example.com/abcdefghijklmnopqrstu/gift_card"}
	words := newWords(cfg)
	for _, tc := range []struct{ path, want string }{
		{"/api/order", "/api/order"},
		{"/api/v2/order", "/api/v2/order"},
		{"/order", "/order"},
		{"/rest/api/order", "/…/api/order"},
		{"/users/alice/orders", "/…"},
		{"/users/alice/order", "/…/order"},
		{"/api/alice/order/bob", "/api/…/order/…"},
		{"/shops/7/gift-order", "/shops/…/gift-order"},
		{"/shops/{id}/gift-order", "/shops/…/gift-order"},
		{"/services/T0CANARY/oauth2", "/services/…"},
		{"/abcdefghijklmnopqrstu/gift_card", "/…/gift_card"},
		{"/API/order", "/…/order"},
		{"/v10/v1beta/v0", "/…/v0"},
		{"/api//order", "/api/…/order"},
		{"", "/"},
		{"/", "/"},
		{"//", "/…"},
		{"*", "/…"},
		{"/api/x/api/x/api/x/api/x", "/api/…/api/…/api/…/api/…"},
		{"/api/x/api/x/api/x/api/api", "/api/…/api/…/api/…/api/api"},
		{"/api/x/api/x/api/x/api/api/order", "/api/…/api/…/api/…/api/…"},
	} {
		assert.Equal(t, tc.want, words.text(words.told(tc.path)), tc.path)
	}
	for n := range 1 << 16 {
		words.add(fmt.Sprint("word", n))
	}
	assert.Equal(t, "/word1/…", words.text(words.told("/word1/word65535")), "more words than there can be")
	path := "/users/alice/order"
	assert.Zero(t, testing.AllocsPerRun(100, func() { words.told(path) }))
}

// TestPlaces: places are told with the sight they belong to, each once.
func TestPlaces(t *testing.T) {
	words := newWords(pizzaConfig())
	sub := &subject{unseen: new(atomic.Int32), words: words}
	for _, path := range []string{"/api/1", "/api/2/3", "/order"} {
		sub.sawAt(sightHostPort, &place{path: words.told(path)})
	}
	assert.Equal(t, " (seen: /api/…, /order)", sub.seenAt(sightHostPort))
	sub.saw(sightHostPath)
	assert.Empty(t, sub.seenAt(sightHostPath), "where it went is not known")
}

// TestBegins: a method that was cut off is told from another one.
func TestBegins(t *testing.T) {
	for beginning, want := range map[string]bool{"": true, "P": true, "pos": true, "PUT": false, "GET": false, "POST": false, "POSTS": false} {
		assert.Equal(t, want, begins("POST", beginning), beginning)
	}
}

// TestShutdownBeforeTheReport: nothing is said then, and nothing is left running.
func TestShutdownBeforeTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, pizzaConfig())
		time.Sleep(firstReport / 2)
		h.shutdown(t)
		time.Sleep(10 * reportEvery)
		assert.Empty(t, h.log.All())
	})
}
