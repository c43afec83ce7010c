package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// figures prints what is no race between contenders.
func (b *bench) figures(to io.Writer, rounds int) error {
	r, err := incident()
	if err != nil {
		return err
	}
	ours, err := b.oursOnSpans(vendorFailure, nil, consumertest.NewNop())
	if err != nil {
		return err
	}
	batches := mixedSpans(r)
	var faster, dearer, start []float64
	for range rounds {
		one := testing.Benchmark(inParallel(b.ctx, ours.ConsumeTraces, batches, 1))
		two := testing.Benchmark(inParallel(b.ctx, ours.ConsumeTraces, batches, 2))
		faster = append(faster, one.Extra[perItem]/two.Extra[perItem])
		dearer = append(dearer, two.Extra[cpuPerItem]/one.Extra[cpuPerItem])
		start = append(start, float64(testing.Benchmark(startUp).NsPerOp())/1e6)
	}
	calls, err := b.remembered(failedCall)
	if err != nil {
		return err
	}
	orders, err := b.remembered(failedOrder)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintf(table, "vendor_failure\tmeasured\t\n")
	fmt.Fprintf(table, "spans that 2 goroutines do while one does one, by the clock, on %d processors\t%.2f\t\n", runtime.GOMAXPROCS(0), median(faster))
	fmt.Fprintf(table, "processor time of a span while 2 goroutines do them, to that of one\t%.2f\t\n", median(dearer))
	fmt.Fprintf(table, "start-up with 2,000 URLs of 100 vendors, by the clock\t%.1f ms\t\n", median(start))
	fmt.Fprintf(table, "memory with limits.traces at its default full, a failed call in each trace\t%.1f MB\t\n", calls)
	fmt.Fprintf(table, "the same, an order in each trace that still waits for its vendor's call\t%.1f MB\t\n", orders)
	table.Flush()
	return nil
}

// inParallel lets goroutines share the work, each with batches of its own.
func inParallel(ctx context.Context, consume func(context.Context, ptrace.Traces) error, batches []spansBatch, goroutines int) func(*testing.B) {
	return func(b *testing.B) {
		var next atomic.Int64
		var failed atomic.Pointer[error]
		var all sync.WaitGroup
		before := cpu()
		for g := range goroutines {
			own := batches[g*len(batches)/goroutines : (g+1)*len(batches)/goroutines]
			all.Go(func() {
				for i := 0; next.Add(1) <= int64(b.N); i++ {
					batch := &own[i%len(own)]
					if err := consume(ctx, batch.data); err != nil {
						failed.Store(&err)
					}
					untag(batch.tagged)
				}
			})
		}
		all.Wait()
		if err := failed.Load(); err != nil {
			b.Fatal(*err)
		}
		b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N*size), cpuPerItem)
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), perItem)
	}
}

// startUp reads and compiles a configuration with 2,000 URLs, and starts what it describes.
func startUp(b *testing.B) {
	config := manyVendors()
	for b.Loop() {
		some := &bench{ctx: context.Background()}
		if _, err := some.oursOnSpans(config, nil, consumertest.NewNop()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := some.stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// defaultTraces is limits.traces where the configuration does not say otherwise.
const defaultTraces = 100_000

// remembered returns by how many megabytes the heap grows when as many traces are remembered as may be.
func (b *bench) remembered(span func(ptrace.Span)) (megabytes float64, err error) {
	ours, err := b.oursOnSpans(vendorFailure, nil, consumertest.NewNop())
	if err != nil {
		return 0, err
	}
	before := heap()
	for n := uint64(0); n < defaultTraces; {
		td := ptrace.NewTraces()
		spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		for ; spans.Len() < size && n < defaultTraces; n++ {
			s := spans.AppendEmpty()
			s.SetTraceID(pcommon.TraceID(binary.BigEndian.AppendUint64(make([]byte, 8), n+1)))
			s.SetSpanID(pcommon.SpanID{1})
			span(s)
		}
		if err := ours.ConsumeTraces(b.ctx, td); err != nil {
			return 0, err
		}
	}
	megabytes = (heap() - before) / 1e6
	runtime.KeepAlive(ours)
	return megabytes, nil
}

func failedCall(s ptrace.Span) {
	s.SetKind(ptrace.SpanKindClient)
	s.Attributes().PutStr("url.full", "http://127.0.0.1:4000/api/order")
	s.Attributes().PutInt("http.response.status_code", 500)
}

func failedOrder(s ptrace.Span) {
	s.SetKind(ptrace.SpanKindServer)
	s.Attributes().PutStr("http.request.method", "POST")
	s.Attributes().PutStr("http.route", "/api/order")
	s.Attributes().PutInt("http.response.status_code", 500)
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what sync.Pool holds goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
