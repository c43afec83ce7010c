package testorderreceiver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

const (
	// serviceName is the resource's service.name of everything told, and so the caller that vendor_failure sees.
	serviceName = "otelcol-test-order"
	// tellsWithin bounds how long a pipeline may take what is told: a run waits for it.
	tellsWithin = 5 * time.Second
)

// A teller tells of runs: in metrics, again each collection interval, in a trace for each, and in a log record and a
// line of the Collector's log where a run ended otherwise than the one before. One goroutine has all but next.
type teller struct {
	set          receiver.Settings
	name, vendor string
	every        time.Duration
	instance     string

	metrics     *metadata.MetricsBuilder
	counts      []count
	last        *run // finished
	lastSuccess time.Time

	mu   sync.Mutex
	next listeners
}

// A count is a series of probe.runs. All are there from the start, at 0: else an increase would not see the first.
type count struct {
	ending
	runs int64
}

// An ending is how a run ended.
type ending struct {
	outcome outcome
	step    string
	reason  reason.Reason
}

func (e ending) String() string {
	if e.reason == reason.None {
		return e.outcome.String()
	}
	return fmt.Sprintf("%s at %s: %s", e.outcome, e.step, e.reason)
}

func (r *run) ending() ending {
	step, why := r.why()
	return ending{outcome: r.outcome(), step: step, reason: why}
}

func newTeller(set receiver.Settings, cfg *Config, steps []*step) *teller {
	t := &teller{
		set:     set,
		name:    set.ID.String(),
		vendor:  cfg.Vendor,
		every:   cfg.CollectionInterval,
		metrics: metadata.NewMetricsBuilder(cfg.MetricsBuilderConfig, set),
	}
	if id, ok := set.Resource.Attributes().Get("service.instance.id"); ok {
		t.instance = id.AsString()
	}
	for _, o := range []outcome{success, notStarted, aborted} {
		t.counts = append(t.counts, count{ending: ending{outcome: o}})
	}
	for _, s := range steps {
		for why := reason.None + 1; why < reason.Count; why++ {
			if s.vendor != "" {
				t.counts = append(t.counts, count{ending: ending{vendorFailure, s.name, why}})
			}
			if s.canBeOurs(why) {
				t.counts = append(t.counts, count{ending: ending{ownFailure, s.name, why}})
			}
		}
	}
	return t
}

// listen adds who is told.
func (t *teller) listen(to listeners) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to.metrics != nil {
		t.next.metrics = to.metrics
	}
	if to.traces != nil {
		t.next.traces = to.traces
	}
	if to.logs != nil {
		t.next.logs = to.logs
	}
}

func (t *teller) listeners() listeners {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next
}

// tell tells of each turn, until there are no more, and then tells the metrics once more.
func (t *teller) tell(turns <-chan turn) {
	again := time.NewTicker(t.every)
	defer again.Stop()
	// The counters at 0, before the first run and after the instances of the other signals have started.
	first := time.NewTimer(firstAfter / 2)
	defer first.Stop()
	for {
		select {
		case <-first.C:
		case turn, ok := <-turns:
			if !ok {
				t.tellMetrics()
				return
			}
			t.count(ending{outcome: notStarted}, turn.missed)
			if turn.run != nil {
				t.tellRun(turn.run)
			}
		case <-again.C:
		}
		t.tellMetrics()
	}
}

// tellRun counts a run and tells its trace and, if it ended otherwise than the one before, how.
func (t *teller) tellRun(r *run) {
	now := r.ending()
	t.count(now, 1)
	t.consume("traces", func(ctx context.Context, to listeners) error {
		if to.traces == nil {
			return nil
		}
		return to.traces.ConsumeTraces(ctx, t.trace(r))
	})
	if now.outcome == aborted {
		return // it says nothing
	}
	if t.last == nil || t.last.ending() != now {
		t.tellChange(r, now)
	}
	t.last = r
	if now.outcome == success {
		t.lastSuccess = r.end
	}
}

