package vendorfailureprocessor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// discoveringConfig has no vendor at all: each is to be discovered.
func discoveringConfig(exclude ...string) *Config {
	cfg := pizzaConfig()
	cfg.Vendors = nil
	cfg.Discover = &DiscoverConfig{MaxVendors: 32, Exclude: exclude}
	return cfg
}

// TestStrangerName: which CLIENT spans of an order's trace went to a third party, and what it is called.
func TestStrangerName(t *testing.T) {
	for _, tc := range []struct {
		name       string
		attributes []any
		want       string // "" is no vendor
	}{
		{"by host", []any{"url.full", "https://api.pay.example.com/v1/charges?key=x"}, "api.pay.example.com"},
		{"by host, old convention", []any{"http.url", "http://API.pay.example.com.:8443/v1"}, "api.pay.example.com"},
		{"by address alone", []any{"server.address", "api.pay.example.com", "server.port", 443}, "api.pay.example.com"},
		{"gRPC", []any{"rpc.system", "grpc", "server.address", "tax.example.com", "rpc.method", "Quote"}, "tax.example.com"},
		{"its peer's name", []any{"url.full", "https://eu-1.pay.example.com/v1", "service.peer.name", "payments"}, "payments"},
		{"its peer's old name", []any{"url.full", "https://eu-1.pay.example.com/v1", "peer.service", "payments"}, "payments"},
		{"the new name of the peer first", []any{"peer.service", "old", "url.full", "https://eu-1.pay.example.com/v1", "service.peer.name", "new"}, "new"},
		{"a peer that has parts has no name", []any{"url.full", "https://eu-1.pay.example.com/v1", "service.peer.name", map[string]any{"user": "a@example.com"}, "peer.service", []any{"a@example.com"}}, "eu-1.pay.example.com"},
		{"a public address", []any{"url.full", "https://203.0.114.7/v1"}, "203.0.114.7"},
		{"a public address, IPv6", []any{"url.full", "https://[2606:4700::1111]/v1"}, "2606:4700::1111"},
		{"digits in a name", []any{"url.full", "https://10.0.0.1.example.com/"}, "10.0.0.1.example.com"},

		{"localhost", []any{"url.full", "http://localhost:3000/"}, ""},
		{"below localhost", []any{"url.full", "http://api.localhost:3000/"}, ""},
		{"loopback", []any{"url.full", "http://127.0.0.53/"}, ""},
		{"loopback, IPv6", []any{"url.full", "http://[::1]:80/"}, ""},
		{"private, 10/8", []any{"url.full", "http://10.1.2.3/"}, ""},
		{"private, 172.16/12", []any{"url.full", "http://172.31.0.1/"}, ""},
		{"private, 192.168/16", []any{"url.full", "http://192.168.1.1/"}, ""},
		{"private, IPv6", []any{"url.full", "http://[fd00::1]/"}, ""},
		{"private, written as IPv6", []any{"url.full", "http://[::ffff:10.0.0.1]/"}, ""},
		{"behind a provider's NAT", []any{"url.full", "http://100.64.1.1/"}, ""},
		{"link-local: a cloud's metadata", []any{"url.full", "http://169.254.169.254/latest"}, ""},
		{"link-local, IPv6", []any{"url.full", "http://[fe80::1]/"}, ""},
		{"multicast", []any{"url.full", "http://224.0.0.1/"}, ""},
		{".internal", []any{"url.full", "http://metadata.google.internal/"}, ""},
		{".local", []any{"url.full", "http://menu.shop.svc.cluster.local/"}, ""},
		{".svc", []any{"url.full", "http://menu.shop.svc:8080/"}, ""},
		{"a single label", []any{"url.full", "http://menu:8080/"}, ""},
		{"internal, whatever its peer's name", []any{"url.full", "http://menu:8080/", "peer.service", "menu"}, ""},
		{"a database", []any{"server.address", "db.example.com", "db.system.name", "mysql"}, ""},
		{"a database by HTTP", []any{"url.full", "https://search.example.com/_search", "db.system", "elasticsearch"}, ""},
		{"a queue", []any{"url.full", "https://sqs.us-east-1.amazonaws.com/", "messaging.system", "aws_sqs"}, ""},
		{"excluded below", []any{"url.full", "https://storage.googleapis.com/x"}, ""},
		{"the excluded domain itself is not below it", []any{"url.full", "https://googleapis.com/x"}, "googleapis.com"},
		{"excluded by host", []any{"url.full", "https://logs.example.com/loki/api/v1/push"}, ""},
		{"excluded by its peer's name", []any{"url.full", "https://eu-1.example.com/", "peer.service", "Tracing"}, ""},
		{"a socket", []any{"server.address", "/var/run/docker.sock"}, ""},
		{"a private address and port", []any{"server.address", "10.0.0.5:8080", "url.path", "/"}, ""},
		{"a private address of gRPC", []any{"server.address", "ipv4:10.0.0.5:50051", "rpc.method", "a.B/C"}, ""},
		{"an internal name and port", []any{"net.peer.name", "menu.shop.svc.cluster.local:50051", "rpc.method", "a.B/C"}, ""},
		{"a public name and port", []any{"server.address", "dns:///tax.example.com:443", "rpc.method", "a.B/C"}, "tax.example.com"},
		{"a single label that ends in a digit", []any{"url.full", "http://node7:8080/"}, ""},
		{"no address", []any{"peer.service", "payments"}, ""},
		{"the name that stands for the rest", []any{"url.full", "https://a.example.com/", "peer.service", "_other"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, discoveringConfig("*.googleapis.com", "Logs.example.com", "tracing"))
			td := ptrace.NewTraces()
			addSpan(td, 1, client, tc.attributes)
			addSpan(td, 1, server, orderSpan(200))
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			want := map[string]int{}
			if tc.want != "" {
				want[tc.want] = 1
			}
			assert.Equal(t, want, h.counts(t, "vendor.calls", "vendor.name"))
		})
	}
}

