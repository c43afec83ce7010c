package main

import (
	"context"
	"flag"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Benchmark has each contender on each kind of batch, in a form that benchstat reads.
func Benchmark(b *testing.B) {
	all := newBench(context.Background())
	jobs, err := all.jobs()
	require.NoError(b, err)
	for _, j := range jobs {
		for c, name := range j.contenders {
			b.Run(strings.ReplaceAll(j.name, " ", "_")+"/"+strings.ReplaceAll(name, " ", "_"), j.measure(c))
		}
	}
	require.NoError(b, all.stop())
}

// BenchmarkGoroutines: go test -bench Goroutines -cpu 1,2.
func BenchmarkGoroutines(b *testing.B) {
	all := newBench(context.Background())
	r, err := incident()
	require.NoError(b, err)
	p, err := all.oursOnSpans(vendorFailure)
	require.NoError(b, err)
	batches := mixedSpans(r)
	b.ResetTimer()
	all.inParallel(p.ConsumeTraces, batches, min(runtime.GOMAXPROCS(0), 2))(b)
	require.NoError(b, all.stop())
}

func BenchmarkStartUp(b *testing.B) { startUp(b) }

// TestRun: make bench prints a row for each, and memory is as much as is remembered and no more.
func TestRun(t *testing.T) {
	benchtime := flag.Lookup("test.benchtime").Value
	before := benchtime.String()
	require.NoError(t, benchtime.Set("1x"))
	defer func() { require.NoError(t, benchtime.Set(before)) }()
	var out strings.Builder
	require.NoError(t, run(&out, 1))
	text := out.String()
	for _, table := range strings.Split(strings.TrimSpace(`
spans, 1 in 10 requests an order: vendor_failure, transform + signal_to_metrics (aim), transform, span_metrics, group_by_trace + transform, bare loop of two look-ups, bare loop (aim)
spans of other endpoints: vendor_failure (aim), transform + signal_to_metrics, transform, span_metrics, group_by_trace + transform, bare loop of two look-ups, bare loop (aim)
all recordings' requests of spans, as they came: vendor_failure, transform + signal_to_metrics, transform, span_metrics, group_by_trace + transform, bare loop of two look-ups, bare loop
Loki lines, 1 in 10 requests an order: vendor_failure, transform + signal_to_metrics, regular expression over bodies (aim), parsing each http line (aim), four fields by gjson, bare loop
Loki lines, as recorded: vendor_failure, transform + signal_to_metrics, regular expression over bodies, parsing each http line, four fields by gjson, bare loop
Loki lines that match nothing: vendor_failure (aim), transform + signal_to_metrics, regular expression over bodies, parsing each http line, four fields by gjson, bare loop
Loki lines, one a batch: vendor_failure, transform + signal_to_metrics, regular expression over bodies, parsing each http line, four fields by gjson, bare loop, nothing (aim)
spans, 1 in 10 requests an order, 100 vendors: 100 vendors x 20 URLs and 20 order endpoints, one vendor and order endpoint (aim)
Loki lines, 1 in 10 requests an order, 100 vendors: 100 vendors x 20 URLs and 20 order endpoints, one vendor and order endpoint (aim)`), "\n") {
		name, rows, found := strings.Cut(table, ": ")
		require.True(t, found)
		pattern := `\n +` + regexp.QuoteMeta(name) + `\| +ns each\| +allocations a batch\| .+ takes of it\| +aim\|`
		for _, row := range strings.Split(rows, ", ") {
			row, aimed := strings.CutSuffix(row, " (aim)")
			pattern += `\n *` + regexp.QuoteMeta(row) + `\| +\d+\.\d\| +\d+\| +\d+\.\d\d\| +`
			if aimed {
				pattern += `≤ [\d.]+.*, (reached|missed)`
			}
			pattern += `\|`
		}
		assert.Regexp(t, pattern+`\n\n`, text)
	}
	for _, row := range []string{
		`spans that 2 goroutines do while one does one, by the clock, on \d+ processors\| +\d+\.\d\d\| +≥ 1\.8, (reached|missed)\|`,
		`the same of the bare loop, which judges and counts nothing\| +\d+\.\d\d\| +\|`,
		`processor time of a span while 2 goroutines do them, to that of one\| +\d+\.\d\d\| +\|`,
		`start-up with 2,000 URLs of 100 vendors, by the clock\| +\d+\.\d ms\| +≤ 50 ms, (reached|missed)\|`,
		`memory with limits\.traces at its default full, ` + full[0].of + `\| +([3-9]|1\d)\.\d MB\| +≤ 20 MB, reached\|`,
		`memory with limits\.traces at its default full, ` + full[1].of + `\| +([3-9]|1\d)\.\d MB\| +≤ 20 MB, reached\|`,
		`memory with limits\.traces at its default full, ` + full[2].of + `\| +([3-9]|1\d)\.\d MB\| +≤ 20 MB, reached\|`,
	} {
		assert.Regexp(t, `\n *`+row, text)
	}
}

// TestManyVendors: the configuration with many vendors finds what that with one does.
func TestManyVendors(t *testing.T) {
	assert.Equal(t, 100, strings.Count(manyVendors(), "- name: "))
	assert.Equal(t, 20, strings.Count(manyVendors(), "method: POST"))
	assert.Equal(t, 2000, strings.Count(manyVendors(), "/api/order,")+strings.Count(manyVendors(), "/api/order]")+strings.Count(manyVendors(), "/api]"))
	r, err := incident()
	require.NoError(t, err)
	b := newBench(t.Context())
	var found [2][][]int
	for i, config := range []string{vendorFailure, manyVendors()} {
		spans, err := b.oursOnSpans(config)
		require.NoError(t, err)
		lines, err := b.oursOnLines(config)
		require.NoError(t, err)
		for _, batch := range mixedSpans(r) {
			require.NoError(t, spans.ConsumeTraces(t.Context(), batch.data))
			found[i] = append(found[i], tagged(batch.tagged))
		}
		for _, batch := range mixedLines(r) {
			require.NoError(t, lines.ConsumeLogs(t.Context(), batch.data))
			found[i] = append(found[i], tagged(batch.tagged))
		}
	}
	assert.NotEmpty(t, slices.Concat(found[0]...))
	assert.Equal(t, found[0], found[1])
	require.NoError(t, b.stop())
}

// TestCollectors: the built Collector is measured, and the processor in it finds orders and calls.
func TestCollectors(t *testing.T) {
	var out strings.Builder
	require.NoError(t, collectors(&out, 1, 200*time.Millisecond))
	assert.Regexp(t, `with vendor_failure\| +[1-9]\d+\| +\d\.\d{3} s\|\n +without\| +[1-9]\d+\| +\d\.\d{3} s\|\n +ratio\| +\d\.\d{3}\|`, out.String())
}

// TestSaturated: each look at the built Collector's memory has its line.
func TestSaturated(t *testing.T) {
	var out strings.Builder
	require.NoError(t, saturated(&out, time.Second))
	assert.Regexp(t, `\n +0s \| +\| +\d+\.\d MB \| +\d+\.\d MB\n`, out.String())
	assert.Len(t, regexp.MustCompile(`\n +(\d+ms|1s) \| +\d\.\d\d \| +\d+\.\d MB \| +\d+\.\d MB`).FindAllString(out.String(), -1), looks)
}

// TestMix: of the requests in mixed batches one in ten is an order, and one in five of these fails.
func TestMix(t *testing.T) {
	r, err := incident()
	require.NoError(t, err)
	requests, orders, failed := map[pcommon.TraceID]bool{}, 0, 0
	for _, batch := range mixedSpans(r) {
		for s := range spansOf(batch.data) {
			requests[s.TraceID()] = true
			if isOrder(s) {
				orders++
				if s.Status().Code() == ptrace.StatusCodeError {
					failed++
				}
			}
		}
	}
	assert.InDelta(t, 0.1, float64(orders)/float64(len(requests)), 0.015, "spans: %d orders of %d requests", orders, len(requests))
	assert.InDelta(t, 0.2, float64(failed)/float64(orders), 0.05, "spans: %d failed of %d orders", failed, orders)
	for name, batches := range map[string][]linesBatch{"lines": mixedLines(r), "single lines": singleLines(r)} {
		var of [3]int
		for _, batch := range batches {
			of[0] += count(batch.data, bareLine)
			of[1] += count(batch.data, isOrderLine)
			of[2] += count(batch.data, isFailedOrderLine)
		}
		assert.InDelta(t, 0.1, float64(of[1])/float64(of[0]), 0.015, "%s: %d orders of %d requests", name, of[1], of[0])
		assert.InDelta(t, 0.2, float64(of[2])/float64(of[1]), 0.05, "%s: %d failed of %d orders", name, of[2], of[1])
	}
}

// TestRenew: in each turn the traces in which something failed are new, to the processor and in a marshaled request.
func TestRenew(t *testing.T) {
	r, err := incident()
	require.NoError(t, err)
	seen := map[pcommon.TraceID]bool{}
	failed := func(td ptrace.Traces) (ids []pcommon.TraceID) {
		for s := range spansOf(td) {
			if isOrder(s) && s.Status().Code() == ptrace.StatusCodeError {
				assert.False(t, seen[s.TraceID()])
				seen[s.TraceID()] = true
				ids = append(ids, s.TraceID())
			}
		}
		return ids
	}
	for _, batch := range mixedSpans(r) {
		sent, err := newExport(batch.data)
		require.NoError(t, err)
		first := failed(batch.data)
		for turn := range uint64(3) {
			batch.renew(turn + 1)
			assert.Len(t, failed(batch.data), len(first))
			sent.renew(turn + 10)
			got := ptraceotlp.NewExportRequest()
			require.NoError(t, got.UnmarshalProto(sent.marshaled))
			assert.Equal(t, size, got.Traces().SpanCount())
			assert.Len(t, failed(got.Traces()), len(first))
		}
	}
	assert.NotEmpty(t, seen)
}

// tagged tells which are told as a failure.
func tagged(all []pcommon.Map) (at []int) {
	for i, m := range all {
		if _, ok := m.Get("vendor.failure.reason"); ok {
			at = append(at, i)
		}
	}
	return at
}

// isFailedOrderLine says it by what the driver of the incident saw: all answers of 5xx were 500.
func isFailedOrderLine(l plog.LogRecord) bool {
	return isOrderLine(l) && strings.Contains(l.Body().Str(), `"statusCode":500`)
}

// TestSameJob: a contender that did less would be no measure. On the incident every order that failed is the vendor's
// doing, so that those who cannot tell find the same spans and lines.
func TestSameJob(t *testing.T) {
	r, err := incident()
	require.NoError(t, err)

	t.Run("spans", func(t *testing.T) {
		b, made := newBench(t.Context()), new(consumertest.MetricsSink)
		b.metrics = made
		contenders, err := b.spans()
		require.NoError(t, err)
		counted := map[string]int64{}
		for _, batch := range mixedSpans(r) {
			var want []pcommon.Map
			for s := range spansOf(batch.data) {
				of := "vendor.calls"
				if isOrder(s) {
					of = "vendor.orders"
				} else if !isCall(s) {
					continue
				} else {
					counted["vendor.call.duration"]++
				}
				if s.Status().Code() == ptrace.StatusCodeError {
					want = append(want, s.Attributes())
					of += " error"
				}
				counted[of]++
			}
			var everything []pcommon.Map
			for s := range spansOf(batch.data) {
				everything = append(everything, s.Attributes())
			}
			for _, c := range contenders[:2] {
				sameTags(t, c.name, func() error { return c.consume(t.Context(), batch.data) }, want, batch.tagged, everything)
			}
		}
		assert.Len(t, counted, 5, "orders and calls, that failed and that did not, and how long calls took: %v", counted)
		assert.Equal(t, counted, b.counted(t), ours)
		assert.Equal(t, counted, points(made), tagAndCount)
		require.NoError(t, b.stop())
	})

	t.Run("lines", func(t *testing.T) {
		b, made := newBench(t.Context()), new(consumertest.MetricsSink)
		b.metrics = made
		contenders, err := b.lines()
		require.NoError(t, err)
		counted := map[string]int64{}
		for _, batch := range recordedLines(r) {
			var want, everything []pcommon.Map
			for _, l := range batch.data.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
				everything = append(everything, l.Attributes())
				of := "vendor.calls"
				level, _ := l.Attributes().Get("level")
				isFailed := level.Str() == "error"
				if isOrderLine(l) {
					of = "vendor.orders"
					isFailed = isFailedOrderLine(l)
				} else if kind(l) != "factory" {
					continue
				}
				if isFailed {
					want = append(want, l.Attributes())
					of += " error"
				}
				counted[of]++
			}
			for _, c := range contenders[:2] {
				sameTags(t, c.name, func() error { return c.consume(t.Context(), batch.data) }, want, batch.tagged, everything)
			}
		}
		assert.Equal(t, counted, b.counted(t), ours)
		assert.Equal(t, counted, points(made), tagAndCount)
		require.NoError(t, b.stop())
	})

	t.Run("failed orders' lines", func(t *testing.T) {
		found := 0
		for _, l := range records(r) {
			want := isFailedOrderLine(l)
			assert.Equal(t, want, byRegexp(l), expression)
			assert.Equal(t, want, byParsing(l), parsing)
			if kind(l) == "http" {
				assert.Equal(t, want, byFields(l), fourFields)
			}
			if want {
				found++
			}
		}
		assert.Equal(t, r.Truth.Failed, found)
	})
}

