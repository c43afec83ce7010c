package examples

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor"
)

// call is one request of an order to a vendor, and how it ended. Of status, code and fault it has one.
type call struct {
	to     string        // payments, tax, shipping, or the host of a vendor that is not configured
	status int           // HTTP's
	code   string        // gRPC's
	fault  string        // no answer came: what a client calls that, and its message
	says   string        // of the exception
	takes  time.Duration // 0: 100ms
	resend int
	beside bool   // begins with the call before it, and not after it
	why    string // vendor.failure.reason; "": it succeeded
}

// purchase is one order of the story.
type purchase struct {
	app    bool // by gRPC
	calls  []call
	status int    // what the customer got; of gRPC by code
	code   string //
	ended  string // success, own_failure, rejected, or vendor_failure, the vendor to blame and the reason
	probe  bool   // nobody waits for it
}

var (
	paid    = call{to: "payments", status: 201}
	taxed   = call{to: "tax", code: "OK"}
	shipped = call{to: "shipping", status: 201}
	vetted  = call{to: "risk.example.net", status: 200}
)

// story is what happened in the shop, second by second, and what it comes to: all that is wanted of the processor.
type story struct {
	now    time.Time
	orders []purchase
	at     []time.Time

	ended   map[string]int     // orders
	worth   map[string]float64 // of customers' orders by outcome
	called  map[string]int     // calls: vendor, success or failure, reason
	outages []lost
	lost    map[string]*lost // of the present chapter, by vendor
	users   map[string]map[string]bool
}

// lost is what an outage cost.
type lost struct {
	vendor        string
	orders, users int
	value         float64
}

// customerOf and amountOf tell who placed an order and what it was worth.
func customerOf(n int) string { return fmt.Sprint("customer-", n%7) }
func amountOf(n int) float64  { return 10 + float64(n%4)*2.5 }

func (s *story) place(times int, p purchase) {
	for range times {
		n := len(s.orders)
		s.orders, s.at = append(s.orders, p), append(s.at, s.now)
		s.now = s.now.Add(time.Second)
		s.ended[p.ended]++
		for _, c := range p.calls {
			if c.why == "" {
				s.called[c.to+" success"]++
			} else {
				s.called[c.to+" failure "+c.why]++
			}
		}
		words := strings.Fields(p.ended)
		if !p.probe {
			s.worth[words[0]] += amountOf(n)
		}
		if words[0] == "vendor_failure" && words[2] != "rejected" && !p.probe {
			l := s.lost[words[1]]
			if l == nil {
				l = &lost{vendor: words[1]}
				s.lost[words[1]], s.users[words[1]] = l, map[string]bool{}
			}
			l.orders++
			l.value += amountOf(n)
			s.users[words[1]][customerOf(n)] = true
			l.users = len(s.users[words[1]])
		}
	}
}

// recover ends a chapter: the shop is well for a while, and every outage is over. The chapter had an outage of each of
// these vendors.
func (s *story) recover(vendors ...string) {
	well := purchase{calls: []call{vetted, taxed, paid, shipped}, status: 201, ended: "success"}
	s.place(12, well)
	s.now = s.now.Add(70 * time.Second)
	s.place(12, well)
	for _, vendor := range vendors {
		l := s.lost[vendor]
		if l == nil {
			l = &lost{vendor: vendor}
		}
		s.outages = append(s.outages, *l)
	}
	s.lost, s.users = map[string]*lost{}, map[string]map[string]bool{}
	s.now = s.now.Add(20 * time.Second)
}