// TestDiscovery: calls of orders to third parties count and are to blame, in whatever order and requests the spans of a
// trace come; calls that were made for no order do not.
func TestDiscovery(t *testing.T) {
	pay := func(status int) []any {
		return []any{"url.full", "https://pay.example.com/charge", "http.request.method", "POST", "http.response.status_code", status}
	}
	tax := func(status int) []any {
		return []any{"url.full", "https://tax.example.com/quote", "http.request.method", "POST", "http.response.status_code", status}
	}
	for _, tc := range []struct {
		name          string
		parts         []func(ptrace.Traces)
		orders, calls map[string]int
	}{
		{"a call that went well", []func(ptrace.Traces){
			func(td ptrace.Traces) { addSpan(td, 1, client, pay(200)) },
			func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(200)) },
		}, map[string]int{"success/": 1}, map[string]int{"pay.example.com/": 1}},
		{"a call that failed", []func(ptrace.Traces){
			func(td ptrace.Traces) { addSpan(td, 1, client, pay(429)) },
			func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(500)) },
		}, map[string]int{"vendor_failure/pay.example.com/throttled": 1}, map[string]int{"pay.example.com/throttled": 1}},
		{"one of two failed", []func(ptrace.Traces){
			func(td ptrace.Traces) { addSpan(td, 1, client, pay(200)) },
			func(td ptrace.Traces) { addSpan(td, 1, client, tax(503)) },
			func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(500)) },
		}, map[string]int{"vendor_failure/tax.example.com/error": 1}, map[string]int{"pay.example.com/": 1, "tax.example.com/error": 1}},
		{"another trace's call", []func(ptrace.Traces){
			func(td ptrace.Traces) { addSpan(td, 2, client, pay(500)) },
			func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(500)) },
		}, map[string]int{"own_failure/": 1}, map[string]int{}},
		{"no trace id", []func(ptrace.Traces){
			func(td ptrace.Traces) { addSpan(td, 0, client, pay(500)) },
			func(td ptrace.Traces) { addSpan(td, 0, server, orderSpan(500)) },
		}, map[string]int{"own_failure/": 1}, map[string]int{}},
		{"a call of another endpoint's trace", []func(ptrace.Traces){
			func(td ptrace.Traces) { addSpan(td, 1, client, pay(500)) },
			func(td ptrace.Traces) {
				addSpan(td, 1, server, []any{"http.request.method", "GET", "http.route", "/api/menu", "http.response.status_code", 500})
			},
		}, map[string]int{}, map[string]int{}},
		{"a test order's log-in at the shop itself, in the trace of its order", []func(ptrace.Traces){
			func(td ptrace.Traces) {
				addSpan(td, 1, client, []any{"url.full", "https://shop.example.com/api/auth", "http.request.method", "PUT", "http.response.status_code", 500,
					"probe.step", "login", "user_agent.synthetic.type", "test"})
			},
			func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(500)) },
		}, map[string]int{"own_failure/": 1}, map[string]int{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, how := range permutations(len(tc.parts)) {
				for _, whole := range []bool{true, false} {
					h := start(t, discoveringConfig())
					td := ptrace.NewTraces()
					for _, i := range how {
						tc.parts[i](td)
						if !whole {
							require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
							td = ptrace.NewTraces()
						}
					}
					require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
					h.shutdown(t)
					assert.Equal(t, tc.calls, h.counts(t, "vendor.calls", "vendor.name", "vendor.failure.reason"), "%v, whole: %v", how, whole)
					orders := map[string]int{}
					for key, n := range h.counts(t, "vendor.orders", "vendor.outcome", "vendor.name", "vendor.failure.reason") {
						if key == "success//" || key == "own_failure//" {
							key = key[:len(key)-1]
						}
						orders[key] = n
					}
					assert.Equal(t, tc.orders, orders, "%v, whole: %v", how, whole)
				}
			}
		})
	}
}

