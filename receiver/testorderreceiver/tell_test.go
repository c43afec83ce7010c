package testorderreceiver

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

func text(attributes pcommon.Map) string {
	var all []string
	for name, value := range attributes.All() {
		all = append(all, name+"="+value.AsString())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestMetrics: names, kinds, units and attributes are the contract's.
func TestMetrics(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{order: answers(500, factoryMessage)})
	begun := time.Now()
	h := start(t, pizzaConfig(t, s.URL))
	h.oneRun(t)
	told := h.metrics.AllMetrics()
	md := told[len(told)-1]
	require.Equal(t, 1, md.ResourceMetrics().Len())
	assert.Equal(t, "service.instance.id=instance-1 service.name=otelcol-test-order service.version=1.2.3", text(md.ResourceMetrics().At(0).Resource().Attributes()))
	got := map[string]string{}
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		how := m.Type().String() + " of unit " + m.Unit()
		if m.Type() == pmetric.MetricTypeSum {
			assert.Equal(t, pmetric.AggregationTemporalityCumulative, m.Sum().AggregationTemporality())
			assert.True(t, m.Sum().IsMonotonic())
			for _, p := range m.Sum().DataPoints().All() {
				assert.WithinRange(t, p.StartTimestamp().AsTime(), begun.Add(-time.Second), p.Timestamp().AsTime())
				if p.IntValue() > 0 {
					how += ", " + text(p.Attributes())
				}
			}
		} else {
			for _, p := range m.Gauge().DataPoints().All() {
				how += ", " + text(p.Attributes())
			}
		}
		got[m.Name()] = how
	}
	const whose = "probe.name=test_order"
	assert.Equal(t, map[string]string{
		"probe.success":  "Gauge of unit , " + whose + " vendor.name=pizza-factory",
		"probe.duration": "Gauge of unit s, " + whose + " vendor.name=pizza-factory",
		"probe.step.duration": "Gauge of unit s, " + whose + " probe.step=login vendor.name=pizza-factory, " + whose + " probe.step=order vendor.name=pizza-factory, " +
			whose + " probe.step=logout vendor.name=pizza-factory",
		"probe.runs": "Sum of unit {run}, " + whose + " probe.outcome=vendor_failure probe.step=order vendor.failure.reason=error vendor.name=pizza-factory",
	}, got)
}

// TestTrace: a span for the run and one for each step, which tell what was called, and who speaks.
func TestTrace(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{order: answers(500, factoryMessage)})
	h := start(t, pizzaConfig(t, s.URL))
	h.oneRun(t)
	require.Equal(t, 1, len(h.traces.AllTraces()))
	rs := h.traces.AllTraces()[0].ResourceSpans().At(0)
	assert.Equal(t, "service.instance.id=instance-1 service.name=otelcol-test-order service.version=1.2.3", text(rs.Resource().Attributes()))
	assert.Equal(t, "github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver 1.2.3", rs.ScopeSpans().At(0).Scope().Name()+" "+rs.ScopeSpans().At(0).Scope().Version())
	var got []string
	for _, s := range rs.ScopeSpans().At(0).Spans().All() {
		got = append(got, fmt.Sprintf("%s %s %s %s", s.Kind(), s.Name(), s.Status().Code(), text(s.Attributes())))
	}
	port := s.URL[strings.LastIndex(s.URL, ":")+1:]
	at := "server.address=127.0.0.1 server.port=" + port + " url.full=" + s.URL
	const synthetic = " user_agent.synthetic.type=test"
	assert.Equal(t, []string{
		"Internal test order Error error.type=error probe.name=test_order probe.outcome=vendor_failure probe.step=order" + synthetic + " vendor.failure.reason=error",
		"Client login Unset http.request.method=PUT http.response.status_code=200 probe.name=test_order probe.step=login " + at + "/api/auth" + synthetic,
		"Client order Error error.type=500 http.request.method=POST http.response.status_code=500 probe.name=test_order probe.step=order " + at + "/api/order" + synthetic +
			" vendor.failure.reason=error vendor.name=pizza-factory",
		"Client logout Unset http.request.method=DELETE http.response.status_code=200 probe.name=test_order probe.step=logout " + at + "/api/auth" + synthetic,
	}, got)

	spans := h.spans()
	root := spans["test order"]
	assert.True(t, root.ParentSpanID().IsEmpty())
	ids := map[pcommon.SpanID]bool{}
	for _, s := range spans {
		assert.Equal(t, root.TraceID(), s.TraceID())
		assert.False(t, s.SpanID().IsEmpty())
		ids[s.SpanID()] = true
		if s.SpanID() != root.SpanID() {
			assert.Equal(t, root.SpanID(), s.ParentSpanID())
			assert.False(t, s.StartTimestamp() < root.StartTimestamp() || s.EndTimestamp() > root.EndTimestamp() || s.EndTimestamp() < s.StartTimestamp())
		}
	}
	assert.Len(t, ids, 4)

	// What the shop was sent joins its own trace to this one, and tells it that nobody waits. Each came by a connection
	// of its own.
	connections := map[string]bool{}
	for _, r := range s.requests() {
		connections[r.RemoteAddr] = true
	}
	assert.Len(t, connections, 3)
	for i, name := range []string{"login", "order", "logout"} {
		header := s.requests()[i].Header
		assert.Equal(t, "otelcol-test-order/1.2.3", header.Get("User-Agent"))
		assert.Equal(t, "00-"+root.TraceID().String()+"-"+spans[name].SpanID().String()+"-01", header.Get("traceparent"))
	}
}