// tell is the story. Reasons are those of the table "Reasons" in docs/configuration.md.
func tell() *story {
	s := &story{
		now:   time.Date(2025, 12, 5, 15, 0, 0, 0, time.UTC),
		ended: map[string]int{}, worth: map[string]float64{}, called: map[string]int{},
		lost: map[string]*lost{}, users: map[string]map[string]bool{},
	}
	s.recover() // an ordinary morning

	// Each vendor in turn. The shop does not go on where one failed.
	s.place(12, purchase{calls: []call{taxed, {to: "payments", status: 500, why: "error"}}, status: 500, ended: "vendor_failure payments error"})
	s.recover("payments")
	s.place(12, purchase{calls: []call{{to: "tax", code: "UNAVAILABLE", why: "unreachable"}}, status: 502, ended: "vendor_failure tax unreachable"})
	s.recover("tax")
	s.place(12, purchase{calls: []call{taxed, paid, {to: "shipping", fault: "java.net.ConnectException", says: "Connection refused", why: "unreachable"}},
		status: 500, ended: "vendor_failure shipping unreachable"})
	s.recover("shipping")

	s.place(12, purchase{calls: []call{{to: "risk.example.net", status: 500, why: "error"}}, status: 500, ended: "vendor_failure risk.example.net error"})
	s.recover("risk.example.net")

	// Two together: the one that failed first is to blame, both are down.
	s.place(12, purchase{calls: []call{{to: "tax", code: "INTERNAL", why: "error"}, {to: "payments", status: 503, why: "error"}},
		status: 500, ended: "vendor_failure tax error"})
	s.recover("tax", "payments")
	s.place(12, purchase{calls: []call{
		{to: "tax", code: "DEADLINE_EXCEEDED", takes: 900 * time.Millisecond, why: "timeout"},
		{to: "payments", status: 504, takes: 300 * time.Millisecond, beside: true, why: "timeout"},
	}, status: 504, ended: "vendor_failure payments timeout"})
	s.recover("payments", "tax")

	// All three alternately.
	for range 6 {
		s.place(1, purchase{calls: []call{{to: "tax", code: "UNKNOWN", why: "error"}}, status: 500, ended: "vendor_failure tax error"})
		s.place(1, purchase{calls: []call{taxed, {to: "payments", status: 500, why: "error"}}, status: 500, ended: "vendor_failure payments error"})
		s.place(1, purchase{calls: []call{taxed, paid, {to: "shipping", status: 500, why: "error"}}, status: 500, ended: "vendor_failure shipping error"})
	}
	s.recover("tax", "payments", "shipping")

	// Retries that end well: calls that failed, and orders that did not. One call in four is no outage.
	for range 12 {
		s.place(1, purchase{calls: []call{taxed, {to: "payments", status: 503, why: "error"}, {to: "payments", status: 201, resend: 1}, shipped},
			status: 201, ended: "success"})
		s.place(2, purchase{calls: []call{taxed, paid, shipped}, status: 201, ended: "success"})
	}
	s.recover()

	// Every status of gRPC, once, among orders that are well.
	whys := map[string]string{
		"CANCELLED": "rejected", "UNKNOWN": "error", "INVALID_ARGUMENT": "rejected", "DEADLINE_EXCEEDED": "timeout", "NOT_FOUND": "rejected",
		"ALREADY_EXISTS": "rejected", "PERMISSION_DENIED": "unauthorized", "RESOURCE_EXHAUSTED": "throttled", "FAILED_PRECONDITION": "rejected",
		"ABORTED": "rejected", "OUT_OF_RANGE": "rejected", "UNIMPLEMENTED": "error", "INTERNAL": "error", "UNAVAILABLE": "unreachable",
		"DATA_LOSS": "error", "UNAUTHENTICATED": "unauthorized",
	}
	for _, code := range grpcCodes[1:] {
		why := whys[code]
		s.place(1, purchase{calls: []call{{to: "tax", code: code, why: why}}, status: 500, ended: "vendor_failure tax " + why})
		s.place(9, purchase{calls: []call{taxed, paid, shipped}, status: 201, ended: "success"})
	}
	s.recover()

	// Shipping is slow, and every customer gets the order.
	s.place(12, purchase{calls: []call{taxed, paid, {to: "shipping", status: 201, takes: 4 * time.Second, why: "slow"}}, status: 201, ended: "success"})
	s.recover("shipping")

	// What the vendors' own words mean: too many charges at once, and no carrier for an address.
	s.place(12, purchase{calls: []call{taxed, {to: "payments", status: 409, why: "throttled"}}, status: 500, ended: "vendor_failure payments throttled"})
	s.recover("payments")
	for range 4 {
		s.place(1, purchase{calls: []call{taxed, paid, {to: "shipping", status: 503, why: "rejected"}}, status: 500, ended: "vendor_failure shipping rejected"})
		s.place(4, purchase{calls: []call{taxed, paid, shipped}, status: 201, ended: "success"})
	}
	s.recover()

	// Nobody's outage: cards that are declined, faults of the shop's own, and both by gRPC.
	for range 4 {
		s.place(1, purchase{calls: []call{taxed, {to: "payments", status: 402, why: "rejected"}}, status: 402, ended: "rejected"})
		s.place(1, purchase{calls: []call{taxed, paid, shipped}, status: 500, ended: "own_failure"})
		s.place(1, purchase{app: true, calls: []call{taxed, {to: "payments", status: 402, why: "rejected"}}, code: "FAILED_PRECONDITION", ended: "rejected"})
		s.place(1, purchase{app: true, calls: []call{taxed, paid, shipped}, code: "INTERNAL", ended: "own_failure"})
		s.place(6, purchase{app: true, calls: []call{taxed, paid, shipped}, code: "OK", ended: "success"})
	}
	s.recover()

	// Orders of the app, and of a test order beside them: it opens outages too, and costs nobody anything.
	for range 6 {
		s.place(2, purchase{app: true, calls: []call{taxed, {to: "payments", fault: "timeout", says: "context deadline exceeded", why: "timeout"}},
			code: "UNAVAILABLE", ended: "vendor_failure payments timeout"})
		s.place(1, purchase{probe: true, calls: []call{taxed, {to: "payments", fault: "timeout", says: "context deadline exceeded", why: "timeout"}},
			status: 504, ended: "vendor_failure payments timeout"})
	}
	s.recover("payments")
	return s
}