// TestDiscoveredTags: what is known to be a vendor's failure when its span passes is tagged.
func TestDiscoveredTags(t *testing.T) {
	failed := []any{"url.full", "https://pay.example.com/charge", "http.response.status_code", 500}
	want := map[string]any{"vendor.name": "pay.example.com", "vendor.failure.reason": "error"}
	tags := func(s ptrace.Span) map[string]any {
		got := map[string]any{}
		for key, v := range s.Attributes().All() {
			if key == tagVendor || key == tagReason || key == tagChaos {
				got[key] = v.AsRaw()
			}
		}
		return got
	}
	h := start(t, discoveringConfig())
	td := ptrace.NewTraces()
	call, order := addSpan(td, 1, client, failed), addSpan(td, 1, server, orderSpan(500))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	assert.Equal(t, want, tags(call))
	assert.Equal(t, want, tags(order))

	td = ptrace.NewTraces()
	early := addSpan(td, 2, client, failed)
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	assert.Empty(t, tags(early), "nobody knew that it was made for an order")
	td = ptrace.NewTraces()
	order = addSpan(td, 2, server, orderSpan(500))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	assert.Equal(t, want, tags(order))
	td = ptrace.NewTraces()
	late := addSpan(td, 2, client, failed)
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	assert.Equal(t, want, tags(late))
	h.shutdown(t)
}

// TestDiscoveryBesideVendors: the host of a configured vendor is not discovered, whatever the path, and a peer at another
// host that bears its name goes by its host.
func TestDiscoveryBesideVendors(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors[0].Calls.URLs = []string{"https://factory.example.com/api/order"}
	cfg.Discover = &DiscoverConfig{MaxVendors: 2}
	h := start(t, cfg)
	td := ptrace.NewTraces()
	for _, attributes := range [][]any{
		{"url.full", "https://factory.example.com/api/order"},
		{"url.full", "https://factory.example.com/api/log", "http.response.status_code", 401},
		{"url.full", "https://eu.example.com/", "peer.service", "pizza-factory"},
		{"url.full", "https://first.example.com/"},
		{"url.full", "https://second.example.com/", "http.response.status_code", 500},
		{"url.full", "https://third.example.com/", "http.response.status_code", 500},
	} {
		addSpan(td, 1, client, attributes)
	}
	addSpan(td, 1, server, orderSpan(500))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"pizza-factory/": 1, "eu.example.com/": 1, "first.example.com/": 1, "_other/error": 2},
		h.counts(t, "vendor.calls", "vendor.name", "vendor.failure.reason"))
	assert.Equal(t, map[string]int{"vendor_failure/_other": 1}, h.counts(t, "vendor.orders", "vendor.outcome", "vendor.name"))
	reached := h.said("discover.max_vendors is reached")
	require.Len(t, reached, 1)
	assert.EqualValues(t, 2, reached[0].ContextMap()["discover.max_vendors"])
	assert.Len(t, h.said("a vendor was discovered"), 2)
}

