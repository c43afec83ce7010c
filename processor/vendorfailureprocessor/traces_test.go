package vendorfailureprocessor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

var day = time.Date(2025, 12, 5, 15, 0, 0, 0, time.UTC)

// request is an export request under construction: resource, spans or records.
type spanOption func(ptrace.Span)

// addSpan adds a span of trace n to a request; attributes are given as key, value, key, value.
func addSpan(td ptrace.Traces, n byte, kind ptrace.SpanKind, attributes []any, options ...spanOption) ptrace.Span {
	if td.ResourceSpans().Len() == 0 {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", "shop")
		rs.ScopeSpans().AppendEmpty()
	}
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	s := spans.AppendEmpty()
	if n > 0 {
		s.SetTraceID(pcommon.TraceID{15: n})
	}
	s.SetSpanID(pcommon.SpanID{6: n, 7: byte(spans.Len())})
	s.SetKind(kind)
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(day))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(day.Add(time.Second)))
	put(s.Attributes(), attributes)
	for _, o := range options {
		o(s)
	}
	return s
}

func put(m pcommon.Map, attributes []any) {
	for i := 0; i < len(attributes); i += 2 {
		if err := m.PutEmpty(attributes[i].(string)).FromRaw(attributes[i+1]); err != nil {
			panic(fmt.Sprint(attributes[i], ": ", err))
		}
	}
}

func failedWith(message string) spanOption {
	return func(s ptrace.Span) {
		s.Status().SetCode(ptrace.StatusCodeError)
		s.Status().SetMessage(message)
	}
}

func threw(kind, message string) spanOption {
	return func(s ptrace.Span) {
		e := s.Events().AppendEmpty()
		e.SetName("exception")
		e.Attributes().PutStr("exception.type", kind)
		e.Attributes().PutStr("exception.message", message)
	}
}

func took(d time.Duration) spanOption {
	return func(s ptrace.Span) { s.SetEndTimestamp(s.StartTimestamp() + pcommon.Timestamp(d)) }
}

func endedAt(d time.Duration) spanOption {
	return func(s ptrace.Span) { s.SetEndTimestamp(pcommon.NewTimestampFromTime(day.Add(d))) }
}

const (
	server   = ptrace.SpanKindServer
	client   = ptrace.SpanKindClient
	internal = ptrace.SpanKindInternal
)

// orderSpan and callSpan are the attributes of an order and of a call to the factory.
func orderSpan(status int) []any {
	return []any{"http.request.method", "POST", "http.route", "/api/order", "url.path", "/api/order", "http.response.status_code", status}
}

func callSpan(status int) []any {
	return []any{"http.request.method", "POST", "url.full", "http://127.0.0.1:4000/api/order", "http.response.status_code", status}
}

