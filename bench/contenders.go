package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/signaltometricsconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/spanmetricsconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbytraceprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor"
)

// contender is one way to do the job, or a part of it.
type contender[T any] struct {
	name    string
	consume func(context.Context, T) error
}

// The names of contenders that more is told of.
const (
	ours        = "vendor_failure"
	tagAndCount = "transform + signal_to_metrics"
	bareLoop    = "bare loop"
	twoLookUps  = "bare loop of two look-ups"
	expression  = "regular expression over bodies"
	parsing     = "parsing each http line"
	fourFields  = "four fields by gjson"
	nothing     = "nothing"
)

const vendorFailure = `
orders:
  - method: POST
    route: /api/order
    logs: {attributes: {type: [http, http-req, http_request, httpRequest]}, request_has: [items]}
vendors:
  - name: pizza-factory
    calls:
      urls: [http://127.0.0.1:4000/api/order]
      logs: {attributes: {type: [factory, factory-req, factory_request]}}
    slow_after: 10s
    valid_response: {jwt: [jwt]}
    responses:
      - {status: 503, reason: rejected}
      - {contains: The oven is full, reason: rejected}
      - {contains: fetch failed, reason: unreachable}
      - {contains: Failed to fulfill order at factory}
      - {contains: followLinkToEndChaos, chaos: true}
      - {contains: reportUrl, chaos: true}
`

// transform tags as far as OTTL can. It cannot join an order with its vendor's call: every order that failed is blamed
// on the vendor. It marks orders and calls that succeeded as well, for then signal_to_metrics passes over all that has
// no mark before it makes anything: without, it takes six times as long.
const transform = `
error_mode: ignore
trace_statements:
  - context: span
    conditions:
      - span.kind == SPAN_KIND_CLIENT and span.attributes["url.full"] != nil and HasPrefix(span.attributes["url.full"], "http://127.0.0.1:4000/api/order")
    statements:
      - set(span.attributes["vendor.name"], "pizza-factory")
      - set(span.attributes["vendor.failure.reason"], "error") where span.attributes["http.response.status_code"] >= 400
  - context: span
    conditions:
      - span.kind == SPAN_KIND_SERVER and span.attributes["http.route"] == "/api/order" and span.attributes["http.request.method"] == "POST"
    statements:
      - set(span.attributes["vendor.order"], "pizza-factory")
      - set(span.attributes["vendor.failure.reason"], "error") where span.attributes["http.response.status_code"] >= 500
log_statements:
  - context: log
    conditions:
      - log.attributes["type"] == "factory"
    statements:
      - set(log.attributes["vendor.name"], "pizza-factory")
      - set(log.attributes["vendor.failure.reason"], "error") where log.attributes["level"] == "error"
  - context: log
    conditions:
      - log.attributes["type"] == "http" and IsMatch(log.body, "\"path\":\"/api/order\",\"method\":\"POST\"")
    statements:
      - set(log.attributes["vendor.order"], "pizza-factory")
      - set(log.attributes["vendor.failure.reason"], "error") where log.attributes["level"] == "error" and IsMatch(log.body, "Failed to fulfill order at factory")
`

const signalToMetrics = `
error_mode: ignore
spans:
  - name: vendor.calls
    include_resource_attributes: [{key: service.name}]
    attributes: [{key: vendor.name}, {key: vendor.failure.reason, default_value: ""}]
    sum: {value: "1"}
  - name: vendor.call.duration
    unit: s
    include_resource_attributes: [{key: service.name}]
    attributes: [{key: vendor.name}]
    histogram: {buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60], value: 'Seconds(span.end_time - span.start_time)'}
  - name: vendor.orders
    include_resource_attributes: [{key: service.name}]
    attributes: [{key: vendor.order}, {key: vendor.failure.reason, default_value: ""}]
    sum: {value: "1"}
logs:
  - name: vendor.calls
    attributes: [{key: vendor.name}, {key: vendor.failure.reason, default_value: ""}]
    sum: {value: "1"}
  - name: vendor.orders
    attributes: [{key: vendor.order}, {key: vendor.failure.reason, default_value: ""}]
    sum: {value: "1"}
`