// TestDiscoveredOutage: a vendor that nobody configured is down, and up again.
func TestDiscoveredOutage(t *testing.T) {
	cfg := discoveringConfig()
	cfg.Planned = []PlannedConfig{{Vendor: "pay.example.com", From: day.Add(-time.Hour), To: day.Add(time.Hour), Note: "maintenance"}}
	h := start(t, cfg)
	order := func(n byte, at time.Duration, status int) {
		td := ptrace.NewTraces()
		addSpan(td, n, client, []any{"url.full", "https://pay.example.com/charge", "http.response.status_code", status}, endedAt(at))
		addSpan(td, n, server, orderSpan(status), endedAt(at))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	for n := range byte(3) {
		order(1+n, time.Duration(n)*time.Second, 500)
	}
	begun := h.said("a vendor's outage began")
	require.Len(t, begun, 1)
	assert.Equal(t, "pay.example.com", begun[0].ContextMap()["vendor.name"])
	assert.Equal(t, "maintenance", begun[0].ContextMap()["vendor.planned.note"])
	gauge, err := h.tel.GetMetric("vendor.outage")
	require.NoError(t, err)
	require.NotNil(t, gauge)
	for n := range byte(7) {
		order(10+n, time.Minute*time.Duration(n+1), 200)
	}
	assert.Len(t, h.said("a vendor's outage is over"), 1)
	h.shutdown(t)
	assert.Equal(t, map[string]int{"pay.example.com/false": 1}, h.counts(t, "vendor.outages", "vendor.name", "vendor.failure.chaos"))
}

// TestStrangersOfRefusedRequests: what the next consumer refuses is not remembered.
func TestStrangersOfRefusedRequests(t *testing.T) {
	h := &harness{tel: componenttest.NewTelemetry()}
	next := &refusing{err: errors.New("try again")}
	h.open(t, NewFactory(), discoveringConfig(), next, next)
	call := func() ptrace.Traces {
		td := ptrace.NewTraces()
		addSpan(td, 1, client, []any{"url.full", "https://pay.example.com/", "http.response.status_code", 500})
		return td
	}
	require.Error(t, h.traces.ConsumeTraces(context.Background(), call()))
	next.err = nil
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), call()))
	td := ptrace.NewTraces()
	addSpan(td, 1, server, orderSpan(500))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"failure": 1}, h.counts(t, "vendor.calls", "vendor.outcome"))
	assert.Equal(t, map[string]int{"vendor_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
}

// TestOrderLinesDiscover: an order that only its own line tells of makes the calls of its trace vendors' as well.
func TestOrderLinesDiscover(t *testing.T) {
	h := start(t, discoveringConfig())
	td := ptrace.NewTraces()
	addSpan(td, 1, client, []any{"url.full", "https://pay.example.com/", "http.response.status_code", 500})
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	ld := plog.NewLogs()
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500}`, "type", "http").SetTraceID(pcommon.TraceID{15: 1})
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"logs/vendor_failure/pay.example.com": 1}, h.counts(t, "vendor.orders", "vendor.signal", "vendor.outcome", "vendor.name"))
	assert.Equal(t, map[string]int{"traces/failure": 1}, h.counts(t, "vendor.calls", "vendor.signal", "vendor.outcome"))
}

// TestCallersOfStrangers: a service that places no order takes none of limits.callers.
func TestCallersOfStrangers(t *testing.T) {
	cfg := discoveringConfig()
	cfg.Limits.Callers = 1
	h := start(t, cfg)
	send := func(service string, n byte, order bool) {
		td := ptrace.NewTraces()
		addSpan(td, n, client, []any{"url.full", "https://pay.example.com/"})
		if order {
			addSpan(td, n, server, orderSpan(200))
		}
		td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", service)
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	send("newsletter", 1, false)
	send("shop", 2, true)
	h.shutdown(t)
	assert.Equal(t, map[string]int{"shop": 1}, h.counts(t, "vendor.calls", "vendor.caller"))
}

// TestStrangersAreBounded: neither a trace without end nor hosts without end take more than their bound.
func TestStrangersAreBounded(t *testing.T) {
	h := start(t, discoveringConfig())
	for n := range 10 * maxStrangers {
		td := ptrace.NewTraces()
		addSpan(td, 1, client, []any{"url.full", fmt.Sprintf("https://h%d.example.com/", n)})
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	assert.Empty(t, h.said("a vendor was discovered"))
	td := ptrace.NewTraces()
	addSpan(td, 1, server, orderSpan(200))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	calls := h.counts(t, "vendor.calls", "vendor.name")
	assert.Len(t, calls, 33)
	assert.Equal(t, maxStrangers-32, calls["_other"])
	assert.Len(t, h.said("calls to external hosts are forgotten"), 1)
	assert.Equal(t, map[string]int{"": 9 * maxStrangers}, h.counts(t, "otelcol_processor_vendor_failure_forgotten_calls"))
}

// TestStrangersAreClaimed: each by its order, in order of arrival, and then it waits no more. One without a trace id waits
// for none.
func TestStrangersAreClaimed(t *testing.T) {
	cfg := discoveringConfig()
	cfg.Discover.MaxVendors = 1
	h := start(t, cfg)
	send := func(trace byte, kind ptrace.SpanKind, attributes []any) {
		td := ptrace.NewTraces()
		addSpan(td, trace, kind, attributes)
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	const traces = 10
	for n := range byte(traces) {
		send(n+1, client, []any{"url.full", "https://first.example.com/"})
		send(n+1, client, []any{"url.full", "https://second.example.com/"})
	}
	for range 2 * maxStrangers {
		send(0, client, []any{"url.full", "https://third.example.com/"})
	}
	waiting := func() int { return h.traces.(*tracesProcessor).watch.memory.strangers }
	assert.Equal(t, 2*traces, waiting())
	for n := range byte(traces) {
		send(n+1, server, orderSpan(200))
	}
	assert.Zero(t, waiting())
	h.shutdown(t)
	assert.Equal(t, map[string]int{"first.example.com": traces, "_other": traces}, h.counts(t, "vendor.calls", "vendor.name"))
	assert.Empty(t, h.said("are forgotten"))
}

// TestDiscoveredNamesAreText: of a name that is not UTF-8 neither OTLP nor Prometheus would take any metric at all.
func TestDiscoveredNamesAreText(t *testing.T) {
	h := start(t, discoveringConfig())
	for n, attributes := range [][]any{
		{"url.full", "https://\xff.example.com/"},
		{"url.full", "https://pay.example.com/", "service.peer.name", "\xffpay"},
		{"url.full", "https://" + strings.Repeat("a", maxHost) + ".example.com/"},
		{"url.full", "https://tax.example.com/", "service.peer.name", strings.Repeat("x", 2*maxName)},
	} {
		td := ptrace.NewTraces()
		addSpan(td, byte(n+1), client, attributes)
		td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", "\xffshop"+strings.Repeat(" ", 2*maxName))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		for _, r := range h.traces.(*tracesProcessor).watch.memory.young {
			for s := range r.unclaimed() {
				assert.LessOrEqual(t, len(s.name.Value()), maxName)
				assert.LessOrEqual(t, len(s.service.Value()), maxName+len("\uFFFD"))
			}
		}
		td = ptrace.NewTraces()
		addSpan(td, byte(n+1), server, orderSpan(200))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	h.shutdown(t)
	assert.Equal(t, map[string]int{"\uFFFD.example.com": 1, "\uFFFDpay": 1, strings.Repeat("x", maxName): 1}, h.counts(t, "vendor.calls", "vendor.name"))
	for caller := range h.counts(t, "vendor.calls", "vendor.caller") {
		assert.Truef(t, utf8.ValidString(caller), "%q", caller)
	}
}

// BenchmarkDiscovery tells what a call to an external host costs that is made for no order, without discovery and with.
func BenchmarkDiscovery(b *testing.B) {
	for name, cfg := range map[string]*Config{"off": pizzaConfig(), "on": discoveringConfig()} {
		b.Run(name, func(b *testing.B) {
			h := &harness{tel: componenttest.NewTelemetry()}
			h.open(b, NewFactory(), cfg, consumertest.NewNop(), consumertest.NewNop())
			defer h.shutdown(b)
			td := ptrace.NewTraces()
			for n := range unmatchedBatch {
				addSpan(td, byte(1+n%200), client, []any{"http.request.method", "GET", "url.full", "https://api.example.com/v1/rates?to=usd", "http.response.status_code", 200})
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
