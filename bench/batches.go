package main

import (
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// size is how many spans or records a batch has.
const size = 512

// variants is how many batches of a kind there are. They are used in turn, with trace ids of their own, so that what a
// contender remembers of one trace is no help with the next.
const variants = 64

// tags are the attributes that contenders write. After each batch they are taken away again, for every contender alike
// and within what is measured, so that all find every batch as it was.
var tags = []string{"vendor.name", "vendor.order", "vendor.failure.reason", "vendor.failure.chaos"}

// spansBatch is a batch of spans and those attributes in it that may be tagged.
type spansBatch struct {
	data   ptrace.Traces
	tagged []pcommon.Map
}

// linesBatch is a batch of log records and those attributes in it that may be tagged.
type linesBatch struct {
	data   plog.Logs
	tagged []pcommon.Map
}

func untag(attributes []pcommon.Map) {
	for _, m := range attributes {
		for _, tag := range tags {
			m.Remove(tag)
		}
	}
}

// trace is the recorded spans of one request, with their scopes.
type trace struct {
	resource pcommon.Resource
	spans    []ptrace.Span
	order    bool // a POST to the order endpoint
	failed   bool
}

func traces(r *recording.Recording) (orders, failing, others []*trace) {
	byID := map[pcommon.TraceID]*trace{}
	var all []*trace
	for _, td := range r.Traces() {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					t, ok := byID[s.TraceID()]
					if !ok {
						t = &trace{resource: rs.Resource()}
						byID[s.TraceID()] = t
						all = append(all, t)
					}
					t.spans = append(t.spans, s)
					if isOrder(s) {
						t.order = true
						t.failed = text(s, "http.response.status_code") == "500"
					}
				}
			}
		}
	}
	for _, t := range all {
		switch {
		case t.failed:
			failing = append(failing, t)
		case t.order:
			orders = append(orders, t)
		default:
			others = append(others, t)
		}
	}
	return orders, failing, others
}

func isOrder(s ptrace.Span) bool {
	return s.Kind() == ptrace.SpanKindServer && text(s, "http.route") == "/api/order" && text(s, "http.request.method") == "POST"
}

func isCall(s ptrace.Span) bool {
	return s.Kind() == ptrace.SpanKindClient && strings.HasPrefix(text(s, "url.full"), "http://127.0.0.1:4000/api/order")
}

func text(s ptrace.Span, key string) string {
	v, ok := s.Attributes().Get(key)
	if !ok {
		return ""
	}
	return v.AsString()
}

// mixedSpans are batches of recorded requests: one in ten an order, one in five of these failing.
func mixedSpans(r *recording.Recording) []spansBatch {
	orders, failing, others := traces(r)
	request := 0
	return spanBatches(func() *trace {
		request++
		switch {
		case request%50 == 0:
			return failing[request/50%len(failing)]
		case request%10 == 0:
			return orders[request/10%len(orders)]
		}
		return others[request%len(others)]
	})
}

// otherSpans are batches of requests to other endpoints alone.
func otherSpans(r *recording.Recording) []spansBatch {
	_, _, others := traces(r)
	request := 0
	return spanBatches(func() *trace {
		request++
		return others[request%len(others)]
	})
}

func spanBatches(next func() *trace) []spansBatch {
	batches := make([]spansBatch, variants)
	id := uint32(0)
	for i := range batches {
		b := spansBatch{data: ptrace.NewTraces()}
		rs := b.data.ResourceSpans().AppendEmpty()
		spans := rs.ScopeSpans().AppendEmpty().Spans()
		for spans.Len() < size {
			t := next()
			t.resource.CopyTo(rs.Resource())
			id++
			for _, s := range t.spans {
				if spans.Len() == size {
					break
				}
				to := spans.AppendEmpty()
				s.CopyTo(to)
				to.SetTraceID(pcommon.TraceID{0: 1, 12: byte(id >> 24), 13: byte(id >> 16), 14: byte(id >> 8), 15: byte(id)})
			}
		}
		for _, s := range spans.All() {
			if isCall(s) || isOrder(s) {
				b.tagged = append(b.tagged, s.Attributes())
			}
		}
		batches[i] = b
	}
	return batches
}

// mixedLines are batches of recorded Loki lines as they came.
func mixedLines(r *recording.Recording) []linesBatch {
	return lineBatches(r, size, func(plog.LogRecord) bool { return true })
}

// otherLines are batches of lines that record neither served requests nor vendor calls.
func otherLines(r *recording.Recording) []linesBatch {
	return lineBatches(r, size, func(l plog.LogRecord) bool { return kind(l) != "http" && kind(l) != "factory" })
}

// singleLines are batches of one line, as the Loki endpoint really gets them.
func singleLines(r *recording.Recording) []linesBatch {
	return lineBatches(r, 1, func(plog.LogRecord) bool { return true })
}

func kind(l plog.LogRecord) string {
	v, ok := l.Attributes().Get("type")
	if !ok {
		return ""
	}
	return v.Str()
}

func lineBatches(r *recording.Recording, size int, take func(plog.LogRecord) bool) []linesBatch {
	var lines []plog.LogRecord
	for _, ld := range r.Logs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, l := range sl.LogRecords().All() {
					if take(l) {
						lines = append(lines, l)
					}
				}
			}
		}
	}
	n := 0
	batches := make([]linesBatch, variants)
	for i := range batches {
		b := linesBatch{data: plog.NewLogs()}
		records := b.data.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		for range size {
			to := records.AppendEmpty()
			lines[n%len(lines)].CopyTo(to)
			n++
			if kind(to) == "factory" || kind(to) == "http" && strings.Contains(to.Body().Str(), `"path":"/api/order","method":"POST"`) {
				b.tagged = append(b.tagged, to.Attributes())
			}
		}
		batches[i] = b
	}
	return batches
}

// incident is the recording that batches are made of.
func incident() (*recording.Recording, error) {
	r, err := recording.Open("../testdata/incident")
	if err != nil {
		return nil, fmt.Errorf("run this in bench/, as make bench does: %w", err)
	}
	return r, nil
}