// manyVendors is vendorFailure with 99 vendors and 19 order endpoints more, and 20 URLs for each vendor.
func manyVendors() string {
	orders, vendors, found := strings.Cut(vendorFailure, "vendors:\n")
	if !found {
		panic("vendorFailure names no vendors")
	}
	var text strings.Builder
	text.WriteString(orders)
	for i := range 19 {
		fmt.Fprintf(&text, "  - {method: POST, route: /api/shops/%d/order, logs: {attributes: {type: [http]}, request_has: [items]}}\n", i)
	}
	urls := func(vendor int) string {
		var list []string
		for i := range 19 {
			list = append(list, fmt.Sprintf("https://host-%d.vendor-%d.example/api/order", i, vendor))
		}
		return strings.Join(list, ", ")
	}
	text.WriteString("vendors:\n")
	text.WriteString(strings.Replace(vendors, "api/order]", "api/order, "+urls(0)+"]", 1))
	for i := range 99 {
		fmt.Fprintf(&text, `  - name: vendor-%[1]d
    calls: {urls: [%[2]s, https://vendor-%[1]d.example/api], logs: {attributes: {type: [vendor-%[1]d]}}}
    valid_response: {jwt: [jwt]}
    responses: [{contains: vendor-%[1]d is out of order}]
`, i+1, urls(i+1))
	}
	return text.String()
}

// ofManyVendors are a call to each of the other vendors and an order at each of the other endpoints of manyVendors. Once
// all has been seen the processor no longer looks for why not.
func ofManyVendors() (ptrace.Traces, plog.Logs) {
	td, ld := ptrace.NewTraces(), plog.NewLogs()
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	lines := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	line := func(kind, body string) {
		l := lines.AppendEmpty()
		l.Attributes().PutStr("type", kind)
		l.Body().SetStr(body)
	}
	for i := range 99 {
		s := spans.AppendEmpty()
		s.SetKind(ptrace.SpanKindClient)
		s.Attributes().PutStr("url.full", fmt.Sprintf("https://vendor-%d.example/api", i+1))
		s.Attributes().PutInt("http.response.status_code", 200)
		line(fmt.Sprintf("vendor-%d", i+1), `{"statusCode":200}`)
	}
	for i := range 19 {
		s := spans.AppendEmpty()
		s.SetKind(ptrace.SpanKindServer)
		s.Attributes().PutStr("http.request.method", "POST")
		s.Attributes().PutStr("http.route", fmt.Sprintf("/api/shops/%d/order", i))
		s.Attributes().PutInt("http.response.status_code", 200)
		line("http", fmt.Sprintf(`{"path":"/api/shops/%d/order","method":"POST","statusCode":200}`, i))
	}
	return td, ld
}

// groupByTrace waits shortly: what it costs does not hang on it, and it is to be measured to its end. It loses spans that
// come while it hands on others of their trace, so it waits for longer than a batch takes it.
const groupByTrace = "wait_duration: 10ms"

// patience is how long after the last spans it is sure that those which did not come out are lost.
const patience = time.Second

const spanMetrics = "dimensions: [{name: vendor.name}, {name: vendor.failure.reason}]"

// bench starts contenders, and stops them in the end.
type bench struct {
	ctx     context.Context
	meters  *metric.MeterProvider // of the SDK: what a contender tells of itself is counted as in a Collector
	told    *metric.ManualReader  // of these
	metrics consumer.Metrics      // gets what connectors make
	turns   uint64                // in which all batches of a kind were used, ever
	running []component.Component
}

func newBench(ctx context.Context) *bench {
	told := metric.NewManualReader()
	return &bench{ctx: ctx, meters: metric.NewMeterProvider(metric.WithReader(told)), told: told, metrics: consumertest.NewNop()}
}

func configure(cfg component.Config, text string) error {
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		return err
	}
	if err := confmap.NewFromStringMap(raw).Unmarshal(cfg); err != nil {
		return err
	}
	if v, ok := cfg.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

func (b *bench) start(c component.Component, err error) error {
	if err == nil {
		err = c.Start(b.ctx, componenttest.NewNopHost())
	}
	if err == nil {
		b.running = append(b.running, c)
	}
	return err
}

func (b *bench) stop() error {
	for _, c := range b.running {
		if err := c.Shutdown(b.ctx); err != nil {
			return err
		}
	}
	return b.meters.Shutdown(b.ctx)
}

func (b *bench) settings(f processor.Factory) processor.Settings {
	set := processortest.NewNopSettings(f.Type())
	set.MeterProvider = b.meters
	return set
}

func (b *bench) connectorSettings(f connector.Factory) connector.Settings {
	set := connectortest.NewNopSettings(f.Type())
	set.MeterProvider = b.meters
	return set
}

// oursOnSpans starts a vendor_failure processor for spans.
func (b *bench) oursOnSpans(config string) (processor.Traces, error) {
	f := vendorfailureprocessor.NewFactory()
	cfg := f.CreateDefaultConfig()
	if err := configure(cfg, config); err != nil {
		return nil, err
	}
	p, err := f.CreateTraces(b.ctx, b.settings(f), cfg, consumertest.NewNop())
	return p, b.start(p, err)
}