// spans are those of one order: its own first, then for each call one, among others that a shop has: of the database,
// of a call to another host, and of another path of a vendor's host, which fails.
func (s *story) spans(n int, c *convention) ptrace.Traces {
	p, at := s.orders[n], s.at[n]
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	rs.SetSchemaUrl(c.schema)
	scope := rs.ScopeSpans().AppendEmpty()
	var trace pcommon.TraceID
	binary.BigEndian.PutUint64(trace[8:], uint64(n+1))
	add := func() ptrace.Span {
		span := scope.Spans().AppendEmpty()
		span.SetTraceID(trace)
		var id pcommon.SpanID
		binary.BigEndian.PutUint32(id[:], uint32(n+1))
		binary.BigEndian.PutUint32(id[4:], uint32(scope.Spans().Len()))
		span.SetSpanID(id)
		if scope.Spans().Len() > 1 {
			span.SetParentSpanID(scope.Spans().At(0).SpanID())
		}
		return span
	}
	order := add()

	database := add()
	database.SetKind(ptrace.SpanKindClient)
	database.SetName("SELECT shop.carts")
	for key, value := range map[string]string{"db.system.name": "postgresql", "db.namespace": "shop", "db.query.summary": "SELECT shop.carts", "server.address": "db.internal"} {
		database.Attributes().PutStr(key, value)
	}
	database.SetStartTimestamp(pcommon.NewTimestampFromTime(at))
	database.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Millisecond)))
	for _, e := range []exchange{
		{method: "GET", host: "fx.example.net", path: "/rates", query: "base=EUR", status: 503},
		{method: "GET", host: "api.payments.example.com", path: "/v1/customers/12314", status: 404},
		{service: "tax.v1.RatesService", rpc: "List", host: "tax.example.com", code: "NOT_FOUND"},
	} {
		c.write(add(), ptrace.SpanKindClient, &e, at, time.Millisecond)
	}

	begin, end := at, at
	for _, call := range p.calls {
		takes := call.takes
		if takes == 0 {
			takes = 100 * time.Millisecond
		}
		if !call.beside {
			begin = end
		}
		e := exchange{status: call.status, code: call.code, fault: call.fault, faultMessage: call.says, resend: call.resend}
		switch call.to {
		case "payments":
			e.method, e.host, e.path = "POST", "api.payments.example.com", "/v1/charges"
		case "tax":
			e.service, e.rpc, e.host = "tax.v1.TaxService", "Calculate", "tax.example.com"
		case "shipping":
			e.method, e.host, e.path, e.query = "POST", "eu.shipping.example.com", "/v2/shipments", "label=pdf"
		default:
			e.method, e.host, e.path = "POST", call.to, "/score"
		}
		c.write(add(), ptrace.SpanKindClient, &e, begin, takes)
		if later := begin.Add(takes); later.After(end) {
			end = later
		}
	}

	e := exchange{method: "POST", host: "shop.example.com", path: fmt.Sprintf("/api/carts/%d/checkout", n), route: "/api/carts/{cart}/checkout",
		query: "lang=de", status: p.status, agent: "CERN-LineMode/2.15 libwww/2.17b3"}
	if p.app {
		e = exchange{service: "shop.v1.Checkout", rpc: "PlaceOrder", host: "shop.example.com", code: p.code}
	}
	c.write(order, ptrace.SpanKindServer, &e, at, end.Sub(at)+50*time.Millisecond)
	if p.probe {
		order.Attributes().PutStr("user_agent.synthetic.type", "test")
	}
	putAttribute(order.Attributes(), c.user(customerOf(n)))
	order.Attributes().PutDouble("app.order.amount", amountOf(n))
	return td
}