// TestVerifyTrace: the span of a verification is a call of the vendor's, and what fetches its keys is in the trace too.
func TestVerifyTrace(t *testing.T) {
	s := newShop(t, nil)
	h := start(t, pizzaConfig(t, s.URL))
	h.oneRun(t)
	verify := h.spans()["verify"]
	port := s.URL[strings.LastIndex(s.URL, ":")+1:]
	assert.Equal(t, ptrace.SpanKindClient, verify.Kind())
	assert.Equal(t, "probe.name=test_order probe.step=verify server.address=127.0.0.1 server.port="+port+" user_agent.synthetic.type=test vendor.name=pizza-factory", text(verify.Attributes()))
	for _, r := range s.requests() {
		if r.URL.Path == "/jwks.json" {
			assert.Contains(t, r.Header.Get("traceparent"), verify.SpanID().String())
		}
	}
	assert.Equal(t, 1, s.count(keys))
}

// TestChanges: a record is told where a run ends otherwise than the one before, and only there.
func TestChanges(t *testing.T) {
	var turn atomic.Int32
	faces := []http.HandlerFunc{issues(good), issues(good), answers(500, factoryMessage), answers(500, factoryMessage), answers(200, html), issues(good)}
	s := newShop(t, map[string]http.HandlerFunc{order: func(w http.ResponseWriter, r *http.Request) {
		faces[min(int(turn.Add(1)), len(faces))-1](w, r)
	}})
	cfg := pizzaConfig(t, s.URL)
	cfg.Interval = 20 * time.Millisecond
	h := start(t, cfg)
	require.Eventually(t, func() bool { return h.logs.LogRecordCount() == 4 && len(h.traces.AllTraces()) > 6 }, time.Minute, time.Millisecond)
	h.shutdown(t)
	var got []string
	for _, r := range h.records() {
		attributes := r.Attributes().AsRaw()
		got = append(got, fmt.Sprintf("%s %s %s: %s (%v, before %v)", r.SeverityText(), r.SeverityNumber(), r.EventName(), r.Body().Str(), attributes["probe.outcome"], attributes["probe.outcome.before"]))
		assert.Equal(t, r.EventName(), attributes["event.name"])
		assert.Equal(t, "test", attributes["user_agent.synthetic.type"])
		assert.Equal(t, "test_order", attributes["probe.name"])
		assert.Equal(t, "pizza-factory", attributes["vendor.name"])
		assert.False(t, r.TraceID().IsEmpty() || r.SpanID().IsEmpty() || r.Timestamp() == 0 || r.ObservedTimestamp() < r.Timestamp())
	}
	assert.Equal(t, []string{
		"INFO Info probe.success: The test order succeeded (success, before <nil>)",
		"ERROR Error probe.failure: The test order failed at step order: error, status 500 is not what was expected (vendor_failure, before success)",
		"ERROR Error probe.failure: The test order failed at step order: bad_response, the answer is not JSON (vendor_failure, before vendor_failure)",
		"INFO Info probe.success: The test order succeeded (success, before vendor_failure)",
	}, got)
	var lines []string
	for _, e := range h.log.All() {
		lines = append(lines, e.Level.String()+" "+e.Message)
	}
	assert.Equal(t, []string{
		"info When a step of the test order fails, it is the failure of whom it speaks for",
		"warn There will be more turns for test orders a day than max_orders_per_day allows. When that many were placed, none is until 00:00 UTC.",
		"info The test order succeeded",
		"warn The test order failed at step order: error, status 500 is not what was expected",
		"warn The test order failed at step order: bad_response, the answer is not JSON",
		"info The test order succeeded",
	}, lines, "the Collector's log tells the same")
	assert.Equal(t, map[string]any{"login": "ourselves", "order": "pizza-factory", "verify": "pizza-factory", "logout": "ourselves"}, h.log.All()[0].ContextMap())
}