// oursOnLines starts one for log records.
func (b *bench) oursOnLines(config string) (processor.Logs, error) {
	f := vendorfailureprocessor.NewFactory()
	cfg := f.CreateDefaultConfig()
	if err := configure(cfg, config); err != nil {
		return nil, err
	}
	p, err := f.CreateLogs(b.ctx, b.settings(f), cfg, consumertest.NewNop())
	return p, b.start(p, err)
}

// spans are the contenders over spans.
func (b *bench) spans() ([]contender[ptrace.Traces], error) {
	its, err := b.oursOnSpans(vendorFailure)
	if err != nil {
		return nil, err
	}

	s2m := signaltometricsconnector.NewFactory()
	s2mConfig := s2m.CreateDefaultConfig()
	if err := configure(s2mConfig, signalToMetrics); err != nil {
		return nil, err
	}
	toMetrics, err := s2m.CreateTracesToMetrics(b.ctx, b.connectorSettings(s2m), s2mConfig, b.metrics)
	if err := b.start(toMetrics, err); err != nil {
		return nil, err
	}
	t := transformprocessor.NewFactory()
	tConfig := t.CreateDefaultConfig()
	if err := configure(tConfig, transform); err != nil {
		return nil, err
	}
	alone, err := t.CreateTraces(b.ctx, b.settings(t), tConfig, consumertest.NewNop())
	if err := b.start(alone, err); err != nil {
		return nil, err
	}
	grouped, err := b.groupedByTrace(t, tConfig)
	if err != nil {
		return nil, err
	}
	sm := spanmetricsconnector.NewFactory()
	smConfig := sm.CreateDefaultConfig()
	if err := configure(smConfig, spanMetrics); err != nil {
		return nil, err
	}
	asMetrics, err := sm.CreateTracesToMetrics(b.ctx, b.connectorSettings(sm), smConfig, b.metrics)
	if err := b.start(asMetrics, err); err != nil {
		return nil, err
	}
	return []contender[ptrace.Traces]{
		{ours, its.ConsumeTraces},
		{tagAndCount, func(ctx context.Context, td ptrace.Traces) error {
			if err := alone.ConsumeTraces(ctx, td); err != nil {
				return err
			}
			return toMetrics.ConsumeTraces(ctx, td)
		}},
		{"transform", alone.ConsumeTraces},
		{"span_metrics", asMetrics.ConsumeTraces},
		{"group_by_trace + transform", grouped},
		{twoLookUps, twoLookUpsOfSpans},
		{bareLoop, bareSpans},
	}, nil
}

// groupedByTrace puts the spans of a trace together before transform, which is what it takes to see an order and its
// vendor's call at once. It returns when all spans of a batch came out, but for lost ones.
func (b *bench) groupedByTrace(transform processor.Factory, config component.Config) (func(context.Context, ptrace.Traces) error, error) {
	out := make(chan int, 1000) // so many late ones hold up nothing
	arrived, err := consumer.NewTraces(func(_ context.Context, td ptrace.Traces) error {
		out <- td.SpanCount()
		return nil
	})
	if err != nil {
		return nil, err
	}
	then, err := transform.CreateTraces(b.ctx, b.settings(transform), config, arrived)
	if err := b.start(then, err); err != nil {
		return nil, err
	}
	g := groupbytraceprocessor.NewFactory()
	cfg := g.CreateDefaultConfig()
	if err := configure(cfg, groupByTrace); err != nil {
		return nil, err
	}
	group, err := g.CreateTraces(b.ctx, b.settings(g), cfg, then)
	return func(ctx context.Context, td ptrace.Traces) error {
		if err := group.ConsumeTraces(ctx, td); err != nil {
			return err
		}
		for left := td.SpanCount(); left > 0; {
			select {
			case n := <-out:
				left -= n
			case <-time.After(patience):
				return nil
			}
		}
		return nil
	}, b.start(group, err)
}

// bareSpans is the least that anything which reads spans can do: a look at the kind, and at one attribute of SERVER and
// CLIENT spans.
func bareSpans(_ context.Context, td ptrace.Traces) error {
	found := 0
	resources := td.ResourceSpans()
	for i := range resources.Len() {
		scopes := resources.At(i).ScopeSpans()
		for j := range scopes.Len() {
			spans := scopes.At(j).Spans()
			for k := range spans.Len() {
				switch s := spans.At(k); s.Kind() {
				case ptrace.SpanKindServer, ptrace.SpanKindClient:
					if _, ok := s.Attributes().Get("vendor.name"); ok {
						found++
					}
				}
			}
		}
	}
	runtime.KeepAlive(found) // lest the compiler leave the look-ups out
	return nil
}

