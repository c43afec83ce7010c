package vendorfailureprocessor

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// Fuzzing of all that parses: make fuzz. What once failed is a seed in testdata/fuzz. Bodies are in FuzzLine, FuzzWalk and
// FuzzMembers, tokens in FuzzIsJWT, URLs in FuzzSplitURL and FuzzTarget, whole requests in FuzzTraces and FuzzLogs.

// untagged takes the tags off that a map has now and had not before.
func untagged(before, after pcommon.Map) {
	for _, key := range []string{tagVendor, tagReason, tagChaos} {
		if _, ok := before.Get(key); !ok {
			after.Remove(key)
		}
	}
}

// FuzzTraces: a request of any spans that an OTLP receiver takes leaves as it came, apart from tags, and nothing of it is
// counted twice.
func FuzzTraces(f *testing.F) {
	var marshaler ptrace.ProtoMarshaler
	for _, name := range []string{"chaos-fail", "factory-refused", "db-fail"} {
		for _, td := range open(f, name).Traces()[:3] {
			// A dozen spans that are looked at: what is small is mutated often.
			left := 12
			for _, rs := range td.ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					ss.Spans().RemoveIf(func(s ptrace.Span) bool {
						if looked := s.Kind() == server || s.Kind() == client || s.Events().Len() > 0; !looked || left == 0 {
							return true
						}
						left--
						return false
					})
				}
			}
			raw, err := marshaler.MarshalTraces(td)
			require.NoError(f, err)
			f.Add(raw)
		}
	}
	td := ptrace.NewTraces()
	addSpan(td, 1, client, callSpan(500), threw("Error", "fetch failed"))
	addSpan(td, 1, server, orderSpan(500))
	raw, err := marshaler.MarshalTraces(td)
	require.NoError(f, err)
	f.Add(raw)

	h := started(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var unmarshaler ptrace.ProtoUnmarshaler
		td, err := unmarshaler.UnmarshalTraces(raw)
		if err != nil {
			return
		}
		want := ptrace.NewTraces()
		td.CopyTo(want)
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		h.took(t, td.SpanCount())

		var before []pcommon.Map
		eachSpan(want, func(s ptrace.Span) { before = append(before, s.Attributes()) })
		eachSpan(td, func(s ptrace.Span) {
			untagged(before[0], s.Attributes())
			before = before[1:]
		})
		assert.Equal(t, marshalTraces(t, want), marshalTraces(t, td))
	})
}

// FuzzLogs: as FuzzTraces, for log records.
func FuzzLogs(f *testing.F) {
	var marshaler plog.ProtoMarshaler
	for _, name := range []string{"chaos-badjwt", "otlp-logs", "oven-full"} {
		for _, ld := range open(f, name).Logs()[:3] {
			raw, err := marshaler.MarshalLogs(ld)
			require.NoError(f, err)
			f.Add(raw)
		}
	}
	ld := plog.NewLogs()
	addRecord(ld, `{"path":"/","method":"POST","statusCode":500,"reqBody":{"items":[]},"resBody":"\"\\\"fetch failed\\\"\""}`, "type", "http")
	addRecord(ld, map[string]any{"type": "factory", "statusCode": 500, "resBody": map[string]any{"reportUrl": 1}})
	raw, err := marshaler.MarshalLogs(ld)
	require.NoError(f, err)
	f.Add(raw)
	for _, levels := range []int{maxAskedLevels, maxAskedLevels + 1} {
		deep := plog.NewLogs()
		addRecord(deep, `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":`+quoted(nest(levels))+`,"resBody":"Failed to fulfill order at factory"}`, "type", "http")
		raw, err := marshaler.MarshalLogs(deep)
		require.NoError(f, err)
		f.Add(raw)
	}

	h := started(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var unmarshaler plog.ProtoUnmarshaler
		ld, err := unmarshaler.UnmarshalLogs(raw)
		if err != nil {
			return
		}
		want := plog.NewLogs()
		ld.CopyTo(want)
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.took(t, ld.LogRecordCount())

		var before []pcommon.Map
		eachRecord(want, func(r plog.LogRecord) { before = append(before, r.Attributes()) })
		eachRecord(ld, func(r plog.LogRecord) {
			untagged(before[0], r.Attributes())
			before = before[1:]
		})
		assert.Equal(t, marshalLogs(t, want), marshalLogs(t, ld))
	})
}

// fuzzed is a processor that a worker gives all its inputs: to start one for each takes a hundred times as long as most
// inputs.
type fuzzed struct {
	*harness
	records int
}

