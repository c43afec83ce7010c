// Command bench sets the vendor_failure processor beside other ways to do its job, on the same batches of recorded spans
// and Loki lines, and prints what each costs: `make bench`. The same as benchmarks, for benchstat: go test -bench . -count 10
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 5, "how often each is measured, in turn; the table has the medians")
	built := flag.Bool("collector", false, "measure the built Collector with and without the processor instead")
	if err := flag.Set("test.benchtime", "200ms"); err != nil {
		panic(err)
	}
	flag.Parse()
	measure := run
	if *built {
		measure = func(to io.Writer, rounds int) error { return collectors(to, rounds, 2*time.Second) }
	}
	if err := measure(os.Stdout, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// job is a kind of batch and those who compete on it.
type job struct {
	name       string
	contenders []string
	measure    func(contender int) func(*testing.B)
}

// What a benchmark tells besides time and allocations.
const (
	perItem    = "ns/item"     // a span or record
	cpuPerItem = "cpu-ns/item" // of processor time, in all threads: it does not hang on what else the machine does
)

func run(to io.Writer, rounds int) error {
	b := &bench{ctx: context.Background()}
	jobs, err := b.jobs()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "Medians of %d rounds, of processor time; a batch has %d spans or records, unless it says otherwise.\n\n", rounds, size)
	for _, j := range jobs {
		cpu := make([][]float64, len(j.contenders))
		allocations := make([]int64, len(j.contenders))
		for range rounds {
			for c := range j.contenders {
				r := testing.Benchmark(j.measure(c))
				cpu[c] = append(cpu[c], r.Extra[cpuPerItem])
				allocations[c] = r.AllocsPerOp()
			}
		}
		ours := median(cpu[0])
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
		fmt.Fprintf(table, "%s\tns each\tallocations a batch\t%s takes of it\t\n", j.name, j.contenders[0])
		for c, name := range j.contenders {
			fmt.Fprintf(table, "%s\t%.1f\t%d\t%.2f\t\n", name, median(cpu[c]), allocations[c], ours/median(cpu[c]))
		}
		table.Flush()
		fmt.Fprintln(to)
	}
	if err := b.figures(to, rounds); err != nil {
		return err
	}
	return b.stop()
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// cpu returns the processor time that this process has taken.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// jobs starts all contenders.
func (b *bench) jobs() ([]job, error) {
	r, err := incident()
	if err != nil {
		return nil, err
	}
	spans, err := b.spans(nil, consumertest.NewNop())
	if err != nil {
		return nil, err
	}
	lines, err := b.lines(nil, consumertest.NewNop())
	if err != nil {
		return nil, err
	}
	manyOnSpans, err := b.oursOnSpans(manyVendors(), nil, consumertest.NewNop())
	if err != nil {
		return nil, err
	}
	manyOnLines, err := b.oursOnLines(manyVendors(), nil, consumertest.NewNop())
	if err != nil {
		return nil, err
	}
	const many, one = "100 vendors x 20 URLs, 20 order endpoints", "one vendor and order endpoint"
	ofSpans := []contender[ptrace.Traces]{{many, manyOnSpans.ConsumeTraces}, {one, spans[0].consume}}
	ofLines := []contender[plog.Logs]{{many, manyOnLines.ConsumeLogs}, {one, lines[0].consume}}

	mixedS, mixedL, recordedL := mixedSpans(r), mixedLines(r), recordedLines(r)
	recordedS, err := recordedSpans()
	if err != nil {
		return nil, err
	}
	// Once all has been seen the processor no longer looks for why not: so it is for all but minutes.
	otherS, otherL := ofManyVendors()
	for _, seen := range []func() error{
		func() error { return spans[0].consume(b.ctx, mixedS[0].data) },
		func() error { return manyOnSpans.ConsumeTraces(b.ctx, mixedS[0].data) },
		func() error { return manyOnSpans.ConsumeTraces(b.ctx, otherS) },
		func() error { return lines[0].consume(b.ctx, recordedL[0].data) },
		func() error { return manyOnLines.ConsumeLogs(b.ctx, recordedL[0].data) },
		func() error { return manyOnLines.ConsumeLogs(b.ctx, otherL) },
	} {
		if err := seen(); err != nil {
			return nil, err
		}
	}
	untag(mixedS[0].tagged)
	untag(recordedL[0].tagged)
	return []job{
		spansJob("spans, 1 in 10 requests an order", b.ctx, spans, mixedS),
		spansJob("spans of other endpoints", b.ctx, spans, otherSpans(r)),
		spansJob("all recordings' requests of spans, as they came", b.ctx, spans, recordedS),
		linesJob("Loki lines, 1 in 10 requests an order", b.ctx, lines, mixedL),
		linesJob("Loki lines, as recorded", b.ctx, lines, recordedL),
		linesJob("Loki lines that match nothing", b.ctx, lines, otherLines(r)),
		linesJob("Loki lines, one a batch", b.ctx, append(slices.Clip(lines), contender[plog.Logs]{"nothing", consumertest.NewNop().ConsumeLogs}), singleLines(r)),
		spansJob("spans, 1 in 10 requests an order, many vendors", b.ctx, ofSpans, mixedS),
		linesJob("Loki lines, 1 in 10 requests an order, many vendors", b.ctx, ofLines, mixedL),
	}, nil
}

func spansJob(name string, ctx context.Context, contenders []contender[ptrace.Traces], batches []spansBatch) job {
	return newJob(name, contenders, func(b *testing.B, c contender[ptrace.Traces], i int) int {
		batch := &batches[i%len(batches)]
		items := batch.data.SpanCount()
		if err := c.consume(ctx, batch.data); err != nil {
			b.Fatal(err)
		}
		untag(batch.tagged)
		return items
	})
}

func linesJob(name string, ctx context.Context, contenders []contender[plog.Logs], batches []linesBatch) job {
	return newJob(name, contenders, func(b *testing.B, c contender[plog.Logs], i int) int {
		batch := &batches[i%len(batches)]
		items := batch.data.LogRecordCount()
		if err := c.consume(ctx, batch.data); err != nil {
			b.Fatal(err)
		}
		untag(batch.tagged)
		return items
	})
}

func newJob[T any](name string, contenders []contender[T], once func(*testing.B, contender[T], int) (items int)) job {
	j := job{name: name}
	for _, c := range contenders {
		j.contenders = append(j.contenders, c.name)
	}
	j.measure = func(at int) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			i, items, before := 0, 0, cpu()
			for b.Loop() {
				items += once(b, contenders[at], i)
				i++
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(items), cpuPerItem)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(items), perItem)
		}
	}
	return j
}