// sameTags: a contender tags those that are wanted. All that anybody tags is among those that are untagged.
func sameTags(t *testing.T, name string, consume func() error, want, untagged, everything []pcommon.Map) {
	t.Helper()
	require.NoError(t, consume())
	var found []pcommon.Map
	for _, at := range tagged(everything) {
		found = append(found, everything[at])
	}
	assert.True(t, slices.Equal(want, found), "%s: %d instead of %d, or others", name, len(found), len(want))
	untag(untagged)
	for _, m := range everything {
		for _, tag := range tags {
			_, left := m.Get(tag)
			assert.False(t, left, "%s: %s is left", name, tag)
		}
	}
}

// counted returns how many calls and orders the processor has counted, by reason, and how many durations.
func (b *bench) counted(t *testing.T) map[string]int64 {
	var all metricdata.ResourceMetrics
	require.NoError(t, b.told.Collect(t.Context(), &all))
	counted := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch m.Name {
			case "vendor.orders", "vendor.calls":
				for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
					reason, _ := p.Attributes.Value("vendor.failure.reason")
					add(counted, m.Name, reason.AsString(), p.Value)
				}
			case "vendor.call.duration":
				for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
					add(counted, m.Name, "", int64(p.Count))
				}
			}
		}
	}
	return counted
}

