package vendorfailureprocessor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// TestBrokenTelemetryPasses: whatever a span or record holds, it leaves as it came.
func TestBrokenTelemetryPasses(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Discover = &DiscoverConfig{MaxVendors: 2}
	h := start(t, cfg)
	// Long ones stand in each of 25 attributes of 21 spans and 42 events.
	values := []any{nil, true, int64(math.MinInt64), math.NaN(), math.Inf(1), 1e308, "", "\xff\xfe", "\xff.example.com", strings.Repeat("a.", maxHost) + "com", strings.Repeat("x", 1<<14), []byte{0, 255}, []any{1, "a", nil}, map[string]any{"a": map[string]any{"b": []any{}}}}
	deep := strings.Repeat(`{"resBody":`, 100_000)
	nested := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	bodies := append([]any{deep, nested, `{"path":"/api/order","method":"POST","statusCode":500,"resBody":` + nested + `}`,
		`{"path":"/api/order","method":"POST","statusCode":200,"resBody":` + strings.Repeat(`"\"`, 1000), "{", `{"`, `{"a`, `{"path":`, `"`, `""`, `"\`, "\x00{}", "{}{}"}, values...)

	td, ld := ptrace.NewTraces(), plog.NewLogs()
	keys := []string{
		"http.request.method", "http.method", "http.route", "url.path", "http.target", "url.full", "http.url", "server.address", "server.port",
		"net.peer.name", "net.peer.port", "url.scheme", "http.response.status_code", "http.status_code", "error.type", "rpc.system",
		"rpc.grpc.status_code", "rpc.response.status_code", "exception.message", "exception.type",
		"rpc.service", "rpc.method", "service.peer.name", "user_agent.synthetic.type", "db.system",
	}
	for i, v := range slices.Concat(values, values, values) {
		for kind := range ptrace.SpanKindConsumer + 2 {
			s := addSpan(td, 1, ptrace.SpanKind(kind), nil)
			for _, key := range keys {
				require.NoError(t, s.Attributes().PutEmpty(key).FromRaw(v))
			}
			if i >= len(values) { // no database's
				s.Attributes().Remove("db.system")
			}
			if i >= 2*len(values) { // without what tells more
				for _, key := range []string{"url.full", "http.url"} {
					s.Attributes().Remove(key)
				}
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

// TestNestingEndsNoProcess: gjson's own check calls itself for each level, and a stack of a gigabyte ends the process.
func TestNestingEndsNoProcess(t *testing.T) {
	const levels = 16 << 20 // within the 20 MiB that an OTLP receiver takes by default
	deep := strings.Repeat("[", levels)
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"a":`+deep[:levels/2])) + ".e30.c2ln"
	h := start(t, pizzaConfig())
	for _, body := range []string{
		`{"path":"/api/order","method":"POST","statusCode":200,"resBody":{"jwt":"x","a":` + deep,
		`{"path":"/api/order","method":"POST","statusCode":200,"resBody":{"jwt":"` + token + `"}}`,
		`{"path":"/api/order","method":"POST","statusCode":500,"resBody":"\\u0041` + deep + `"}`,
		deep,
	} {
		ld := plog.NewLogs()
		r := addRecord(ld, body, "type", "http")
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		assert.True(t, r.Body().Str() == body, "it leaves as it came")
	}
	h.shutdown(t)
	assert.Equal(t, map[string]int{"success": 1, "vendor_failure": 1, "own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
}

func TestIsJSON(t *testing.T) {
	pad := strings.Repeat(" ", maxRecursion)
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"short", `{"a":[1]}`, true},
		{"short, cut off", `{"a":[1`, false},
		{"long", `{"a":[1]}` + pad, true},
		{"long, cut off", `{"a":[1` + pad, false},
		{"deep", strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + pad, true},
		{"deeper than reason", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + pad, false},
	} {
		assert.Equal(t, tc.want, isJSON([]byte(tc.text)), tc.name)
	}
}