// shop is the processor with exactly the vendor_failure of a configuration, in YAML.
type shop struct {
	tel   *componenttest.Telemetry
	spans *consumertest.TracesSink
	log   *observer.ObservedLogs
	send  func(ptrace.Traces)
	close func()
}

func newShop(t *testing.T, config []byte) *shop {
	parsed, err := confmap.NewRetrievedFromYAML(config)
	require.NoError(t, err)
	whole, err := parsed.AsConf()
	require.NoError(t, err)
	part, err := whole.Sub("processors::vendor_failure")
	require.NoError(t, err)
	factory := vendorfailureprocessor.NewFactory()
	cfg := factory.CreateDefaultConfig()
	require.NoError(t, part.Unmarshal(cfg))

	s := &shop{tel: componenttest.NewTelemetry(), spans: new(consumertest.TracesSink)}
	set := processortest.NewNopSettings(factory.Type())
	set.TelemetrySettings = s.tel.NewTelemetrySettings()
	core, log := observer.New(zap.InfoLevel)
	set.Logger, s.log = zap.New(core), log
	processor, err := factory.CreateTraces(context.Background(), set, cfg, s.spans)
	require.NoError(t, err)
	require.NoError(t, processor.Start(context.Background(), componenttest.NewNopHost()))
	s.send = func(td ptrace.Traces) { require.NoError(t, processor.ConsumeTraces(context.Background(), td)) }
	s.close = func() { require.NoError(t, processor.Shutdown(context.Background())) }
	return s
}

// points adds up a counter by some attributes, joined by blanks; zeros are left out.
func points[N int64 | float64](t *testing.T, tel *componenttest.Telemetry, name string, by ...string) map[string]N {
	m, err := tel.GetMetric(name)
	require.NoError(t, err)
	out := map[string]N{}
	for _, p := range m.Data.(metricdata.Sum[N]).DataPoints {
		var key []string
		for _, name := range by {
			if v, ok := p.Attributes.Value(attribute.Key(name)); ok {
				key = append(key, v.AsString())
			}
		}
		out[strings.Join(key, " ")] += p.Value
	}
	maps.DeleteFunc(out, func(_ string, n N) bool { return n == 0 })
	return out
}

// byVendor sorts the outages of each vendor, those of one vendor by time.
func byVendor(outages []lost) []lost {
	outages = slices.Clone(outages)
	slices.SortStableFunc(outages, func(a, b lost) int { return strings.Compare(a.vendor, b.vendor) })
	return outages
}

