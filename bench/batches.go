package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// size is how many spans or records a batch has.
const size = 512

// variants is how many batches of a kind there are, unless all that was recorded is used. They are used in turn. So many
// differ enough, and few enough stay in a processor's cache (some 4 MB), where a Collector's batch is too: it has just
// been decoded. 64 of them took twice as long, for every contender, and as much more as others used the memory.
const variants = 8

// tags are the attributes that contenders write. After each batch they are taken away again, for every contender alike
// and within what is measured, so that all find every batch as it was.
var tags = []string{"vendor.name", "vendor.order", "vendor.failure.reason", "vendor.failure.chaos"}

// spansBatch is a batch of spans, those attributes in it that may be tagged, and the spans of traces in which something
// failed: those are what a contender may remember.
type spansBatch struct {
	data   ptrace.Traces
	tagged []pcommon.Map
	failed []ptrace.Span
}

// renew gives the traces in which something failed ids that no batch had before this turn, so that what a contender
// remembers of them is no help. It is measured too, for every contender alike.
func (b *spansBatch) renew(turn uint64) {
	for _, s := range b.failed {
		id := s.TraceID()
		binary.BigEndian.PutUint64(id[:8], turn)
		s.SetTraceID(id)
	}
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
	turn := 0
	return madeOf(func() *trace {
		turn++
		return mixed(turn, orders, failing, others)
	})
}

// recordedSpans are the recorded requests as they came, of every recording.
func recordedSpans() ([]spansBatch, error) {
	folders, err := filepath.Glob("../testdata/*/traces.jsonl.gz")
	if err != nil || len(folders) == 0 {
		return nil, errors.Join(errors.New("../testdata has no recordings"), err)
	}
	var all []ptrace.Traces
	for _, folder := range folders {
		r, err := recording.Open(filepath.Dir(folder))
		if err != nil {
			return nil, err
		}
		all = append(all, r.Traces()...)
	}
	return spansBatches(all), nil
}

func spansBatches(all []ptrace.Traces) []spansBatch {
	failed := map[pcommon.TraceID]bool{}
	for _, td := range all {
		for s := range spansOf(td) {
			if (isCall(s) || isOrder(s)) && s.Status().Code() == ptrace.StatusCodeError {
				failed[s.TraceID()] = true
			}
		}
	}
	batches := make([]spansBatch, len(all))
	for i, td := range all {
		b := spansBatch{data: td}
		for s := range spansOf(td) {
			if isCall(s) || isOrder(s) {
				b.tagged = append(b.tagged, s.Attributes())
			}
			if failed[s.TraceID()] {
				b.failed = append(b.failed, s)
			}
		}
		batches[i] = b
	}
	return batches
}