// started starts a processor for a worker. When the worker ends, all that it took must have been counted once, by what it
// was taken as, and what was taken as an order or call have an outcome.
func started(f *testing.F) *fuzzed {
	h := &fuzzed{harness: &harness{tel: componenttest.NewTelemetry()}}
	h.open(f, NewFactory(), fuzzConfig(f), consumertest.NewNop(), consumertest.NewNop())
	f.Cleanup(func() {
		h.shutdown(f)
		sum := func(by map[string]int) (n int) {
			for _, c := range by {
				n += c
			}
			return n
		}
		for _, s := range []string{"traces", "logs"} {
			of := func(metric, by string) map[string]int {
				counts := map[string]int{}
				for key, n := range h.counts(f, metric, "vendor.signal", by) {
					if signal, value, _ := strings.Cut(key, "/"); signal == s {
						counts[value] += n
					}
				}
				return counts
			}
			roles := of("vendor.records", "vendor.role")
			assert.Equal(f, roles["order"], sum(of("vendor.orders", "vendor.outcome")), "orders by %s", s)
			assert.Equal(f, roles["call"], sum(of("vendor.calls", "vendor.outcome")), "calls by %s", s)
		}
	})
	return h
}

// took checks that so many records more were counted, and none of what is counted less than none.
func (h *fuzzed) took(t testing.TB, records int) {
	h.log.TakeAll()
	h.records += records
	counted := 0
	h.tell()
	for _, n := range h.counts(t, "vendor.records", "vendor.role") {
		counted += n
	}
	assert.Equal(t, h.records, counted)
	for _, p := range h.points(t, "vendor.orders") {
		assert.GreaterOrEqual(t, p.Value, int64(0))
	}
}

// fuzzConfig makes the processor read all that it can read, and asks conditions of what it finds, those of the examples
// among them.
func fuzzConfig(t testing.TB) *Config {
	cfg := pizzaConfig()
	cfg.Orders = append(cfg.Orders, OrderConfig{Route: "/shop/{id}/:what"}, OrderConfig{Method: "POST", Route: "/shop.Orders/Place"})
	cfg.Vendors = append(cfg.Vendors, VendorConfig{
		Name:      "pay",
		Calls:     CallsConfig{URLs: []string{"*.example.com", "https://api.example.com/pay"}, Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"factory"}, "level": {"info"}}}},
		Responses: []ResponseConfig{{Status: 503, Reason: "rejected"}},
	})
	cfg.Discover = &DiscoverConfig{MaxVendors: 2, Exclude: []string{"*.googleapis.com"}}
	cfg.Orders[0].Conditions = []string{`resource.attributes["service.name"] != "menu"`}
	cfg.Vendors[0].Responses = slices.Concat(exampleConfig(t, "jwt-pizza.yaml").Vendors[0].Responses, cfg.Vendors[0].Responses, []ResponseConfig{{Reason: "throttled", Conditions: []string{
		`IsMatch(log.body, "(x+x+)+y") or Len(ParseJSON(log.body)["resBody"]) > 7`}}})
	cfg.Impact = ImpactConfig{User: []string{"enduser.id", "reqBody.diner.id"}, Value: []string{"reqBody.items.#.price"}, Unit: "BTC"}
	cfg.Synthetic.Fields = map[string][]string{"reqBody.diner.email": {"synthetic@jwt.com"}, "reqBody.items.#.description": {"test order"}}
	return cfg
}

// FuzzMembers: of a JSON object a line reads the members that gjson finds, in one pass.
func FuzzMembers(f *testing.F) {
	for _, ld := range open(f, "chaos-badjwt").Logs()[:2] {
		eachRecord(ld, func(r plog.LogRecord) { f.Add(r.Body().AsString()) })
	}
	for _, object := range []string{`{}`, `{"a":1,"b":"\"}","c":[{"d":"]"}]}`, `{"a\"b":null}`, ` { "a" : { } , "b" : -1e5 } `, `{"\\":"\\"}`} {
		f.Add(object)
	}
	f.Fuzz(func(t *testing.T, object string) {
		l := line{body: object, read: beginObject(object)}
		for l.next() {
		}
		got := l.members
		if !gjson.Valid(object) || !gjson.Parse(object).IsObject() {
			return
		}
		n := 0
		gjson.Parse(object).ForEach(func(key, value gjson.Result) bool {
			if n >= len(got) {
				return false
			}
			m := got[n]
			assert.Equal(t, key.Raw, `"`+m.key+`"`)
			assert.Equal(t, value.Value(), gjson.Parse(m.raw).Value())
			n++
			return true
		})
		assert.Len(t, got, n)
	})
}