// arrivals are the ways in which the spans of an order may come. An SDK sends a span when it has ended. Of two calls that
// failed and come after the order's own span, in requests of their own, the one that comes first is to blame.
var arrivals = []struct {
	name string
	// What bears tags besides the calls to configured vendors: orders whose calls come no later, and calls to
	// discovered vendors that come no earlier than an order.
	orders, discovered bool
	cut                func(ptrace.Traces) []ptrace.Traces
}{
	{"at once", true, true, func(td ptrace.Traces) []ptrace.Traces { return []ptrace.Traces{td} }},
	{"span by span", true, false, asTheyEnded},
	{"span by span, the order's first", false, true, func(td ptrace.Traces) []ptrace.Traces {
		cut := asTheyEnded(td)
		last := len(cut) - 1
		return append(cut[last:], cut[:last]...)
	}},
}

// asTheyEnded gives each span a request of its own, in the order of their ends.
func asTheyEnded(td ptrace.Traces) (cut []ptrace.Traces) {
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().Sort(func(a, b ptrace.Span) bool { return a.EndTimestamp() < b.EndTimestamp() })
	for i := range td.SpanCount() {
		one := ptrace.NewTraces()
		td.CopyTo(one)
		n := 0
		one.ResourceSpans().At(0).ScopeSpans().At(0).Spans().RemoveIf(func(ptrace.Span) bool {
			n++
			return n-1 != i
		})
		cut = append(cut, one)
	}
	return cut
}

// TestCheckout: the story of a shop with three vendors, told in each generation of the semantic conventions, comes to the
// same in the processor as examples/checkout.yaml configures it.
func TestCheckout(t *testing.T) {
	want := tell()
	config, err := os.ReadFile("checkout.yaml")
	require.NoError(t, err)
	for _, c := range conventions() {
		for _, arrival := range arrivals {
			t.Run(c.name+"/"+arrival.name, func(t *testing.T) {
				s := newShop(t, config)
				for n := range want.orders {
					for _, request := range arrival.cut(want.spans(n, &c)) {
						s.send(request)
					}
				}
				s.close()

				assert.Equal(t, want.ended, toInt(points[int64](t, s.tel, "vendor.orders", "vendor.outcome", "vendor.name", "vendor.failure.reason")))
				assert.Equal(t, want.called, toInt(points[int64](t, s.tel, "vendor.calls", "vendor.name", "vendor.outcome", "vendor.failure.reason")))
				assert.InDeltaMapValues(t, want.worth, points[float64](t, s.tel, "vendor.order.value", "vendor.outcome"), 1e-6)

				var outages []lost
				opened := 0
				for _, entry := range s.log.All() {
					fields := entry.ContextMap()
					switch fields["event.name"] {
					case "vendor.outage.start":
						opened++
					case "vendor.outage.end":
						l := lost{vendor: fields["vendor.name"].(string), orders: int(fields["vendor.outage.orders"].(int64))}
						if users, ok := fields["vendor.outage.users"].(int64); ok {
							l.users = int(users)
						}
						l.value, _ = fields["vendor.outage.value"].(float64)
						outages = append(outages, l)
					}
				}
				assert.Equal(t, byVendor(want.outages), byVendor(outages))
				assert.Equal(t, len(want.outages), opened)

				assertTags(t, want, s.spans.AllTraces(), arrival.orders, arrival.discovered)
			})
		}
	}
}

func toInt(points map[string]int64) map[string]int {
	out := map[string]int{}
	for key, n := range points {
		out[key] = int(n)
	}
	return out
}