// TestEndlessHost: what is longer than a host's name can be is none, and its parents are not looked for one by one.
func TestEndlessHost(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors[0].Calls.URLs = []string{"https://*.example.com"}
	ts, err := newTargets(cfg.Vendors, nil)
	require.NoError(t, err)
	for labels, want := range map[int]int16{1: 0, 100: 0, 200: noVendor, 1 << 19: noVendor} {
		host := strings.Repeat("a.", labels) + "example.com"
		found, _ := ts.find(address{host: host, port: 443}, nil)
		assert.Equal(t, want, found, "%d labels", labels)
		seen := int16(noVendor)
		ts.at(host, func(t *target) { seen = t.vendor })
		assert.Equal(t, want, seen, "%d labels", labels)
	}
}

// TestEndlessMembers: of members with the same key the first counts, as in the rest of an object.
func TestEndlessMembers(t *testing.T) {
	ld := plog.NewLogs()
	for body, want := range map[string]string{
		`{"meta":{"res":{"statusCode":200}},"meta":{"res":{"statusCode":500}}}`: "200",
		`{"meta":{"other":1},"meta":{"res":{"statusCode":500}}}`:                "",
		`{"meta":{"other":1},"meta.res.statusCode":500}`:                        "500",
		`{` + strings.Repeat(`"http":{},`, 10_000) + `"http.status_code":404}`:  "404",
	} {
		l := readLine(&asked{record: addRecord(ld, body)}, nil)
		assert.Equal(t, want, l.field(statusNames).String(), "%.80s", body)
	}
	l := readLine(&asked{record: addRecord(ld, `{`+strings.Repeat(`"http":{},`, 10_000)+`"http.method":"DELETE"}`)}, nil)
	assert.Equal(t, "DELETE", l.first(&methods).String())
}

// TestRoomOfLines: what is unescaped of a batch takes the room of one line, and no part of a line is unescaped for each
// name that is looked for within it.
func TestRoomOfLines(t *testing.T) {
	long := strings.Repeat(`\"`, 1000)
	for name, body := range map[string]string{
		"orders that failed":     `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"{\"a\":\"` + long + `\"}"}`,
		"a member entered often": `{"path":"/api/order","method":"POST","http":"{\"a\":\"` + long + `\"}","statusCode":500,"resBody":"boom"}`,
	} {
		h := start(t, pizzaConfig())
		ld := plog.NewLogs()
		for range 300 {
			addRecord(ld, body, "type", "http")
		}
		b := &batch{}
		require.NoError(t, h.logs.(*logsProcessor).watch.inspectLogs(ld, b))
		h.shutdown(t)
		assert.Len(t, b.orders, 300, name)
		assert.Less(t, cap(b.asked.text), 4*len(body), name)
	}
}

// TestEndlessTrace: a sender that gives everything one trace id makes that trace remember no more than waits.
func TestEndlessTrace(t *testing.T) {
	const limit = 100
	m := newMemory(time.Minute, limit)
	decided := 0
	for n := range 100 * limit {
		counted, _ := m.learn(day.Add(time.Duration(n)), nil, []order{{outcome: ownFailure, waits: true, trace: pcommon.TraceID{1}}})
		decided += len(counted)
		waiting := 0
		for w := m.young[pcommon.TraceID{1}].first; w != nil; w = w.next {
			waiting++
		}
		require.LessOrEqual(t, waiting, limit)
	}
	assert.Equal(t, 99*limit, decided)
	blamed, _ := m.learn(day, map[pcommon.TraceID]*evidence{{1}: {{fault: fault{reason: reason.Error}, isCall: true}}}, nil)
	assert.Len(t, blamed, limit, "those that still wait")
	assert.Empty(t, m.close())
}

// TestRegexBombs: a pattern that takes other engines for ever takes RE2 time with the length of what it is held against;
// one too large for RE2 is refused with its key.
func TestRegexBombs(t *testing.T) {
	for _, pattern := range []string{"(a{1000}){1000}", "((a{30}){30}){30}", "(a"} {
		cfg := pizzaConfig()
		cfg.Vendors[0].Responses[0].Conditions = []string{`IsMatch(log.body, "` + pattern + `")`}
		assert.ErrorContains(t, cfg.Validate(), "vendors[0].responses[0].conditions[0]: ", pattern)
	}
	cfg := pizzaConfig()
	cfg.Orders[0].Conditions = []string{`not IsMatch(log.body, "(x+x+)+y")`, `not IsMatch(log.body, "^(([a-z])+.)+[A-Z]([a-z])+$")`}
	h := start(t, cfg)
	ld := plog.NewLogs()
	body := `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"` + strings.Repeat("x", 1<<18) + `"}`
	addRecord(ld, body, "type", "http")
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
}