// count counts runs that ended so. An ending that was not foreseen is counted too: better late than nowhere.
func (t *teller) count(e ending, runs int) {
	at := slices.IndexFunc(t.counts, func(c count) bool { return c.ending == e })
	if at < 0 {
		at = len(t.counts)
		t.counts = append(t.counts, count{ending: e})
	}
	t.counts[at].runs += int64(runs)
}

// consume hands something on, for a bounded time.
func (t *teller) consume(what string, handOn func(context.Context, listeners) error) {
	ctx, cancel := context.WithTimeout(context.Background(), tellsWithin)
	defer cancel()
	if err := handOn(ctx, t.listeners()); err != nil {
		t.set.Logger.Warn("The pipeline did not take what a test order tells", zap.String("signal", what), zap.Error(err))
	}
}

func (t *teller) resource(to pcommon.Resource) {
	to.Attributes().PutStr("service.name", serviceName)
	to.Attributes().PutStr("service.version", t.set.BuildInfo.Version)
	if t.instance != "" {
		to.Attributes().PutStr("service.instance.id", t.instance)
	}
}

func (t *teller) scope(to pcommon.InstrumentationScope) {
	to.SetName(metadata.ScopeName)
	to.SetVersion(t.set.BuildInfo.Version)
}

func (t *teller) tellMetrics() {
	t.consume("metrics", func(ctx context.Context, to listeners) error {
		if to.metrics == nil {
			return nil
		}
		return to.metrics.ConsumeMetrics(ctx, t.gauges())
	})
}

// gauges are all metrics as they are now.
func (t *teller) gauges() pmetric.Metrics {
	now := pcommon.NewTimestampFromTime(time.Now())
	for _, c := range t.counts {
		var more []metadata.MetricAttributeOption
		if c.reason != reason.None {
			more = append(more, metadata.WithProbeStepMetricAttribute(c.step), metadata.WithVendorFailureReasonMetricAttribute(c.reason.String()))
		}
		t.metrics.RecordProbeRunsDataPoint(now, c.runs, t.name, t.vendor, c.outcome, more...)
	}
	if r := t.last; r != nil {
		succeeded := int64(0)
		if r.outcome() == success {
			succeeded = 1
		}
		t.metrics.RecordProbeSuccessDataPoint(now, succeeded, t.name, t.vendor)
		t.metrics.RecordProbeDurationDataPoint(now, r.end.Sub(r.start).Seconds(), t.name, t.vendor)
		for i := range r.made {
			m := &r.made[i]
			t.metrics.RecordProbeStepDurationDataPoint(now, m.took().Seconds(), t.name, t.vendor, metadata.WithProbeStepMetricAttribute(m.name))
		}
	}
	if !t.lastSuccess.IsZero() {
		t.metrics.RecordProbeLastSuccessTimeDataPoint(now, float64(t.lastSuccess.UnixMilli())/1000, t.name, t.vendor)
	}
	all := t.metrics.Emit()
	for _, rm := range all.ResourceMetrics().All() {
		t.resource(rm.Resource())
	}
	return all
}