// FuzzTarget: a URL that the configuration takes finds the calls that go there, and no error shows a password.
func FuzzTarget(f *testing.F) {
	for _, raw := range []string{"http://127.0.0.1:4000/api/order", "https://pizza-factory.cs329.click/api/order", "*.example.com", "https://u:hunter2@h", "https://[::1]:80/a", "h:99999", "ftp://h", "//h", "h/a?b"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		to, err := parseTarget(raw)
		if err != nil {
			// What stands before an @ may be a password, whatever it is made of. It may also stand after it, or in what is
			// said of every URL.
			at := strings.LastIndexByte(raw, '@')
			_, password, _ := strings.Cut(raw[:max(at, 0)], ":")
			_, always := parseTarget("https://")
			if len(password) > 5 && !strings.Contains(raw[at:], password) && !strings.Contains(always.Error(), password) {
				assert.NotContains(t, err.Error(), password)
			}
			return
		}
		assert.NotEmpty(t, to.host)
		if to.wildcard || !strings.HasPrefix(raw, "http://") && !strings.HasPrefix(raw, "https://") || strings.ContainsAny(raw, "%\\") || len(to.host) > maxHost || strings.HasSuffix(to.host, ".") {
			return
		}
		if u, err := url.Parse(raw); err != nil || u.EscapedPath() != u.Path {
			return // telemetry has it encoded
		}
		ts, err := newTargets([]VendorConfig{{Calls: CallsConfig{URLs: []string{raw}}}}, nil)
		require.NoError(t, err)
		for _, at := range []string{raw, raw + "/below", raw + "?x=1"} {
			if a, ok := splitURL(at); ok {
				v, _ := ts.find(a, nil)
				assert.Equal(t, int16(0), v, "%q goes to %q", at, raw)
			}
		}
	})
}

// FuzzEndpoint: a path is the endpoint's with a query, and with slashes at its end, just where it is without. Of any path
// nothing is told but what its route has, and versions.
func FuzzEndpoint(f *testing.F) {
	f.Add("/api/order", "/api/order")
	f.Add("/a/{b}/:c", "/a/1/2")
	f.Add("/", "//")
	f.Fuzz(func(t *testing.T, route, path string) {
		e := newEndpoint(OrderConfig{Route: route})
		got := e.hasPath(path)
		if !strings.ContainsAny(path, "?#") && path != "" {
			assert.Equal(t, got, e.hasPath(path+"/"), "with a slash")
			assert.Equal(t, got, e.hasPath(path+"?"+route), "with a query")
		}
		if !strings.ContainsAny(route, "?#") && route != "" {
			assert.True(t, e.hasPath(route), "its own route")
		}
		words := newWords(&Config{Orders: []OrderConfig{{Route: route}}})
		for segment := range strings.SplitSeq(words.text(words.told(path)), "/") {
			isVersion := len(segment) == 2 && segment[0] == 'v'
			assert.True(t, segment == "" || segment == "…" || isVersion || slices.Contains(strings.Split(route, "/"), segment), segment)
		}
	})
}

// FuzzConfig: any configuration is taken or refused with an error, and one that was taken works.
func FuzzConfig(f *testing.F) {
	sources, err := filepath.Glob(filepath.Join("..", "..", "examples", "*.yaml"))
	require.NoError(f, err)
	seeds := 0
	for _, source := range append(sources, filepath.Join("testdata", "config.yaml")) {
		text, err := os.ReadFile(source)
		require.NoError(f, err)
		retrieved, err := confmap.NewRetrievedFromYAML(text)
		require.NoError(f, err)
		whole, err := retrieved.AsConf()
		require.NoError(f, err)
		if processors, err := whole.Sub("processors"); err == nil && len(processors.ToStringMap()) > 0 {
			whole = processors
		}
		for id := range whole.ToStringMap() {
			if part, err := whole.Sub(id); err == nil && strings.HasPrefix(id, "vendor_failure") {
				seeds++
				seed, err := yaml.Marshal(part.ToStringMap())
				require.NoError(f, err)
				f.Add(string(seed))
			}
		}
	}
	require.NotZero(f, seeds)
	f.Add("orders: [{route: /o}]\nvendors: [{name: a, calls: {urls: ['*.a.b:1/c']}}]\noutage: {failure_ratio: .nan}")
	f.Fuzz(func(t *testing.T, text string) {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(text))
		if err != nil {
			return
		}
		conf, err := retrieved.AsConf()
		if err != nil {
			return
		}
		cfg := newDefaultConfig()
		if conf.Unmarshal(cfg) != nil || cfg.Validate() != nil {
			return
		}
		set := processortest.NewNopSettings(metadata.Type)
		traces, err := NewFactory().CreateTraces(context.Background(), set, cfg, consumertest.NewNop())
		require.NoError(t, err)
		require.NoError(t, traces.Start(context.Background(), componenttest.NewNopHost()), "what Validate takes can be started")
		td := ptrace.NewTraces()
		addSpan(td, 1, client, callSpan(500))
		addSpan(td, 1, server, orderSpan(500))
		require.NoError(t, traces.ConsumeTraces(context.Background(), td))
		require.NoError(t, traces.Shutdown(context.Background()))
	})
}