// TestOrderSpan: which SERVER spans are orders, and how they ended.
func TestOrderSpan(t *testing.T) {
	for _, tc := range []struct {
		name       string
		attributes []any
		option     spanOption
		want       string // "" is no order
	}{
		{"new convention", orderSpan(200), nil, "success"},
		{"no route yet: the path", []any{"http.request.method", "POST", "url.path", "/api/order", "http.response.status_code", 200}, nil, "success"},
		{"trailing slash", []any{"http.request.method", "POST", "url.path", "/api/order/", "http.response.status_code", 200}, nil, "success"},
		{"old convention", []any{"http.method", "POST", "http.target", "/api/order?x=1", "http.status_code", 201}, nil, "success"},
		{"old convention, URL alone", []any{"http.method", "POST", "http.url", "http://shop:3000/api/order/?x=1", "http.status_code", 200}, nil, "success"},
		{"a router's own route, but the path", []any{"http.request.method", "POST", "http.route", "/", "url.path", "/api/order", "http.response.status_code", 200}, nil, "success"},
		{"both conventions", append(orderSpan(200), "http.method", "POST", "http.target", "/api/order", "http.status_code", 200), nil, "success"},
		{"conventions that contradict each other: the new one", []any{"http.request.method", "POST", "http.method", "GET", "http.route", "/api/order", "http.status_code", 200}, nil, "success"},
		{"the same the other way round", []any{"http.method", "GET", "http.request.method", "POST", "http.route", "/api/order", "http.status_code", 200}, nil, "success"},
		{"a method of the old convention beside an empty new one", []any{"http.request.method", "", "http.method", "POST", "http.route", "/api/order", "http.status_code", 200}, nil, "success"},
		{"an empty method of gRPC", []any{"http.method", "", "rpc.method", "shop.Orders/Place", "rpc.response.status_code", "OK"}, nil, "success"},
		{"status as a string", []any{"http.request.method", "POST", "http.route", "/api/order", "http.response.status_code", "500"}, nil, "own_failure"},
		{"lower case method", []any{"http.request.method", "post", "http.route", "/api/order", "http.response.status_code", 200}, nil, "success"},
		{"5xx", orderSpan(503), failedWith(""), "own_failure"},
		{"4xx is the customer's", orderSpan(404), nil, "rejected"},
		{"401 with status Error", orderSpan(401), failedWith(""), "rejected"},
		{"a redirect", orderSpan(302), nil, "success"},
		{"no status, but Error", []any{"http.request.method", "POST", "http.route", "/api/order"}, failedWith("boom"), "own_failure"},
		{"success, but Error", orderSpan(200), failedWith("aborted"), "own_failure"},
		{"gRPC over HTTP alone", []any{"http.request.method", "POST", "url.path", "/shop.Orders/Place", "http.response.status_code", 200}, nil, "success"},
		{"gRPC, old convention", []any{"rpc.system", "grpc", "rpc.service", "shop.Orders", "rpc.method", "Place", "rpc.grpc.status_code", 0}, nil, "success"},
		{"gRPC, new convention", []any{"rpc.system.name", "grpc", "rpc.method", "shop.Orders/Place", "rpc.response.status_code", "OK"}, nil, "success"},
		{"gRPC that failed", []any{"rpc.system.name", "grpc", "rpc.method", "shop.Orders/Place", "rpc.response.status_code", "INTERNAL"}, failedWith(""), "own_failure"},
		{"gRPC that failed, old convention", []any{"rpc.system", "grpc", "rpc.service", "shop.Orders", "rpc.method", "Place", "rpc.grpc.status_code", 14}, failedWith(""), "own_failure"},
		{"gRPC, the customer's", []any{"rpc.system", "grpc", "rpc.service", "shop.Orders", "rpc.method", "Place", "rpc.grpc.status_code", 3}, nil, "rejected"},
		{"gRPC, not signed in", []any{"rpc.system.name", "grpc", "rpc.method", "shop.Orders/Place", "rpc.response.status_code", "UNAUTHENTICATED"}, nil, "rejected"},
		{"gRPC, another method", []any{"rpc.system", "grpc", "rpc.service", "shop.Orders", "rpc.method", "List", "rpc.grpc.status_code", 0}, nil, ""},
		{"gRPC, another service", []any{"rpc.system", "grpc", "rpc.service", "shop.Menu", "rpc.method", "Place", "rpc.grpc.status_code", 0}, nil, ""},
		{"another method", []any{"http.request.method", "GET", "http.route", "/api/order", "http.response.status_code", 200}, nil, ""},
		{"no method", []any{"http.route", "/api/order", "http.response.status_code", 200}, nil, ""},
		{"below the path", []any{"http.request.method", "POST", "url.path", "/api/order/menu"}, nil, ""},
		{"a longer name", []any{"http.request.method", "POST", "url.path", "/api/orders"}, nil, ""},
		{"another path", []any{"http.request.method", "POST", "http.route", "/api/auth"}, nil, ""},
		{"no attributes", nil, nil, ""},
		{"attributes of other types", []any{"http.request.method", 7, "http.route", []any{"x"}, "url.path", map[string]any{"a": 1}, "http.response.status_code", true}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.Orders = append(cfg.Orders, OrderConfig{Method: "POST", Route: "/shop.Orders/Place"})
			h := start(t, cfg)
			td := ptrace.NewTraces()
			s := addSpan(td, 1, server, tc.attributes)
			if tc.option != nil {
				tc.option(s)
			}
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			// And again once everything has been seen, when spans of other methods are not read.
			h.traces.(*tracesProcessor).watch.readiness.unseen[traces].Store(0)
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			want := map[string]int{}
			if tc.want != "" {
				want[tc.want] = 2
			}
			assert.Equal(t, want, h.counts(t, "vendor.orders", "vendor.outcome"))
		})
	}
}