func spansOf(td ptrace.Traces) iter.Seq[ptrace.Span] {
	return func(yield func(ptrace.Span) bool) {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}

// otherSpans are batches of requests to other endpoints alone.
func otherSpans(r *recording.Recording) []spansBatch {
	_, _, others := traces(r)
	turn := 0
	return madeOf(func() *trace {
		turn++
		return others[turn%len(others)]
	})
}

// madeOf puts traces into batches, each trace with an id of its own; the last of a batch may lack its end.
func madeOf(next func() *trace) []spansBatch {
	batches := make([]ptrace.Traces, variants)
	id := uint32(0)
	for i := range batches {
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		spans := rs.ScopeSpans().AppendEmpty().Spans()
		for spans.Len() < size {
			t := next()
			t.resource.CopyTo(rs.Resource())
			id++ // the first half of a trace id is for renew
			for _, s := range t.spans {
				if spans.Len() == size {
					break
				}
				to := spans.AppendEmpty()
				s.CopyTo(to)
				to.SetTraceID(pcommon.TraceID{12: byte(id >> 24), 13: byte(id >> 16), 14: byte(id >> 8), 15: byte(id)})
			}
		}
		batches[i] = td
	}
	return spansBatches(batches)
}

// request is the recorded lines of one request: those since the last one, up to the line that records it. Loki lines have
// no trace id, and those of requests that ran at once stand among each other's: a call to the vendor is the next order's,
// and of the others how many there are is right all the same.
type request struct {
	lines  []plog.LogRecord
	order  bool
	failed bool
}

func requests(r *recording.Recording) (orders, failing, others []request) {
	isCall := func(l plog.LogRecord) bool { return kind(l) == "factory" }
	all := records(r)
	calls := slices.DeleteFunc(slices.Clone(all), func(l plog.LogRecord) bool { return !isCall(l) })
	var now request
	for _, l := range slices.DeleteFunc(all, isCall) {
		now.lines = append(now.lines, l)
		if kind(l) != "http" {
			continue
		}
		now.order, now.failed = isOrderLine(l), strings.Contains(l.Body().Str(), `"statusCode":500`)
		if at := slices.IndexFunc(calls, func(call plog.LogRecord) bool { return repeats(l, call) }); now.order && at >= 0 {
			now.lines = slices.Insert(now.lines, len(now.lines)-1, calls[at])
			calls = slices.Delete(calls, at, at+1)
		}
		switch {
		case now.order && now.failed:
			failing = append(failing, now)
		case now.order:
			orders = append(orders, now)
		default:
			others = append(others, now)
		}
		now = request{}
	}
	return orders, failing, others
}

// repeats tells whether the line of an order ends in what the vendor answered to a call: a token's signature, or a link.
func repeats(order, call plog.LogRecord) bool {
	answer := strings.TrimRight(call.Body().Str(), `\"}`)
	return strings.Contains(order.Body().Str(), answer[len(answer)-40:])
}

// mixedLines are batches of recorded requests' lines: one in ten an order, one in five of these failing.
func mixedLines(r *recording.Recording) []linesBatch {
	return lineBatches(mixedRecords(r), variants, size)
}

func mixedRecords(r *recording.Recording) (lines []plog.LogRecord) {
	orders, failing, others := requests(r)
	for n := 1; len(lines) < variants*size; n++ {
		lines = append(lines, mixed(n, orders, failing, others).lines...)
	}
	return lines
}

// mixed returns the request that has its turn.
func mixed[T any](turn int, orders, failing, others []T) T {
	switch {
	case turn%50 == 0:
		return failing[turn/50%len(failing)]
	case turn%10 == 0:
		return orders[turn/10%len(orders)]
	}
	return others[turn%len(others)]
}

// recordedLines are batches of all recorded Loki lines as they came.
func recordedLines(r *recording.Recording) []linesBatch {
	all := records(r)
	return lineBatches(all, (len(all)+size-1)/size, size)
}

// otherLines are batches of lines that record neither served requests nor vendor calls.
func otherLines(r *recording.Recording) []linesBatch {
	return lineBatches(slices.DeleteFunc(records(r), func(l plog.LogRecord) bool { return kind(l) == "http" || kind(l) == "factory" }), variants, size)
}

// singleLines are the lines of mixedLines, one a batch, as the Loki endpoint really gets them.
func singleLines(r *recording.Recording) []linesBatch {
	return lineBatches(mixedRecords(r), size, 1)
}

func kind(l plog.LogRecord) string {
	v, ok := l.Attributes().Get("type")
	if !ok {
		return ""
	}
	return v.Str()
}

// isOrderLine tells whether a line records a POST to the order endpoint.
func isOrderLine(l plog.LogRecord) bool {
	return kind(l) == "http" && strings.Contains(l.Body().Str(), `"path":"/api/order","method":"POST"`)
}

// records returns all log records of a recording.
func records(r *recording.Recording) (all []plog.LogRecord) {
	for _, ld := range r.Logs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, l := range sl.LogRecords().All() {
					all = append(all, l)
				}
			}
		}
	}
	return all
}

func lineBatches(lines []plog.LogRecord, batches, size int) []linesBatch {
	n := 0
	all := make([]linesBatch, batches)
	for i := range all {
		b := linesBatch{data: plog.NewLogs()}
		records := b.data.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		for range size {
			to := records.AppendEmpty()
			lines[n%len(lines)].CopyTo(to)
			n++
			if kind(to) == "factory" || isOrderLine(to) {
				b.tagged = append(b.tagged, to.Attributes())
			}
		}
		all[i] = b
	}
	return all
}

// incident is the recording that batches are made of.
func incident() (*recording.Recording, error) {
	r, err := recording.Open("../testdata/incident")
	if err != nil {
		return nil, fmt.Errorf("run this in bench/, as make bench does: %w", err)
	}
	return r, nil
}