// points returns it of what signal_to_metrics has made.
func points(made *consumertest.MetricsSink) map[string]int64 {
	counted := map[string]int64{}
	for _, md := range made.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					switch m.Type() {
					case pmetric.MetricTypeSum:
						for _, p := range m.Sum().DataPoints().All() {
							reason, _ := p.Attributes().Get("vendor.failure.reason")
							add(counted, m.Name(), reason.Str(), p.IntValue())
						}
					case pmetric.MetricTypeHistogram:
						for _, p := range m.Histogram().DataPoints().All() {
							add(counted, m.Name(), "", int64(p.Count()))
						}
					}
				}
			}
		}
	}
	return counted
}

func add(counted map[string]int64, name, reason string, n int64) {
	if n > 0 {
		counted[strings.TrimSpace(name+" "+reason)] += n
	}
}

// TestNothingAllocated: spans and lines that match nothing cost no allocation, before anything else was seen and after.
func TestNothingAllocated(t *testing.T) {
	r, err := incident()
	require.NoError(t, err)
	b := newBench(t.Context())
	spans, err := b.oursOnSpans(vendorFailure)
	require.NoError(t, err)
	lines, err := b.oursOnLines(vendorFailure)
	require.NoError(t, err)
	td, ld := otherSpans(r)[0].data, otherLines(r)[0].data
	// Requests to other endpoints have http lines too.
	requests := lineBatches(slices.DeleteFunc(records(r), func(l plog.LogRecord) bool { return kind(l) == "factory" || isOrderLine(l) }), 1, size)[0].data
	require.Positive(t, count(requests, bareLine))
	for _, state := range []string{"unseen", "seen"} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = spans.ConsumeTraces(b.ctx, td) }), "spans, %s", state)
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = lines.ConsumeLogs(b.ctx, ld) }), "lines, %s", state)
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = lines.ConsumeLogs(b.ctx, requests) }), "http lines of other endpoints, %s", state)
		if state == "unseen" {
			assert.Empty(t, b.counted(t), "nothing matched")
			require.NoError(t, spans.ConsumeTraces(b.ctx, mixedSpans(r)[0].data))
			require.NoError(t, lines.ConsumeLogs(b.ctx, mixedLines(r)[0].data))
			require.NotEmpty(t, b.counted(t))
		}
	}
	require.NoError(t, b.stop())
}
