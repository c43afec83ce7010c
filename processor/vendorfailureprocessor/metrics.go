package vendorfailureprocessor

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// other is the caller or vendor that stands for all beyond a limit.
const other = "_other"

// unknownService is the caller where nothing names the service, as the resource semantic conventions call it.
const unknownService = "unknown_service"

// The SDK counts what goes beyond 2000 series of an instrument as one, without a word. So that none of ours ever gets
// there, series are given out with less and less detail: those at zero only while there is ample room, then callers'
// own, then vendors' own. The rest is for series of the caller and vendor _other, of which there are at most 66.
const (
	seriesWithZeros   = 1200
	seriesWithCallers = 1600
	seriesWithVendors = 1900
)

// maxName is how many bytes of a name from outside get into an attribute: without a bound the metrics of a few services
// could be as large as all that was ever sent.
const maxName = 255

// caller is the index of an observed service; 0 is _other.
type caller uint16

// seriesKey is what tells the series of one instrument apart.
type seriesKey struct {
	caller  caller
	vendor  int16 // an index, noVendor, or otherVendor
	signal  signal
	outcome outcome
	reason  reason.Reason

	synthetic synthetic
}

const otherVendor = noVendor - 1

// call is one request to a vendor, judged.
type call struct {
	fault    // reason.None: it succeeded
	signal   signal
	caller   caller
	trace    pcommon.TraceID
	span     pcommon.SpanID
	duration time.Duration // negative: not told

	impact    impact
	synthetic synthetic
	// repeats says that it was made for a synthetic order, which is watched itself, and of which whoever placed it may
	// know more: its call does not speak against them.
	repeats bool
}

// meters records calls and orders.
type meters struct {
	telemetry *metadata.TelemetryBuilder
	logger    *zap.Logger
	vendors   *vendorNames
	sole      int16 // the one vendor that there is, or noVendor where there are or may be several
	limit     int   // callers

	mu       sync.RWMutex
	names    []string // of callers
	callers  map[string]caller
	calls    instrument
	duration instrument
	orders   instrument
	values   instrument
	value    metric.Float64Counter // vendor.order.value; nil where the configuration does not say how to read it
}

// instrument holds the attributes of an instrument's series, so that they are built but once.
type instrument struct {
	series map[seriesKey]attributes
	zero   func(attributes) // nil where a series cannot begin at zero
}

// attributes are those of one series, in the forms in which counters and histograms take them.
type attributes struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newMeters(set component.TelemetrySettings, cfg *Config, vendors *vendorNames) (*meters, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	m := &meters{
		telemetry: telemetry,
		logger:    set.Logger,
		vendors:   vendors,
		sole:      noVendor,
		limit:     cfg.Limits.Callers,
		names:     []string{other},
		callers:   map[string]caller{},
		calls:     instrument{series: map[seriesKey]attributes{}},
		duration:  instrument{series: map[seriesKey]attributes{}},
		orders:    instrument{series: map[seriesKey]attributes{}},
		values:    instrument{series: map[seriesKey]attributes{}},
	}
	if len(cfg.Vendors) == 1 && cfg.Discover == nil {
		m.sole = 0
	}
	m.calls.zero = func(a attributes) { telemetry.Calls.Add(context.Background(), 0, a.add...) }
	if len(cfg.Impact.Value) > 0 {
		m.value, err = metadata.Meter(set).Float64Counter("vendor.order.value",
			metric.WithDescription("What orders were worth, as their own records tell it. [Alpha]"),
			metric.WithUnit("{"+cfg.Impact.Unit+"}"))
		if err != nil {
			return nil, err
		}
		m.values.zero = func(a attributes) { m.value.Add(context.Background(), 0, a.add...) }
	}
	m.orders.zero = func(a attributes) { telemetry.Orders.Add(context.Background(), 0, a.add...) }
	return m, nil
}