func TestEndpointPath(t *testing.T) {
	for _, tc := range []struct {
		route, path string
		want        bool
	}{
		{"/api/order", "/api/order", true},
		{"/api/order/", "/api/order", true},
		{"/", "/", true},
		{"/", "/x", false},
		{"/stores/{id}/orders", "/stores/7/orders", true},
		{"/stores/{id}/orders", "/stores/{id}/orders", true},
		{"/stores/:id/orders", "/stores/7/orders?x=1", true},
		{"/stores/:id/orders", "/stores//orders", false},
		{"/stores/:id/orders", "/stores/7/orders/8", false},
		{"/stores/:id/orders", "/stores/7", false},
		{"/stores/:id", "/stores/7/", true},
		{"/stores/:id", "/shops/7", false},
	} {
		e := newEndpoint(OrderConfig{Route: tc.route})
		assert.Equal(t, tc.want, e.hasPath(tc.path), "%s takes %s", tc.route, tc.path)
	}
}

// TestVendorOf: where a request went, and which vendor lives there.
func TestVendorOf(t *testing.T) {
	urls := [][]string{
		{"https://factory.example.com/api/order"},
		{"http://127.0.0.1:4000/api/order", "http://[::1]:4000"},
		{"*.pay.example.com"},
		{"https://gateway.example.com"},
		{"gateway.example.com:8443/tax", "https://gateway.example.com/tax"},
		{"http://plain.example.com/a/"},
		{"https://grpc.example.com/acme.Payments", "grpc.example.com:8443/acme.Tax/Quote"},
		{"https://203.0.114.9"},
		{"https://encoded.example.com/a%20b", "https://encoded.example.com/c d"},
	}
	var vendors []VendorConfig
	for i, u := range urls {
		vendors = append(vendors, VendorConfig{Name: fmt.Sprint(i), Calls: CallsConfig{URLs: u}})
	}
	ts, err := newTargets(vendors, nil)
	require.NoError(t, err)
	for _, tc := range []struct {
		name       string
		attributes []any
		want       int16
	}{
		{"URL without port: its scheme's", []any{"url.full", "https://factory.example.com/api/order"}, 0},
		{"the same port written", []any{"url.full", "https://factory.example.com:443/api/order?x=1#y"}, 0},
		{"below the path", []any{"url.full", "https://factory.example.com/api/order/verify"}, 0},
		{"upper case, trailing dot", []any{"url.full", "HTTPS://Factory.Example.COM./api/order/"}, 0},
		{"credentials in the URL", []any{"url.full", "https://user:p@ss@factory.example.com/api/order"}, 0},
		{"another scheme is another port", []any{"url.full", "http://factory.example.com/api/order"}, noVendor},
		{"another path", []any{"url.full", "https://factory.example.com/api/log"}, noVendor},
		{"a longer name", []any{"url.full", "https://factory.example.com/api/orders"}, noVendor},
		{"a longer host", []any{"url.full", "https://factory.example.com.evil.org/api/order"}, noVendor},
		{"another host on the port", []any{"url.full", "http://127.0.0.1:3500/loki/api/v1/push"}, noVendor},
		{"port 4000", []any{"url.full", "http://127.0.0.1:4000/api/order"}, 1},
		{"IPv6", []any{"url.full", "http://[::1]:4000/x"}, 1},
		{"old URL", []any{"http.url", "http://127.0.0.1:4000/api/order"}, 1},
		{"the new URL tells more than the old", []any{"http.url", "http://127.0.0.1:1/", "url.full", "http://127.0.0.1:4000/api/order"}, 1},
		{"no URL: address, port and path", []any{"server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order"}, 1},
		{"port as a string", []any{"server.address", "127.0.0.1", "server.port", "4000", "url.path", "/api/order"}, 1},
		{"old names", []any{"net.peer.name", "127.0.0.1", "net.peer.port", 4000, "http.target", "/api/order?x"}, 1},
		{"no port: the scheme's", []any{"server.address", "factory.example.com", "url.scheme", "https", "url.path", "/api/order"}, 0},
		{"neither port nor scheme", []any{"server.address", "factory.example.com", "url.path", "/api/order"}, 0},
		{"no path: host alone is no call", []any{"server.address", "127.0.0.1", "server.port", 4000}, noVendor},
		{"a port out of range", []any{"server.address", "127.0.0.1", "server.port", 65536 + 4000, "url.path", "/api/order"}, noVendor},
		{"no port told, and the target's is 80", []any{"server.address", "plain.example.com", "url.path", "/a"}, 5},
		{"the scheme's port is not the target's", []any{"server.address", "factory.example.com", "url.scheme", "http", "url.path", "/api/order"}, noVendor},
		{"both conventions, and the old names another address", []any{"net.peer.name", "10.0.0.1", "net.peer.port", 1, "http.target", "/", "http.url", "http://10.0.0.1/", "server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order", "url.full", "http://127.0.0.1:4000/api/order"}, 1},
		{"the same, the old names last", []any{"url.full", "http://127.0.0.1:4000/api/order", "server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order", "http.url", "http://10.0.0.1/", "net.peer.name", "10.0.0.1", "net.peer.port", 1, "http.target", "/"}, 1},
		{"host and port in one", []any{"server.address", "127.0.0.1:4000", "url.path", "/api/order"}, 1},
		{"a name of gRPC's", []any{"server.address", "dns:///grpc.example.com:443", "rpc.method", "acme.Payments/Charge"}, 6},
		{"a database by gRPC without a host", []any{"rpc.method", "acme.Payments/Charge", "db.system", "spanner"}, noVendor},
		{"gRPC at a known host, another path", []any{"server.address", "203.0.114.9", "server.port", 443, "rpc.method", "acme.Payments/Charge"}, 7},
		{"a database", []any{"server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order", "db.system.name", "mysql"}, noVendor},
		{"wildcard", []any{"url.full", "https://eu.pay.example.com/v1"}, 2},
		{"wildcard, deeper, any port", []any{"url.full", "http://a.b.pay.example.com:8080/v1"}, 2},
		{"a wildcard is not the host itself", []any{"url.full", "https://pay.example.com/v1"}, noVendor},
		{"the longest path", []any{"url.full", "https://gateway.example.com/tax/v1"}, 4},
		{"the rest of the host", []any{"url.full", "https://gateway.example.com/other"}, 3},
		{"a port of its own", []any{"url.full", "https://gateway.example.com:8443/tax"}, 4},
		{"a trailing slash in the configuration", []any{"url.full", "http://plain.example.com/a"}, 5},
		{"an encoded path", []any{"url.full", "https://encoded.example.com/a%20b/x"}, 8},
		{"a path that the configuration has as it reads", []any{"url.full", "https://encoded.example.com/c%20d"}, 8},
		{"gRPC, old convention", []any{"rpc.system", "grpc", "server.address", "grpc.example.com", "server.port", 443, "rpc.service", "acme.Payments", "rpc.method", "Charge"}, 6},
		{"gRPC, new convention", []any{"rpc.system.name", "grpc", "server.address", "grpc.example.com", "server.port", 443, "rpc.method", "acme.Payments/Charge"}, 6},
		{"gRPC, old names of the address", []any{"rpc.system", "grpc", "net.peer.name", "grpc.example.com", "net.peer.port", 443, "rpc.service", "acme.Payments", "rpc.method", "Charge"}, 6},
		{"gRPC, a method", []any{"rpc.system", "grpc", "server.address", "grpc.example.com", "server.port", 8443, "rpc.service", "acme.Tax", "rpc.method", "Quote"}, 6},
		{"gRPC, another method", []any{"rpc.system", "grpc", "server.address", "grpc.example.com", "server.port", 8443, "rpc.service", "acme.Tax", "rpc.method", "Rates"}, noVendor},
		{"gRPC, another service", []any{"rpc.system", "grpc", "server.address", "grpc.example.com", "server.port", 443, "rpc.service", "acme.PaymentsV2", "rpc.method", "Charge"}, noVendor},
		{"gRPC that never connected: the service alone", []any{"rpc.system.name", "grpc", "rpc.method", "acme.Tax/Quote", "rpc.response.status_code", "UNAVAILABLE"}, 6},
		{"gRPC, Go: the connection's address", []any{"rpc.system.name", "grpc", "rpc.method", "acme.Tax/Quote", "server.address", "203.0.114.7", "server.port", 8443}, 6},
		{"gRPC, Go: another service's address", []any{"rpc.system.name", "grpc", "rpc.method", "acme.Menu/List", "server.address", "203.0.114.7", "server.port", 8443}, noVendor},
		{"gRPC: a service of our own network", []any{"rpc.system.name", "grpc", "rpc.method", "acme.Tax/Quote", "server.address", "10.0.0.7", "server.port", 8443}, noVendor},
		{"gRPC: a host of another name", []any{"rpc.system.name", "grpc", "rpc.method", "acme.Tax/Quote", "server.address", "tax.example.org", "server.port", 8443}, noVendor},
		{"gRPC that never connected, to another service", []any{"rpc.system.name", "grpc", "rpc.method", "shop.Menu/List", "rpc.response.status_code", "UNAVAILABLE"}, noVendor},
		{"gRPC that never connected, to another method", []any{"rpc.system.name", "grpc", "rpc.method", "acme.Tax/Rates"}, noVendor},
		{"gRPC, no method", []any{"rpc.system", "grpc", "server.address", "grpc.example.com", "server.port", 443, "rpc.service", "acme.Payments"}, noVendor},
		{"no URL at all", []any{"url.full", "not a url"}, noVendor},
		{"nothing", nil, noVendor},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := pcommon.NewMap()
			put(m, tc.attributes)
			r := readRequest(m)
			to, ok := r.address()
			got := int16(noVendor)
			if ok {
				got, _ = ts.find(to, nil)
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

// TestElsewhere: where most requests of a batch go is known again by its origin, and nothing else is taken for it.
func TestElsewhere(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors[0].Calls.URLs = []string{"http://127.0.0.1:4000/api/order", "https://*.pay.example.com"}
	cfg.Vendors[0].ValidResponse = ValidResponseConfig{}
	h := start(t, cfg)
	td := ptrace.NewTraces()
	vendors := 0
	for _, call := range []struct {
		url  string
		more []any
		want bool
	}{
		{"http://127.0.0.1:400/x", nil, false},
		{"http://127.0.0.1:4000/api/order", nil, true},
		{"http://127.0.0.1:400/y", nil, false},
		{"http://127.0.0.1:4000/api/log", nil, false},
		{"http://127.0.0.1:4000/api/order", nil, true},
		{"https://pay.example.com/v1", nil, false},
		{"https://pay.example.com/v1", nil, false},
		{"https://eu.pay.example.com/v1", nil, true},
		{"https://pay.example.com@eu.pay.example.com/v1", nil, true},
		{"https://u:p@other.example.com/v1", nil, false},
		{"https://u:p@eu.pay.example.com/v1", nil, true},
		{"https://other.example.com/v1", nil, false},
		{"https://other.example.com:443/v1", nil, false},
		{"https://other.example.com", nil, false},
		{"https://other.example.com?x", nil, false},
		{"http://1.example.com/", nil, false},
		{"http://2.example.com/", nil, false},
		{"http://3.example.com/", nil, false},
		{"http://4.example.com/", nil, false},
		{"http://5.example.com/", nil, false},
		{"http://127.0.0.1:4000/api/order", nil, true},
		{"no URL", []any{"http.url", "http://a.long.name.example.com/x"}, false},
		{"other.example.com", []any{"server.address", "other.example.com", "url.path", "/"}, false},
		{"other.example.com", []any{"server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order"}, true},
	} {
		s := addSpan(td, 1, client, append([]any{"url.full", call.url, "http.response.status_code", 500}, call.more...))
		if call.want {
			vendors++
			s.SetName("of a vendor")
		}
	}
	addSpan(td, 2, server, orderSpan(200)) // nothing is unseen, as in most batches
	for range 2 {
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	h.shutdown(t)
	eachSpan(td, func(s ptrace.Span) {
		_, tagged := s.Attributes().Get(tagVendor)
		assert.Equal(t, s.Name() == "of a vendor", tagged, "%v", s.Attributes().AsRaw())
	})
	assert.Equal(t, map[string]int{"failure": 2 * vendors}, h.counts(t, "vendor.calls", "vendor.outcome"))
}

// TestCallSpan: why the call of a CLIENT span failed.
func TestCallSpan(t *testing.T) {
	const url = "http://127.0.0.1:4000/api/order"
	http := func(more ...any) []any { return append([]any{"http.request.method", "POST", "url.full", url}, more...) }
	rpc := func(more ...any) []any {
		return append([]any{"rpc.system", "grpc", "server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order"}, more...)
	}
	for _, tc := range []struct {
		name       string
		attributes []any
		options    []spanOption
		want       string // "" is a success
	}{
		{"200", callSpan(200), nil, ""},
		{"302", callSpan(302), nil, ""},
		{"400", callSpan(400), nil, "rejected"},
		{"401", callSpan(401), nil, "unauthorized"},
		{"403", callSpan(403), nil, "unauthorized"},
		{"404", callSpan(404), nil, "rejected"},
		{"408", callSpan(408), nil, "timeout"},
		{"422", callSpan(422), nil, "rejected"},
		{"429", callSpan(429), nil, "throttled"},
		{"500", callSpan(500), []spanOption{failedWith("")}, "error"},
		{"502", callSpan(502), nil, "error"},
		{"503, and no rule", callSpan(503), nil, "error"},
		{"504", callSpan(504), nil, "timeout"},
		{"599", callSpan(599), nil, "error"},
		{"old convention", []any{"http.method", "POST", "http.url", url, "http.status_code", 500}, nil, "error"},
		{"status as a string", http("http.response.status_code", "429"), nil, "throttled"},
		{"refused, Node", http("error.type", "ECONNREFUSED"), []spanOption{failedWith("connect ECONNREFUSED 127.0.0.1:4000")}, "unreachable"},
		{"no such host", http("error.type", "ENOTFOUND"), []spanOption{failedWith("getaddrinfo ENOTFOUND factory")}, "unreachable"},
		{"reset", http("error.type", "UND_ERR_SOCKET"), []spanOption{failedWith("other side closed")}, "unreachable"},
		{"no answer, and nobody says why", http(), []spanOption{failedWith("")}, "unreachable"},
		{"time-out by error.type", http("error.type", "UND_ERR_HEADERS_TIMEOUT"), []spanOption{failedWith("")}, "timeout"},
		{"time-out by status message", http(), []spanOption{failedWith("The operation was aborted due to timeout")}, "timeout"},
		{"time-out by exception type", http(), []spanOption{failedWith(""), threw("java.net.SocketTimeoutException", "")}, "timeout"},
		{"time-out by exception message", http(), []spanOption{failedWith(""), threw("Error", "context deadline exceeded")}, "timeout"},
		{"the answer broke off", http("http.response.status_code", 200, "error.type", "UND_ERR_SOCKET"), []spanOption{failedWith("terminated")}, "unreachable"},
		{"the answer came too slowly to be read", http("http.response.status_code", 200), []spanOption{failedWith("Body Timeout Error")}, "timeout"},
		{"200, but Error", http("http.response.status_code", 200), []spanOption{failedWith("")}, "error"},
		{"in time", callSpan(200), []spanOption{took(10 * time.Second)}, ""},
		{"too slow", callSpan(200), []spanOption{took(10*time.Second + 1)}, "slow"},
		{"too slow, and failed", callSpan(500), []spanOption{took(32 * time.Second)}, "error"},
		{"clock ran backwards", callSpan(200), []spanOption{func(s ptrace.Span) { s.SetEndTimestamp(1) }}, ""},
		{"a time of zero is no start", callSpan(200), []spanOption{func(s ptrace.Span) { s.SetStartTimestamp(0) }}, ""},
		{"gRPC OK", rpc("rpc.grpc.status_code", 0), nil, ""},
		{"gRPC CANCELLED", rpc("rpc.grpc.status_code", 1), nil, "rejected"},
		{"gRPC UNKNOWN", rpc("rpc.grpc.status_code", 2), nil, "error"},
		{"gRPC INVALID_ARGUMENT", rpc("rpc.grpc.status_code", 3), nil, "rejected"},
		{"gRPC DEADLINE_EXCEEDED", rpc("rpc.grpc.status_code", 4), nil, "timeout"},
		{"gRPC NOT_FOUND", rpc("rpc.grpc.status_code", 5), nil, "rejected"},
		{"gRPC ALREADY_EXISTS", rpc("rpc.grpc.status_code", 6), nil, "rejected"},
		{"gRPC PERMISSION_DENIED", rpc("rpc.grpc.status_code", 7), nil, "unauthorized"},
		{"gRPC RESOURCE_EXHAUSTED", rpc("rpc.grpc.status_code", 8), nil, "throttled"},
		{"gRPC FAILED_PRECONDITION", rpc("rpc.grpc.status_code", 9), nil, "rejected"},
		{"gRPC ABORTED", rpc("rpc.grpc.status_code", 10), nil, "rejected"},
		{"gRPC OUT_OF_RANGE", rpc("rpc.grpc.status_code", 11), nil, "rejected"},
		{"gRPC UNIMPLEMENTED", rpc("rpc.grpc.status_code", 12), nil, "error"},
		{"gRPC INTERNAL", rpc("rpc.grpc.status_code", 13), nil, "error"},
		{"gRPC UNAVAILABLE", rpc("rpc.grpc.status_code", 14), nil, "unreachable"},
		{"gRPC DATA_LOSS", rpc("rpc.grpc.status_code", 15), nil, "error"},
		{"gRPC UNAUTHENTICATED", rpc("rpc.grpc.status_code", 16), nil, "unauthorized"},
		{"gRPC by name", rpc("rpc.response.status_code", "RESOURCE_EXHAUSTED"), nil, "throttled"},
		{"gRPC by name, as Connect spells it", rpc("rpc.response.status_code", "invalid_argument"), nil, "rejected"},
		{"gRPC by number in the new attribute", rpc("rpc.response.status_code", "8"), nil, "throttled"},
		{"gRPC by name in the old attribute", rpc("rpc.grpc.status_code", "UNAVAILABLE"), nil, "unreachable"},
		{"a code alone, no rpc.system", []any{"server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order", "rpc.response.status_code", "INTERNAL"}, nil, "error"},
		{"a code of another protocol: there was an answer", rpc("rpc.response.status_code", "-32602", "error.type", "-32602"), []spanOption{failedWith("")}, "error"},
		{"a status that is none", http("http.response.status_code", 7, "error.type", "ECONNREFUSED"), []spanOption{failedWith("")}, "unreachable"},
		{"gRPC OK, but Error", rpc("rpc.grpc.status_code", 0), []spanOption{failedWith("")}, "error"},
		{"gRPC without a code", rpc(), []spanOption{failedWith("")}, "unreachable"},
		{"neither HTTP nor RPC", []any{"server.address", "127.0.0.1", "server.port", 4000, "url.path", "/api/order", "error.type", "CardDeclined"}, []spanOption{failedWith("")}, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			td := ptrace.NewTraces()
			s := addSpan(td, 1, client, tc.attributes, tc.options...)
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			outcome := "success/"
			tag, tagged := s.Attributes().Get(tagReason)
			if tc.want != "" {
				outcome = "failure/" + tc.want
				require.True(t, tagged)
				assert.Equal(t, tc.want, tag.Str())
				assert.Equal(t, "pizza-factory", mustGet(t, s.Attributes(), tagVendor))
			} else {
				assert.False(t, tagged)
			}
			assert.Equal(t, map[string]int{outcome: 1}, h.counts(t, "vendor.calls", "vendor.outcome", "vendor.failure.reason"))
		})
	}
}

func mustGet(t *testing.T, m pcommon.Map, key string) string {
	v, ok := m.Get(key)
	require.True(t, ok, "attribute %s", key)
	return v.AsString()
}

// TestBlame: whom an order's failure is put down to, in whatever order its spans come, in one request or in one each.
// Where two signs tell differently, a failed order is put down to those that had come when the first had: counts that
// waited for all would come too late.
func TestBlame(t *testing.T) {
	type part func(ptrace.Traces)
	order := func(status int, options ...spanOption) part {
		return func(td ptrace.Traces) { addSpan(td, 1, server, orderSpan(status), options...) }
	}
	call := func(status int, options ...spanOption) part {
		return func(td ptrace.Traces) { addSpan(td, 1, client, callSpan(status), options...) }
	}
	handler := func(options ...spanOption) part {
		return func(td ptrace.Traces) { addSpan(td, 1, internal, nil, options...) }
	}
	elsewhere := func(options ...spanOption) part {
		return func(td ptrace.Traces) {
			addSpan(td, 1, client, []any{"url.full", "http://127.0.0.1:3306/"}, options...)
		}
	}
	for _, tc := range []struct {
		name  string
		parts []part
		want  string
	}{
		{"its call failed", []part{call(500), order(500)}, "vendor_failure/error"},
		{"its call failed on credentials", []part{call(401), order(500)}, "vendor_failure/unauthorized"},
		{"the vendor rejected it", []part{call(422), order(500)}, "vendor_failure/rejected"},
		{"a slow call, and then it failed", []part{call(200, took(11*time.Second)), order(500)}, "vendor_failure/slow"},
		{"a slow call, and it succeeded", []part{call(200, took(11*time.Second)), order(200)}, "success/"},
		{"a retry ended well", []part{call(500), call(200), order(200)}, "success/"},
		{"two signs, failed retries: the first tells", []part{call(500, endedAt(2*time.Second)), call(429, endedAt(time.Second)), order(500)}, "vendor_failure/throttled"},
		{"its call succeeded: it is us", []part{call(200), order(500)}, "own_failure/"},
		{"no call at all: it is us", []part{order(500), elsewhere(failedWith("Access denied"))}, "own_failure/"},
		{"an answer that is no JSON", []part{call(200), handler(threw("SyntaxError", "Unexpected token '<', \"<html>\" is not valid JSON")), order(500)}, "vendor_failure/bad_response"},
		{"two signs: a failed call tells more than an exception", []part{call(504), handler(threw("SyntaxError", "Unexpected token '<'")), order(500)}, "vendor_failure/timeout"},
		{"a rule that sets no reason", []part{handler(threw("Error", "Failed to fulfill order at factory")), order(500)}, "vendor_failure/error"},
		{"an exception on the order's span", []part{order(500, threw("TypeError", "fetch failed"))}, "vendor_failure/unreachable"},
		{"an exception of ours", []part{call(200), handler(threw("Error", "No ID found")), order(500)}, "own_failure/"},
		{"somebody else's exception", []part{elsewhere(threw("Error", "fetch failed")), order(500)}, "own_failure/"},
		{"an exception, and it succeeded", []part{handler(threw("TypeError", "fetch failed")), order(200)}, "success/"},
		{"the customer's doing", []part{call(500), order(400)}, "rejected/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, how := range permutations(len(tc.parts)) {
				for _, whole := range []bool{true, false} {
					h := start(t, pizzaConfig())
					td := ptrace.NewTraces()
					for _, i := range how {
						tc.parts[i](td)
						if !whole {
							require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
							td = ptrace.NewTraces()
						}
					}
					if whole {
						require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
					}
					h.shutdown(t)
					got := h.counts(t, "vendor.orders", "vendor.outcome", "vendor.failure.reason")
					if strings.HasPrefix(tc.name, "two signs") && !whole {
						assert.Equal(t, 1, got["vendor_failure/throttled"]+got["vendor_failure/timeout"]+got["vendor_failure/error"]+got["vendor_failure/bad_response"])
						continue
					}
					assert.Equal(t, map[string]int{tc.want: 1}, got, "parts in the order %v, in one request: %v", how, whole)
				}
			}
		})
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := 0; i <= len(p); i++ {
			q := append(append(append([]int{}, p[:i]...), n-1), p[i:]...)
			all = append(all, q)
		}
	}
	return all
}

func TestChaosOfASpan(t *testing.T) {
	h := start(t, pizzaConfig())
	td := ptrace.NewTraces()
	addSpan(td, 1, internal, nil, threw("Error", `{"message":"x","reportUrl":"https://factory/report"}`))
	s := addSpan(td, 1, server, orderSpan(500))
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	assert.Equal(t, map[string]any{
		"http.request.method": "POST", "http.route": "/api/order", "url.path": "/api/order", "http.response.status_code": int64(500),
		"vendor.name": "pizza-factory", "vendor.failure.reason": "error", "vendor.failure.chaos": true,
	}, s.Attributes().AsRaw())
}

func TestNothingIsOverwritten(t *testing.T) {
	h := start(t, pizzaConfig())
	td := ptrace.NewTraces()
	s := addSpan(td, 1, client, append(callSpan(500), "vendor.name", "judged before", "vendor.failure.reason", 7))
	before := s.Attributes().AsRaw()
	require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	h.shutdown(t)
	assert.Equal(t, before, s.Attributes().AsRaw())
	assert.Equal(t, map[string]int{"failure/error": 1}, h.counts(t, "vendor.calls", "vendor.outcome", "vendor.failure.reason"))
}