// trace is a run's trace: a span for it and one for each step.
func (t *teller) trace(r *run) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	t.resource(rs.Resource())
	ss := rs.ScopeSpans().AppendEmpty()
	t.scope(ss.Scope())

	how := r.ending()
	root := t.span(ss, r, r.root, "test order", r.start, r.end)
	root.SetKind(ptrace.SpanKindInternal)
	root.Attributes().PutStr("probe.outcome", how.outcome.String())
	if how.reason != reason.None {
		root.Attributes().PutStr("probe.step", how.step)
		root.Attributes().PutStr("vendor.failure.reason", how.reason.String())
		root.Attributes().PutStr("error.type", how.reason.String())
		root.Status().SetCode(ptrace.StatusCodeError)
		root.Status().SetMessage(how.String())
	}
	calls := r.calls()
	for i := range r.made {
		m := &r.made[i]
		s := t.span(ss, r, m.span, m.name, m.start, m.end)
		s.SetParentSpanID(r.root)
		s.SetKind(ptrace.SpanKindClient)
		attributes := s.Attributes()
		attributes.PutStr("probe.step", m.name)
		called := m.request
		if m.token != nil {
			called = &m.token.keys.from
		}
		url, host, port := called.target()
		attributes.PutStr("server.address", host)
		if number, err := strconv.ParseInt(port, 10, 64); err == nil {
			attributes.PutInt("server.port", number)
		}
		if m.token == nil {
			attributes.PutStr("http.request.method", m.request.method)
			attributes.PutStr("url.full", url)
			if m.status != 0 {
				attributes.PutInt("http.response.status_code", int64(m.status))
			}
		}
		if calls[i] != "" {
			attributes.PutStr("vendor.name", calls[i])
		}
		if m.failure == nil {
			continue
		}
		if calls[i] != "" {
			attributes.PutStr("vendor.failure.reason", m.failure.reason.String())
		}
		errorType := m.failure.reason.String()
		if m.status >= 400 {
			errorType = strconv.Itoa(m.status)
		}
		attributes.PutStr("error.type", errorType)
		s.Status().SetCode(ptrace.StatusCodeError)
		s.Status().SetMessage(m.failure.detail)
	}
	return td
}

func (t *teller) span(to ptrace.ScopeSpans, r *run, id pcommon.SpanID, name string, start, end time.Time) ptrace.Span {
	s := to.Spans().AppendEmpty()
	s.SetTraceID(r.trace)
	s.SetSpanID(id)
	s.SetName(name)
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(end))
	s.Attributes().PutStr("probe.name", t.name)
	s.Attributes().PutStr("user_agent.synthetic.type", "test")
	return s
}

// tellChange tells that a run ended otherwise than the one before.
func (t *teller) tellChange(r *run, now ending) {
	text := "The test order succeeded"
	fields := []zap.Field{zap.String("probe.name", t.name), zap.String("vendor.name", t.vendor), zap.String("probe.outcome", now.outcome.String())}
	if now.reason != reason.None {
		text = fmt.Sprintf("The test order failed at step %s: %s, %s", now.step, now.reason, r.made[r.failed].failure.detail)
		fields = append(fields, zap.String("probe.step", now.step), zap.String("vendor.failure.reason", now.reason.String()))
	}
	if t.last != nil {
		fields = append(fields, zap.String("probe.outcome.before", t.last.outcome().String()))
	}
	if now.reason != reason.None {
		t.set.Logger.Warn(text, append(fields, zap.Stringer("trace_id", r.trace))...)
	} else {
		t.set.Logger.Info(text, append(fields, zap.Stringer("trace_id", r.trace))...)
	}
	t.consume("logs", func(ctx context.Context, to listeners) error {
		if to.logs == nil {
			return nil
		}
		ld := plog.NewLogs()
		rl := ld.ResourceLogs().AppendEmpty()
		t.resource(rl.Resource())
		sl := rl.ScopeLogs().AppendEmpty()
		t.scope(sl.Scope())
		record := sl.LogRecords().AppendEmpty()
		record.SetTimestamp(pcommon.NewTimestampFromTime(r.end))
		record.SetObservedTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		record.SetSeverityNumber(plog.SeverityNumberInfo)
		record.SetSeverityText("INFO")
		name := "probe.success"
		if now.reason != reason.None {
			name = "probe.failure"
			record.SetSeverityNumber(plog.SeverityNumberError)
			record.SetSeverityText("ERROR")
		}
		record.SetEventName(name)
		record.SetTraceID(r.trace)
		record.SetSpanID(r.root)
		record.Body().SetStr(text)
		for _, f := range fields {
			record.Attributes().PutStr(f.Key, f.String)
		}
		record.Attributes().PutStr("event.name", name) // Loki drops the record's own
		record.Attributes().PutStr("user_agent.synthetic.type", "test")
		return to.logs.ConsumeLogs(ctx, ld)
	})
}