// twoLookUpsOfSpans is the least that tells a vendor's call, which is one by its URL, or by the vendor's name where it is a
// test order's step. It stands beside bareSpans as a whole: what the two share would cost the other a third more.
func twoLookUpsOfSpans(_ context.Context, td ptrace.Traces) error {
	found := 0
	resources := td.ResourceSpans()
	for i := range resources.Len() {
		scopes := resources.At(i).ScopeSpans()
		for j := range scopes.Len() {
			spans := scopes.At(j).Spans()
			for k := range spans.Len() {
				switch s := spans.At(k); s.Kind() {
				case ptrace.SpanKindServer, ptrace.SpanKindClient:
					if _, ok := s.Attributes().Get("vendor.name"); ok {
						found++
					}
					if v, ok := s.Attributes().Get("url.full"); ok && strings.HasPrefix(v.Str(), "http://127.0.0.1:4000/api/order") {
						found++
					}
				}
			}
		}
	}
	runtime.KeepAlive(found)
	return nil
}

// lines are the contenders over log records.
func (b *bench) lines() ([]contender[plog.Logs], error) {
	its, err := b.oursOnLines(vendorFailure)
	if err != nil {
		return nil, err
	}
	s2m := signaltometricsconnector.NewFactory()
	s2mConfig := s2m.CreateDefaultConfig()
	if err := configure(s2mConfig, signalToMetrics); err != nil {
		return nil, err
	}
	toMetrics, err := s2m.CreateLogsToMetrics(b.ctx, b.connectorSettings(s2m), s2mConfig, b.metrics)
	if err := b.start(toMetrics, err); err != nil {
		return nil, err
	}
	t := transformprocessor.NewFactory()
	tConfig := t.CreateDefaultConfig()
	if err := configure(tConfig, transform); err != nil {
		return nil, err
	}
	alone, err := t.CreateLogs(b.ctx, b.settings(t), tConfig, consumertest.NewNop())
	if err := b.start(alone, err); err != nil {
		return nil, err
	}
	return []contender[plog.Logs]{
		{ours, its.ConsumeLogs},
		{tagAndCount, func(ctx context.Context, ld plog.Logs) error {
			if err := alone.ConsumeLogs(ctx, ld); err != nil {
				return err
			}
			return toMetrics.ConsumeLogs(ctx, ld)
		}},
		{expression, eachLine(byRegexp)},
		{parsing, eachLine(byParsing)},
		{fourFields, eachLine(byFields)},
		{bareLoop, eachLine(bareLine)},
	}, nil
}

// eachLine looks at every record.
func eachLine(is func(plog.LogRecord) bool) func(context.Context, plog.Logs) error {
	return func(_ context.Context, ld plog.Logs) error {
		runtime.KeepAlive(count(ld, is))
		return nil
	}
}

// count returns how many records are what is looked for.
func count(ld plog.Logs, is func(plog.LogRecord) bool) (found int) {
	resources := ld.ResourceLogs()
	for i := range resources.Len() {
		scopes := resources.At(i).ScopeLogs()
		for j := range scopes.Len() {
			records := scopes.At(j).LogRecords()
			for k := range records.Len() {
				if is(records.At(k)) {
					found++
				}
			}
		}
	}
	return found
}

var failedOrderLine = regexp.MustCompile(`"path":"/api/order","method":"POST","statusCode":5\d\d`)

func byRegexp(l plog.LogRecord) bool { return failedOrderLine.MatchString(l.Body().Str()) }

func byParsing(l plog.LogRecord) bool {
	if kind(l) != "http" {
		return false
	}
	var line struct {
		Path, Method, ResBody string
		StatusCode            int
	}
	return json.Unmarshal([]byte(l.Body().Str()), &line) == nil && line.Path == "/api/order" && line.StatusCode >= 500 &&
		strings.Contains(line.ResBody, "factory")
}

// byFields reads no more than it takes to tell an order that failed, or an answer without a token: path, method and status
// of an order, and the token of its answer and of the factory's. It checks nothing.
func byFields(l plog.LogRecord) bool {
	body := l.Body().Str()
	switch kind(l) {
	case "http":
		if gjson.Get(body, "path").Str != "/api/order" || gjson.Get(body, "method").Str != "POST" {
			return false
		}
		if status := gjson.Get(body, "statusCode").Int(); status >= 400 {
			return status >= 500
		}
	case "factory":
	default:
		return false
	}
	return !gjson.Get(gjson.Get(body, "resBody").Str, "jwt").Exists()
}

func bareLine(l plog.LogRecord) bool { return kind(l) == "http" }