// TestSeries: whatever end a run can have is a series of probe.runs from the start on, and one that was not foreseen is
// counted as well.
func TestSeries(t *testing.T) {
	steps := []*step{
		{name: "login", request: &request{}},
		{name: "order", vendor: "v", request: &request{}},
		{name: "blames", vendor: "v", request: &request{}, blame: []string{"x"}},
		{name: "verify", vendor: "v", token: &verification{}},
	}
	teller := newTeller(receivertest.NewNopSettings(metadata.Type), newDefaultConfig(), steps)
	has := func(o outcome, step string) (reasons int) {
		for _, c := range teller.counts {
			if c.outcome == o && c.step == step {
				reasons++
			}
		}
		return reasons
	}
	for step, want := range map[string][2]int{"login": {0, 8}, "order": {8, 2}, "blames": {8, 8}, "verify": {8, 1}} {
		assert.Equal(t, want, [2]int{has(vendorFailure, step), has(ownFailure, step)}, step)
	}
	foreseen := len(teller.counts)
	unforeseen := ending{ownFailure, "verify", reason.Slow}
	teller.count(ending{outcome: success}, 2)
	teller.count(unforeseen, 1)
	teller.count(unforeseen, 1)
	assert.Equal(t, count{ending{outcome: success}, 2}, teller.counts[0])
	assert.Equal(t, []count{{unforeseen, 2}}, teller.counts[foreseen:])
}

// TestDisabled: a metric can be turned off.
func TestDisabled(t *testing.T) {
	s := newShop(t, nil)
	h := start(t, pizzaConfig(t, s.URL, `metrics: {probe.duration: {enabled: false}}`))
	h.oneRun(t)
	names := slices.Collect(maps.Keys(h.last()))
	assert.NotContains(t, names, "probe.duration")
	assert.Contains(t, names, "probe.success")
}

// TestNoSecretLeaves: of passwords, tokens, bodies, links, e-mails and queries nothing gets into a metric, span, record,
// log line or error, whatever the shop and its vendor answer.
func TestNoSecretLeaves(t *testing.T) {
	secrets := []string{password, session, email, "eyJ", "canary", "Veggie", "apiKey", "report", "<html>", "key-1"}
	faces := map[string]http.HandlerFunc{
		"": nil, "PUT /api/auth": answers(401, `{"message":"canary"}`), "PUT /api/auth ": answers(200, "canary"),
		"DELETE /api/auth": answers(500, "canary"), "GET /jwks.json": answers(200, "canary"), "GET /jwks.json ": answers(503, "canary"),
	}
	for i, does := range []http.HandlerFunc{answers(500, factoryMessage), answers(200, html+"canary"), breaksOff(200, "canary"), redirects, huge,
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://canary.invalid/?canary", http.StatusFound)
		},
		func(w http.ResponseWriter, _ *http.Request) { // an answer that HTTP does not know
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = c.Write([]byte("canary\r\n\r\n"))
				_ = c.Close()
			}
		},
		issues(brokenHeader), issues(changedSignature), issues(unsigned), issues(publicSecret), issues(func() string { return "canary.canary.canary" }),
		issues(func() string { return sign(`{"canary":1}`, with("kid", "canary")) }), issues(func() string { return sign(`{"order":{"id":"canary"}}`, nil) })} {
		faces[fmt.Sprintf("%s%*s", order, i, "")] = does
	}
	for at, does := range faces {
		s := newShop(t, map[string]http.HandlerFunc{strings.TrimSpace(at): does})
		cfg := pizzaConfig(t, s.URL)
		cfg.Steps[1].Request.URL += "?key=canary"
		cfg.Steps[1].Request.FollowRedirects = true
		cfg.Steps[1].Request.JSON = `{"items":[{"description":"Veggie"}]}`
		cfg.Steps[1].Request.Headers.Set("X-Key", "canary")
		cfg.Steps[3].Request.URL = urlText(s.URL + "/api/auth?token={{token}}")
		h := start(t, cfg)
		h.oneRun(t)
		var all strings.Builder
		for _, md := range h.metrics.AllMetrics() {
			told, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
			require.NoError(t, err)
			all.Write(told)
		}
		for _, td := range h.traces.AllTraces() {
			told, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
			require.NoError(t, err)
			all.Write(told)
		}
		for _, ld := range h.logs.AllLogs() {
			told, err := (&plog.JSONMarshaler{}).MarshalLogs(ld)
			require.NoError(t, err)
			all.Write(told)
		}
		for _, e := range h.log.All() {
			fmt.Fprintln(&all, e.Message, e.ContextMap())
		}
		assert.Contains(t, all.String(), "pizza-factory", "something was told")
		for _, secret := range secrets {
			assert.NotContains(t, all.String(), secret, at)
		}
	}
}