// TestNotANumber: a number that JSON cannot write hides nothing of the map that it is in.
func TestNotANumber(t *testing.T) {
	for _, price := range []any{math.NaN(), math.Inf(1), math.Inf(-1), []any{math.NaN()}} {
		h := start(t, incidentConfig())
		ld := plog.NewLogs()
		request := map[string]any{"items": []any{map[string]any{"price": price}}}
		addRecord(ld, map[string]any{"path": "/api/order", "method": "POST", "statusCode": 500, "reqBody": request, "resBody": "fetch failed"}, "type", "http")
		addRecord(ld, "http", "type", "http", "path", "/", "method", "POST", "statusCode", 500, "reqBody", request)
		before := marshalLogs(t, ld)
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"vendor_failure": 1, "own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"), price)
		assert.Equal(t, map[string]int{"": 2}, h.counts(t, "otelcol_processor_vendor_failure_unreadable_values"), price)
		eachRecord(ld, func(r plog.LogRecord) { untagged(pcommon.NewMap(), r.Attributes()) })
		assert.Equal(t, before, marshalLogs(t, ld), "it leaves as it came")
	}
}

// BenchmarkHostile tells what each kind of hostile telemetry costs, by the megabyte, under the rules of
// examples/jwt-pizza.yaml. Of the lines that begin with "asked" its OTTL condition is asked, if they are within bounds.
func BenchmarkHostile(b *testing.B) {
	const size = 1 << 20
	order := func(body string) string {
		return `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":{"items":[]},"resBody":` + body + `}`
	}
	fill := func(text string) string { return strings.Repeat(text, size/len(text)) }
	again := func(text string, times int) string {
		for range times {
			raw, err := json.Marshal(text)
			require.NoError(b, err)
			text = string(raw)
		}
		return text
	}
	const request = `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":`
	const fails = `,"resBody":"{\"message\":\"Failed to fulfill order at factory\"}"}`
	asks := func(of string) string { return request + of + fails }
	most := maxAskedValues - 100
	for _, tc := range []struct{ name, body string }{
		{"asked, nested objects", asks(fill(`{"a":`))},
		{"asked, nested to 9,900 levels", asks(nest(9_900))},
		{"asked, nested to 9,900 levels and encoded", asks(quoted(nest(9_900)))},
		{"asked, members", asks(`{"items":[` + fill(`{"a":1},`) + "1]}")},
		{"asked, as many members as may be", asks(`{"items":[` + strings.Repeat(`{"a":1},`, most/2) + "1]}")},
		{"asked, as deep and as many as may be", asks(`{"items":[` + strings.Repeat(nest(maxAskedLevels-4)+",", most/maxAskedLevels) + "1]}")},
		{"asked, text", asks(`{"items":["` + fill("x") + `"]}`)},
		{"no order at all", fill("x")},
		{"text", order(`"` + fill("x") + `"`)},
		{"escapes", order(`"` + fill(`\u0041`) + `"`)},
		{"array", order("[" + fill("1,") + "1]")},
		{"nested arrays", order(fill("["))},
		{"nested objects", order(fill(`{"a":`))},
		{"encoded eight times", order(again(strings.Repeat("x", size), 8))},
		{"quotes encoded six times", order(again(strings.Repeat(`"`, size>>6), 6))},
		{"members", order("1")[:len(order("1"))-1] + fill(`,"http":{}`) + "}"},
		{"members in the answer", order(`{"a":0` + fill(`,"b":"\u0041"`) + "}")},
		{"token", strings.Replace(order(`{"jwt":"`+base64.RawURLEncoding.EncodeToString([]byte(`{"a":`+fill("[")[:size*3/4]))+`.e30.c2ln"}`), "500", "200", 1)},
		{"not UTF-8", order(`"` + fill("\xff\xfe") + `"`)},
	} {
		b.Run("line/"+tc.name, func(b *testing.B) {
			h := &harness{tel: componenttest.NewTelemetry()}
			h.open(b, NewFactory(), exampleConfig(b, "jwt-pizza.yaml"), consumertest.NewNop(), consumertest.NewNop())
			defer h.shutdown(b)
			b.SetBytes(int64(len(tc.body)))
			b.ReportAllocs()
			for b.Loop() {
				ld := plog.NewLogs()
				addRecord(ld, tc.body, "type", "http")
				require.NoError(b, h.logs.ConsumeLogs(context.Background(), ld))
			}
		})
	}
	many := make([]any, 0, 20_000)
	for n := range 10_000 {
		many = append(many, "attribute."+strconv.Itoa(n), n)
	}
	for _, tc := range []struct {
		name       string
		attributes []any
	}{
		{"10,000 attributes", append(many, orderSpan(500)...)},
		{"a host of 1 MB", []any{"url.full", "http://" + fill("a.") + "/", "http.request.method", "POST"}},
		{"a path of 1 MB", []any{"http.request.method", "POST", "url.path", fill("/")}},
		{"a method of 1 MB", []any{"http.request.method", fill("P"), "url.path", "/api/order"}},
	} {
		for _, kind := range []ptrace.SpanKind{client, server} {
			b.Run(kind.String()+" span/"+tc.name, func(b *testing.B) {
				cfg := pizzaConfig()
				for n := range 10 {
					cfg.Vendors[0].Calls.URLs = append(cfg.Vendors[0].Calls.URLs, "*.e"+strconv.Itoa(n)+".example.com")
				}
				h := &harness{tel: componenttest.NewTelemetry()}
				h.open(b, NewFactory(), cfg, consumertest.NewNop(), consumertest.NewNop())
				defer h.shutdown(b)
				td := ptrace.NewTraces()
				addSpan(td, 1, kind, tc.attributes)
				b.ReportAllocs()
				for b.Loop() {
					require.NoError(b, h.traces.ConsumeTraces(context.Background(), td))
				}
			})
		}
	}
}