// caller returns the index of a service, which is that of _other beyond the limit.
func (m *meters) caller(name string) caller {
	if name = attributeText(name); name == "" {
		name = unknownService
	}
	m.mu.RLock()
	c, ok := m.callers[name]
	full := len(m.callers) >= m.limit
	m.mu.RUnlock()
	if ok || full {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.callers[name]; ok || len(m.callers) >= m.limit {
		return c
	}
	name = strings.Clone(name) // it may be part of a whole request's memory
	c = caller(len(m.names))
	m.names = append(m.names, name)
	m.callers[name] = c
	if len(m.callers) == m.limit {
		m.logger.Warn("limits.callers is reached: calls and orders of further services are counted under the vendor.caller _other",
			zap.Int("limits.callers", m.limit))
	}
	return c
}

// attributeText returns a name from outside as it can be an attribute. Of one that is not UTF-8 neither OTLP nor Prometheus
// would take any metric at all.
func attributeText(name string) string {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// call counts a call.
func (m *meters) call(c *call) {
	key := seriesKey{caller: c.caller, vendor: c.vendor, signal: c.signal, outcome: success, reason: c.reason, synthetic: c.synthetic}
	ctx := context.Background()
	if c.reason != reason.None {
		key.outcome = failure
		ctx = exemplar(c.signal, c.trace, c.span)
	}
	m.telemetry.Calls.Add(ctx, 1, m.of(&m.calls, key).add...)
	if c.duration >= 0 {
		key.reason = reason.None
		m.telemetry.CallDuration.Record(ctx, c.duration.Seconds(), m.of(&m.duration, key).record...)
	}
}

// order counts an order whose outcome stands.
func (m *meters) order(o *order) {
	key := seriesKey{caller: o.caller, vendor: m.sole, signal: o.signal, outcome: o.outcome, synthetic: o.synthetic}
	ctx := context.Background()
	if o.outcome == vendorFailure {
		key.vendor, key.reason = o.vendor, o.reason
	}
	if o.outcome == vendorFailure || o.outcome == ownFailure {
		ctx = exemplar(o.signal, o.trace, o.span)
	}
	m.telemetry.Orders.Add(ctx, 1, m.of(&m.orders, key).add...)
	if o.unreadable {
		m.telemetry.ProcessorVendorFailureUnreadableValues.Add(ctx, 1)
	}
	if m.value != nil && o.impact.valued && o.synthetic == notSynthetic {
		m.value.Add(ctx, o.impact.value, m.of(&m.values, key).add...)
	}
}

// exemplar returns a context that makes the SDK keep trace and span id beside the figure.
func exemplar(s signal, id pcommon.TraceID, span pcommon.SpanID) context.Context {
	if s != traces || id.IsEmpty() || span.IsEmpty() {
		return context.Background()
	}
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(id), SpanID: trace.SpanID(span), TraceFlags: trace.FlagsSampled,
	}))
}

// of returns the attributes of a series and, at the first sight of its caller, vendor and signal, lets all their
// series begin at zero: of a series born at 1, increase() does not see the first failure.
func (m *meters) of(in *instrument, key seriesKey) attributes {
	m.mu.RLock()
	a, ok := in.series[key]
	m.mu.RUnlock()
	if ok {
		return a
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := in.series[key]; ok {
		return a
	}
	switch in {
	case &m.calls:
		m.begin(in, callSeries(key))
		m.begin(&m.orders, failureSeries(key, key.vendor))
		m.begin(&m.values, failureSeries(key, key.vendor))
	case &m.orders, &m.values:
		m.begin(in, orderSeries(key, m.sole))
		for v := range m.vendors.all() {
			m.begin(in, failureSeries(key, int16(v)))
		}
	}
	return m.add(in, key)
}

// callSeries are the series of calls of a key's caller to a key's vendor.
func callSeries(key seriesKey) []seriesKey {
	key.outcome, key.reason = success, reason.None
	keys := []seriesKey{key}
	for why := reason.None + 1; why < reason.Count; why++ {
		key.outcome, key.reason = failure, why
		keys = append(keys, key)
	}
	return keys
}

// orderSeries are the series of a key's caller's orders that no vendor made fail.
func orderSeries(key seriesKey, vendor int16) []seriesKey {
	var keys []seriesKey
	key.vendor, key.reason = vendor, reason.None
	for _, o := range []outcome{success, ownFailure, rejected} {
		key.outcome = o
		keys = append(keys, key)
	}
	return keys
}

// failureSeries are the series of a key's caller's orders that a vendor made fail.
func failureSeries(key seriesKey, vendor int16) []seriesKey {
	var keys []seriesKey
	key.vendor, key.outcome = vendor, vendorFailure
	for why := reason.None + 1; why < reason.Count; why++ {
		key.reason = why
		keys = append(keys, key)
	}
	return keys
}

// begin lets series begin at zero where there is room for all of them.
func (m *meters) begin(in *instrument, keys []seriesKey) {
	keys = slices.DeleteFunc(keys, func(k seriesKey) bool { _, ok := in.series[k]; return ok })
	if in.zero == nil || len(in.series)+len(keys) > seriesWithZeros {
		return
	}
	for _, k := range keys {
		in.zero(m.add(in, k))
	}
}

// add makes a series for a key, with less detail the fewer are left.
func (m *meters) add(in *instrument, key seriesKey) attributes {
	if len(in.series) >= seriesWithCallers {
		key.caller = 0
	}
	if len(in.series) >= seriesWithVendors && key.vendor != noVendor {
		key.vendor = otherVendor
	}
	if a, ok := in.series[key]; ok {
		return a
	}
	if len(in.series) == seriesWithCallers {
		m.logger.Warn("an instrument has so many series that new ones are counted under the vendor.caller _other",
			zap.Int("series", len(in.series)))
	}
	attrs := []attribute.KeyValue{
		attribute.Stringer("vendor.outcome", key.outcome),
		attribute.Stringer("vendor.signal", key.signal),
		attribute.String("vendor.caller", m.names[key.caller]),
	}
	switch key.vendor {
	case noVendor:
	default:
		attrs = append(attrs, attribute.String("vendor.name", m.vendors.of(key.vendor)))
	}
	if key.reason != reason.None {
		attrs = append(attrs, attribute.Stringer("vendor.failure.reason", key.reason))
	}
	if key.synthetic != notSynthetic {
		attrs = append(attrs, attribute.Stringer("user_agent.synthetic.type", key.synthetic))
	}
	option := metric.WithAttributeSet(attribute.NewSet(attrs...))
	a := attributes{add: []metric.AddOption{option}, record: []metric.RecordOption{option}}
	in.series[key] = a
	return a
}