// assertTags holds the tags of spans against the story: those of calls that failed, and of orders that a vendor broke.
func assertTags(t *testing.T, want *story, requests []ptrace.Traces, orders, discovered bool) {
	t.Helper()
	count := func(tags map[string]int, td ptrace.Traces) {
		for _, span := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			vendor, ok := span.Attributes().Get("vendor.name")
			if !ok || span.Kind() == ptrace.SpanKindServer && !orders {
				continue
			}
			reason, _ := span.Attributes().Get("vendor.failure.reason")
			tags[fmt.Sprint(binary.BigEndian.Uint64(traceOf(span)[8:])-1, span.Kind(), " ", vendor.Str(), " ", reason.Str())]++
		}
	}
	got := map[string]int{}
	for _, td := range requests {
		count(got, td)
	}
	expected := map[string]int{}
	for n, p := range want.orders {
		for _, c := range p.calls {
			if c.why != "" && (discovered || c.to != vetted.to) {
				expected[fmt.Sprint(n, ptrace.SpanKindClient, " ", c.to, " ", c.why)]++
			}
		}
		if blamed, ok := strings.CutPrefix(p.ended, "vendor_failure "); ok && orders {
			expected[fmt.Sprint(n, ptrace.SpanKindServer, " ", blamed)]++
		}
	}
	assert.Equal(t, expected, got)
}

func traceOf(span ptrace.Span) []byte {
	id := span.TraceID()
	return id[:]
}

// TestCheckoutEndToEnd: the same through the built Collector, over the wire, and as Go's otelgrpc tells it.
func TestCheckoutEndToEnd(t *testing.T) {
	for _, c := range []convention{conventions()[0], otelgrpc()} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assertEndToEnd(t, &c)
		})
	}
}

func assertEndToEnd(t *testing.T, c *convention) {
	want := tell()
	folder := t.TempDir()
	collector, err := builtcollector.Start(t.Context(), root, withFiles(t, "checkout.yaml", folder), folder)
	require.NoError(t, err)
	defer collector.Kill()
	var encoder ptrace.JSONMarshaler
	for n := range want.orders {
		request, err := encoder.MarshalTraces(want.spans(n, c))
		require.NoError(t, err)
		post(t, collector.OTLP+"/v1/traces", string(request))
	}
	samples := eventually(t, collector, "traces", len(want.orders))
	require.NoError(t, collector.Stop())

	sums := func(name string, by ...string) map[string]float64 {
		out := map[string]float64{}
		for _, s := range samples {
			if s.Name != name {
				continue
			}
			var key []string
			for _, label := range by {
				if s.Labels[label] != "" {
					key = append(key, s.Labels[label])
				}
			}
			out[strings.Join(key, " ")] += s.Value
		}
		maps.DeleteFunc(out, func(_ string, n float64) bool { return n == 0 })
		return out
	}
	floats := func(counts map[string]int) map[string]float64 {
		out := map[string]float64{}
		for key, n := range counts {
			out[key] = float64(n)
		}
		return out
	}
	outages := map[string]int{}
	for _, l := range want.outages {
		outages[l.vendor]++
	}
	assert.Equal(t, floats(want.ended), sums("vendor_orders_total", "vendor_outcome", "vendor_name", "vendor_failure_reason"))
	assert.Equal(t, floats(want.called), sums("vendor_calls_total", "vendor_name", "vendor_outcome", "vendor_failure_reason"))
	assert.Equal(t, floats(outages), sums("vendor_outages_total", "vendor_name"))
	assert.Empty(t, sums("vendor_outage", "vendor_name"), "all are over")
	assert.InDeltaMapValues(t, want.worth, sums("vendor_order_value_total", "vendor_outcome"), 1e-6)

	file, err := os.ReadFile(folder + "/traces.jsonl")
	require.NoError(t, err)
	var requests []ptrace.Traces
	for line := range strings.Lines(string(file)) {
		var decoder ptrace.JSONUnmarshaler
		batch, err := decoder.UnmarshalTraces([]byte(line))
		require.NoError(t, err)
		for _, rs := range batch.ResourceSpans().All() {
			one := ptrace.NewTraces()
			rs.CopyTo(one.ResourceSpans().AppendEmpty())
			requests = append(requests, one)
		}
	}
	assertTags(t, want, requests, true, true)
}
