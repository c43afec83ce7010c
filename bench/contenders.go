package main

import (
	"context"
	"encoding/json"
	"regexp"
	"runtime"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/signaltometricsconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor"
)

// contender is one way to do the job, or a part of it.
type contender[T any] struct {
	name    string
	consume func(context.Context, T) error
}

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

// bench starts contenders, and stops them in the end.
type bench struct {
	ctx     context.Context
	running []component.Component
}

func configure(cfg component.Config, text string) error {
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		return err
	}
	return confmap.NewFromStringMap(raw).Unmarshal(cfg)
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
	return nil
}

func settings(f component.Factory, tel *componenttest.Telemetry) processor.Settings {
	set := processortest.NewNopSettings(f.Type())
	if tel != nil {
		set.TelemetrySettings = tel.NewTelemetrySettings()
	}
	return set
}

// spans are the contenders over spans; next gets what the ones that tag hand on.
func (b *bench) spans(tel *componenttest.Telemetry, next consumer.Traces) ([]contender[ptrace.Traces], error) {
	f := vendorfailureprocessor.NewFactory()
	cfg := f.CreateDefaultConfig()
	if err := configure(cfg, vendorFailure); err != nil {
		return nil, err
	}
	ours, err := f.CreateTraces(b.ctx, settings(f, tel), cfg, next)
	if err := b.start(ours, err); err != nil {
		return nil, err
	}

	s2m := signaltometricsconnector.NewFactory()
	s2mConfig := s2m.CreateDefaultConfig()
	if err := configure(s2mConfig, signalToMetrics); err != nil {
		return nil, err
	}
	toMetrics, err := s2m.CreateTracesToMetrics(b.ctx, connectortest.NewNopSettings(s2m.Type()), s2mConfig, consumertest.NewNop())
	if err := b.start(toMetrics, err); err != nil {
		return nil, err
	}
	t := transformprocessor.NewFactory()
	tConfig := t.CreateDefaultConfig()
	if err := configure(tConfig, transform); err != nil {
		return nil, err
	}
	alone, err := t.CreateTraces(b.ctx, settings(t, nil), tConfig, next)
	if err := b.start(alone, err); err != nil {
		return nil, err
	}
	return []contender[ptrace.Traces]{
		{"vendor_failure", ours.ConsumeTraces},
		{"transform + signal_to_metrics", func(ctx context.Context, td ptrace.Traces) error {
			if err := alone.ConsumeTraces(ctx, td); err != nil {
				return err
			}
			return toMetrics.ConsumeTraces(ctx, td)
		}},
		{"transform", alone.ConsumeTraces},
		{"bare loop", bareSpans},
	}, nil
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

// lines are the contenders over log records.
func (b *bench) lines(tel *componenttest.Telemetry, next consumer.Logs) ([]contender[plog.Logs], error) {
	f := vendorfailureprocessor.NewFactory()
	cfg := f.CreateDefaultConfig()
	if err := configure(cfg, vendorFailure); err != nil {
		return nil, err
	}
	ours, err := f.CreateLogs(b.ctx, settings(f, tel), cfg, next)
	if err := b.start(ours, err); err != nil {
		return nil, err
	}
	s2m := signaltometricsconnector.NewFactory()
	s2mConfig := s2m.CreateDefaultConfig()
	if err := configure(s2mConfig, signalToMetrics); err != nil {
		return nil, err
	}
	set := connectortest.NewNopSettings(s2m.Type())
	toMetrics, err := s2m.CreateLogsToMetrics(b.ctx, set, s2mConfig, consumertest.NewNop())
	if err := b.start(toMetrics, err); err != nil {
		return nil, err
	}
	t := transformprocessor.NewFactory()
	tConfig := t.CreateDefaultConfig()
	if err := configure(tConfig, transform); err != nil {
		return nil, err
	}
	alone, err := t.CreateLogs(b.ctx, settings(t, nil), tConfig, next)
	if err := b.start(alone, err); err != nil {
		return nil, err
	}
	return []contender[plog.Logs]{
		{"vendor_failure", ours.ConsumeLogs},
		{"transform + signal_to_metrics", func(ctx context.Context, ld plog.Logs) error {
			if err := alone.ConsumeLogs(ctx, ld); err != nil {
				return err
			}
			return toMetrics.ConsumeLogs(ctx, ld)
		}},
		{"regular expression over bodies", eachLine(byRegexp)},
		{"parsing each http line", eachLine(byParsing)},
		{"bare loop", eachLine(bareLine)},
	}, nil
}

// eachLine looks at every record for what it looks for.
func eachLine(is func(plog.LogRecord) bool) func(context.Context, plog.Logs) error {
	return func(_ context.Context, ld plog.Logs) error {
		found := 0
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
		runtime.KeepAlive(found)
		return nil
	}
}

var failedOrder = regexp.MustCompile(`"path":"/api/order","method":"POST","statusCode":5\d\d`)

func byRegexp(l plog.LogRecord) bool { return failedOrder.MatchString(l.Body().Str()) }

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

func bareLine(l plog.LogRecord) bool { return kind(l) == "http" }
