package main

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Benchmark has each contender on each kind of batch, in a form that benchstat reads.
func Benchmark(b *testing.B) {
	all := &bench{ctx: context.Background()}
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
	all := &bench{ctx: context.Background()}
	r, err := incident()
	require.NoError(b, err)
	ours, err := all.oursOnSpans(vendorFailure, nil, consumertest.NewNop())
	require.NoError(b, err)
	batches := mixedSpans(r)
	b.ResetTimer()
	inParallel(all.ctx, ours.ConsumeTraces, batches, runtime.GOMAXPROCS(0))(b)
	require.NoError(b, all.stop())
}

func BenchmarkStartUp(b *testing.B) { startUp(b) }

// TestFigures: memory is bounded by what limits.traces says, and not empty.
func TestFigures(t *testing.T) {
	b := &bench{ctx: t.Context()}
	for _, span := range []func(ptrace.Span){failedCall, failedOrder} {
		megabytes, err := b.remembered(span)
		require.NoError(t, err)
		assert.Greater(t, megabytes, 3.0, "as many are remembered as may be")
		assert.Less(t, megabytes, 20.0)
	}
	require.NoError(t, b.stop())
}

// TestManyVendors: the configuration with many vendors finds what that with one does.
func TestManyVendors(t *testing.T) {
	assert.Equal(t, 100, strings.Count(manyVendors(), "- name: "))
	assert.Equal(t, 20, strings.Count(manyVendors(), "method: POST"))
	assert.Equal(t, 2000, strings.Count(manyVendors(), "/api/order,")+strings.Count(manyVendors(), "/api/order]")+strings.Count(manyVendors(), "/api]"))
	r, err := incident()
	require.NoError(t, err)
	b := &bench{ctx: t.Context()}
	var found [2]int
	for i, config := range []string{vendorFailure, manyVendors()} {
		spans, err := b.oursOnSpans(config, nil, consumertest.NewNop())
		require.NoError(t, err)
		lines, err := b.oursOnLines(config, nil, consumertest.NewNop())
		require.NoError(t, err)
		for _, batch := range mixedSpans(r) {
			require.NoError(t, spans.ConsumeTraces(t.Context(), batch.data))
			found[i] += tagged(batch.tagged)
		}
		for _, batch := range mixedLines(r) {
			require.NoError(t, lines.ConsumeLogs(t.Context(), batch.data))
			found[i] += tagged(batch.tagged)
		}
	}
	assert.Positive(t, found[0])
	assert.Equal(t, found[0], found[1])
	require.NoError(t, b.stop())
}

// TestCollectors: the built Collector is measured, and the processor in it finds orders and calls.
func TestCollectors(t *testing.T) {
	var out strings.Builder
	require.NoError(t, collectors(&out, 1, 200*time.Millisecond))
	assert.Regexp(t, `with vendor_failure\| +[1-9]\d+\| +\d\.\d{3} s\|\n +without\| +[1-9]\d+\| +\d\.\d{3} s\|\n +ratio\| +\d\.\d{3}\|`, out.String())
}

// tagged counts what is told as a failure.
func tagged(all []pcommon.Map) (n int) {
	for _, m := range all {
		if _, ok := m.Get("vendor.failure.reason"); ok {
			n++
		}
	}
	return n
}

// TestSameJob: a contender that did less would be no measure. On the incident every order that failed is the vendor's
// doing, so that those who cannot tell tag the same spans and lines.
func TestSameJob(t *testing.T) {
	r, err := incident()
	require.NoError(t, err)
	b := &bench{ctx: t.Context()}
	spans, err := b.spans(nil, consumertest.NewNop())
	require.NoError(t, err)
	lines, err := b.lines(nil, consumertest.NewNop())
	require.NoError(t, err)

	// What is not in tagged is not untagged: it must be all that anybody tags.
	count := func(consume func() error, attributes []pcommon.Map, every func() int) int {
		require.NoError(t, consume())
		n := tagged(attributes)
		assert.Equal(t, n, every(), "all that is tagged is untagged again")
		untag(attributes)
		assert.Zero(t, every())
		return n
	}
	var ofSpans, ofLines [2]int
	for i := range ofSpans {
		for _, batch := range mixedSpans(r) {
			ofSpans[i] += count(func() error { return spans[i].consume(t.Context(), batch.data) }, batch.tagged, func() (n int) {
				for _, s := range batch.data.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
					n += tagged([]pcommon.Map{s.Attributes()})
				}
				return n
			})
		}
		for _, batch := range recordedLines(r) {
			ofLines[i] += count(func() error { return lines[i].consume(t.Context(), batch.data) }, batch.tagged, func() (n int) {
				for _, l := range batch.data.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
					n += tagged([]pcommon.Map{l.Attributes()})
				}
				return n
			})
		}
	}
	require.NoError(t, b.stop())
	assert.NotZero(t, ofSpans[0])
	assert.Equal(t, ofSpans[0], ofSpans[1], "spans: %s and %s", spans[0].name, spans[1].name)
	assert.NotZero(t, ofLines[0])
	assert.Equal(t, ofLines[0], ofLines[1], "lines: %s and %s", lines[0].name, lines[1].name)
}

// TestNothingAllocated: spans and lines that match nothing cost no allocation.
func TestNothingAllocated(t *testing.T) {
	r, err := incident()
	require.NoError(t, err)
	tel := componenttest.NewTelemetry()
	b := &bench{ctx: t.Context()}
	spans, err := b.spans(tel, consumertest.NewNop())
	require.NoError(t, err)
	lines, err := b.lines(tel, consumertest.NewNop())
	require.NoError(t, err)
	td, ld := otherSpans(r)[0].data, otherLines(r)[0].data
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = spans[0].consume(b.ctx, td) }), "spans")
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = lines[0].consume(b.ctx, ld) }), "lines")
	require.NoError(t, b.stop())
	for _, name := range []string{"vendor.orders", "vendor.calls"} {
		if m, err := tel.GetMetric(name); err == nil {
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				assert.Zero(t, p.Value, "%s: nothing matched", name)
			}
		}
	}
}
