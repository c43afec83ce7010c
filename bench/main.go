// Command bench sets the vendor_failure processor beside other ways to do its job, on the same batches of recorded spans
// and Loki lines, and prints what each costs: `make bench`. The same as benchmarks, for benchstat: go test -bench .
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"text/tabwriter"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 5, "how often each is measured, in turn; the table has the medians")
	if err := flag.Set("test.benchtime", "200ms"); err != nil {
		panic(err)
	}
	flag.Parse()
	if err := run(os.Stdout, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// job is a kind of batch and those who compete on it.
type job struct {
	name       string
	items      int // spans or records in a batch
	contenders []string
	measure    func(contender int) func(*testing.B)
}

func run(to io.Writer, rounds int) error {
	b := &bench{ctx: context.Background()}
	jobs, err := b.jobs()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "Medians of %d rounds; a batch has %d spans or records, or one.\n\n", rounds, size)
	for _, j := range jobs {
		perItem := make([][]float64, len(j.contenders))
		allocations := make([]int64, len(j.contenders))
		for range rounds {
			for c := range j.contenders {
				r := testing.Benchmark(j.measure(c))
				perItem[c] = append(perItem[c], float64(r.T.Nanoseconds())/float64(r.N)/float64(j.items))
				allocations[c] = r.AllocsPerOp()
			}
		}
		median := func(c int) float64 {
			slices.Sort(perItem[c])
			return perItem[c][len(perItem[c])/2]
		}
		ours := median(0)
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
		fmt.Fprintf(table, "%s\tns each\tallocations a batch\tvendor_failure takes of it\t\n", j.name)
		for c, name := range j.contenders {
			fmt.Fprintf(table, "%s\t%.1f\t%d\t%.2f\t\n", name, median(c), allocations[c], ours/median(c))
		}
		table.Flush()
		fmt.Fprintln(to)
	}
	return b.stop()
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
	// Once an order and a call have been seen the processor no longer looks for why not: so it is for all but minutes.
	mixed, recorded := mixedSpans(r), recordedLines(r)
	if err := spans[0].consume(b.ctx, mixed[0].data); err != nil {
		return nil, err
	}
	untag(mixed[0].tagged)
	if err := lines[0].consume(b.ctx, recorded[0].data); err != nil {
		return nil, err
	}
	untag(recorded[0].tagged)
	return []job{
		spansJob("spans, 1 in 10 requests an order", b.ctx, spans, mixed),
		spansJob("spans of other endpoints", b.ctx, spans, otherSpans(r)),
		linesJob("Loki lines, 1 in 10 requests an order", b.ctx, lines, mixedLines(r)),
		linesJob("Loki lines, as recorded", b.ctx, lines, recorded),
		linesJob("Loki lines that match nothing", b.ctx, lines, otherLines(r)),
		linesJob("Loki lines, one a batch", b.ctx, lines, singleLines(r)),
	}, nil
}

func spansJob(name string, ctx context.Context, contenders []contender[ptrace.Traces], batches []spansBatch) job {
	return newJob(name, batches[0].data.SpanCount(), contenders, func(b *testing.B, c contender[ptrace.Traces], i int) {
		batch := &batches[i%len(batches)]
		if err := c.consume(ctx, batch.data); err != nil {
			b.Fatal(err)
		}
		untag(batch.tagged)
	})
}

func linesJob(name string, ctx context.Context, contenders []contender[plog.Logs], batches []linesBatch) job {
	return newJob(name, batches[0].data.LogRecordCount(), contenders, func(b *testing.B, c contender[plog.Logs], i int) {
		batch := &batches[i%len(batches)]
		if err := c.consume(ctx, batch.data); err != nil {
			b.Fatal(err)
		}
		untag(batch.tagged)
	})
}

func newJob[T any](name string, items int, contenders []contender[T], once func(*testing.B, contender[T], int)) job {
	j := job{name: name, items: items}
	for _, c := range contenders {
		j.contenders = append(j.contenders, c.name)
	}
	j.measure = func(at int) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				once(b, contenders[at], i)
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(items), "ns/item")
		}
	}
	return j
}
