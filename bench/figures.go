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

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// figures prints what is no race between contenders.
func (b *bench) figures(to io.Writer, rounds int) error {
	r, err := incident()
	if err != nil {
		return err
	}
	p, err := b.oursOnSpans(vendorFailure)
	if err != nil {
		return err
	}
	batches := mixedSpans(r)
	var of, bare [3][]float64 // goroutines
	var dearer, start []float64
	for round := range rounds + 1 {
		var cpu [3]float64
		for turn := range 2 {
			n := 1 + (round+turn)%2
			r := testing.Benchmark(b.inParallel(p.ConsumeTraces, batches, n))
			of[n], cpu[n] = append(of[n], r.Extra[perItem]), r.Extra[cpuPerItem]
			r = testing.Benchmark(b.inParallel(bareSpans, batches, n))
			bare[n] = append(bare[n], r.Extra[perItem])
		}
		dearer = append(dearer, cpu[2]/cpu[1])
		start = append(start, float64(testing.Benchmark(startUp).NsPerOp())/1e6)
	}
	faster := ratio(of[1][1:], of[2][1:]) // the first time all is warming up
	table := newTable(to)
	fmt.Fprintf(table, "vendor_failure\tmeasured\taim\t\n")
	fmt.Fprintf(table, "spans that 2 goroutines do while one does one, by the clock, on %d processors\t%.2f\t%s\t\n", runtime.GOMAXPROCS(0), faster, atLeast(1.8, faster))
	fmt.Fprintf(table, "the same of the bare loop, which judges and counts nothing\t%.2f\t\t\n", ratio(bare[1][1:], bare[2][1:]))
	fmt.Fprintf(table, "processor time of a span while 2 goroutines do them, to that of one\t%.2f\t\t\n", median(dearer[1:]))
	fmt.Fprintf(table, "start-up with 2,000 URLs of 100 vendors, by the clock\t%.1f ms\t%s\t\n", median(start[1:]), atMost(50, median(start[1:]), " ms"))
	for _, f := range full {
		megabytes, err := remembered(b.ctx, f)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "memory with limits.traces at its default full, %s\t%.1f MB\t%s\t\n", f.of, megabytes, atMost(20, megabytes, " MB"))
	}
	return table.Flush()
}

// inParallel lets one or two goroutines share the work, each with batches of its own.
func (b *bench) inParallel(consume func(context.Context, ptrace.Traces) error, batches []spansBatch, goroutines int) func(*testing.B) {
	return func(tb *testing.B) {
		var next atomic.Int64
		var failed atomic.Pointer[error]
		var all sync.WaitGroup
		turn := b.turns
		b.turns += uint64(tb.N)
		before := cpu()
		for g := range goroutines {
			own := batches[g*len(batches)/2 : (g+1)*len(batches)/2] // as many for one as for each of two
			all.Go(func() {
				for i := 0; next.Add(1) <= int64(tb.N); i++ {
					batch := &own[i%len(own)]
					batch.renew(turn + uint64(i) + 1)
					if err := consume(b.ctx, batch.data); err != nil {
						failed.Store(&err)
					}
					untag(batch.tagged)
				}
			})
		}
		all.Wait()
		if err := failed.Load(); err != nil {
			tb.Fatal(*err)
		}
		tb.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(tb.N*size), cpuPerItem)
		tb.ReportMetric(float64(tb.Elapsed().Nanoseconds())/float64(tb.N*size), perItem)
	}
}

// startUp reads and compiles a configuration with 2,000 URLs, and starts what it describes.
func startUp(b *testing.B) {
	config := manyVendors()
	for b.Loop() {
		some := newBench(context.Background())
		if _, err := some.oursOnSpans(config); err != nil {
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

// fill is what limits.traces can be full of.
type fill struct {
	of     string
	config string
	span   func(ptrace.Span) // one a trace
}

var full = []fill{
	{"a failed call in each trace", vendorFailure, failedCall},
	{"in each an order that still waits for its vendor's call", vendorFailure + "settle: 1m\n", failedOrder},
	{"with discover, in each a call to one host that no order has called yet", vendorFailure + "discover: {}\n", strangersCall},
}

// remembered returns by how many megabytes the heap grows when as many traces are remembered as may be.
func remembered(ctx context.Context, f fill) (megabytes float64, err error) {
	b := newBench(ctx)
	p, err := b.oursOnSpans(f.config)
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
			f.span(s)
		}
		if err := p.ConsumeTraces(b.ctx, td); err != nil {
			return 0, err
		}
	}
	megabytes = (heap() - before) / 1e6
	return megabytes, b.stop() // until then all is remembered
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

func strangersCall(s ptrace.Span) {
	s.SetKind(ptrace.SpanKindClient)
	s.Attributes().PutStr("url.full", "https://api.payments.example/v1/charges")
	s.Attributes().PutInt("http.response.status_code", 500)
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what sync.Pool holds goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