// TestEndlessStrangers: calls that wait for an order that never comes are as many as traces may be, however many a trace
// has, and those of a trace that goes on are among them.
func TestEndlessStrangers(t *testing.T) {
	const limit = 100
	cfg := pizzaConfig()
	cfg.Discover = &DiscoverConfig{MaxVendors: 32}
	d := newDiscovery(cfg, newVendorNames(cfg, zap.NewNop()))
	m := newMemory(time.Second, limit)
	waiting := func() (n int) {
		for _, generation := range []map[pcommon.TraceID]*remembered{m.young, m.old} {
			for _, r := range generation {
				for range r.unclaimed() {
					n++
				}
			}
		}
		return n
	}
	call := func(n int) strangerSpan {
		s := strangerSpan{stranger: stranger{name: unique.Make("h" + strconv.Itoa(n)), service: unique.Make("shop")}}
		s.trace = pcommon.TraceID{1, byte(n >> 8), byte(n)}
		return s
	}
	nobody := func(string) caller { return 0 }
	for range 2 * maxStrangers {
		for n := range limit / 3 { // fewer traces than fit
			m.meet(day, &batch{strangers: []strangerSpan{call(n)}}, d, nobody)
			require.LessOrEqual(t, waiting(), limit+2*maxStrangers)
		}
	}
	m.meet(day, &batch{strangers: []strangerSpan{call(7)}}, d, nobody)
	calls, _ := m.meet(day, &batch{orders: []order{{trace: call(7).trace}}}, d, nobody)
	assert.NotEmpty(t, calls, "the newest are there")
	assert.LessOrEqual(t, m.strangers, limit)
	assert.GreaterOrEqual(t, m.strangers, 0)
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
	h := started(f)
	f.Fuzz(func(t *testing.T, kind, body string) {
		ld := plog.NewLogs()
		r := addRecord(ld, body, "type", kind)
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		assert.Equal(t, body, r.Body().Str())
		addRecord(ld, body)
		addRecord(ld, []byte(body), "type", kind)
		addRecord(ld, "http", "type", kind, "path", body, "method", body, "status", body, "response", body)
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.took(t, 5)
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
