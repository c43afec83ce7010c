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
	rounds := flag.Int("rounds", 9, "how often each is measured, in turn; the tables have the medians")
	built := flag.Bool("collector", false, "measure the built Collector with and without the processor instead")
	flat := flag.Duration("flat", 0, "send spans to the built Collector for so long instead, as fast as it takes them, and tell how much memory it has")
	if err := flag.Set("test.benchtime", "100ms"); err != nil {
		panic(err)
	}
	flag.Parse()
	var err error
	switch {
	case *flat > 0:
		err = saturated(os.Stdout, *flat)
	case *built:
		err = collectors(os.Stdout, *rounds, 2*time.Second)
	default:
		err = run(os.Stdout, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// job is a kind of batch and those who compete on it, the first of whom is to be quick.
type job struct {
	name       string
	contenders []string
	aims       map[string]aim // beside a contender
	measure    func(contender int) func(*testing.B)
}

// aim is what is to be reached beside a contender.
type aim struct {
	share         float64 // of its time
	more          float64 // nanoseconds an item than it takes
	noAllocations bool    // of its own
}

func (a aim) told(share, more float64, allocations int64) string {
	switch {
	case a.share > 0:
		return atMost(a.share, share, "")
	case a.more > 0:
		return atMost(a.more, more, fmt.Sprintf(" ns more: %.0f", more))
	case a.noAllocations:
		return atMost(0, float64(allocations), " allocations")
	}
	return ""
}

// atMost tells an aim and whether it is reached.
func atMost(aim, measured float64, unit string) string {
	if measured > aim {
		return fmt.Sprintf("≤ %v%s, missed", aim, unit)
	}
	return fmt.Sprintf("≤ %v%s, reached", aim, unit)
}

// atLeast does it for what is to be large.
func atLeast(aim, measured float64) string {
	if measured < aim {
		return fmt.Sprintf("≥ %v, missed", aim)
	}
	return fmt.Sprintf("≥ %v, reached", aim)
}

// What a benchmark tells besides time and allocations.
const (
	perItem    = "ns/item"     // a span or record
	cpuPerItem = "cpu-ns/item" // of processor time, in all threads: it hangs less on what else the machine does
)

const head = `Processor time; medians of %d rounds. In each all contenders take their turn, each time another is the first, and shares are
of what was measured in one round. A batch has %d spans or records unless it says otherwise. There are %d of a kind and they
stay in the processor's cache, as one does that was just decoded; recordings as they came are more than it holds.
Traces in which something failed are new each time. What contenders tell of themselves is counted by OpenTelemetry's SDK.
`

func run(to io.Writer, rounds int) error {
	b := newBench(context.Background())
	jobs, err := b.jobs()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, head, rounds, size, variants)
	for _, j := range jobs {
		fmt.Fprintln(to)
		if err := j.run(to, rounds); err != nil {
			return err
		}
	}
	fmt.Fprintln(to)
	if err := b.figures(to, rounds); err != nil {
		return err
	}
	return b.stop()
}

// run measures all contenders and prints their table.
func (j job) run(to io.Writer, rounds int) error {
	cpu := make([][]float64, len(j.contenders))
	allocations := make([]int64, len(j.contenders))
	for round := range rounds + 1 {
		for turn := range j.contenders {
			c := (round + turn) % len(j.contenders)
			r := testing.Benchmark(j.measure(c))
			if r.N == 0 {
				return fmt.Errorf("%s: %s failed", j.name, j.contenders[c])
			}
			if round > 0 { // the first time all is warming up
				cpu[c] = append(cpu[c], r.Extra[cpuPerItem])
				allocations[c] = r.AllocsPerOp()
			}
		}
	}
	table := newTable(to)
	fmt.Fprintf(table, "%s\tns each\tallocations a batch\t%s takes of it\taim\t\n", j.name, j.contenders[0])
	for c, name := range j.contenders {
		share := ratio(cpu[0], cpu[c])
		more := median(cpu[0]) - median(cpu[c])
		fmt.Fprintf(table, "%s\t%.1f\t%d\t%.2f\t%s\t\n", name, median(cpu[c]), allocations[c], share, j.aims[name].told(share, more, allocations[c]))
	}
	return table.Flush()
}

func newTable(to io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// ratio returns the median of the ratios of what was measured in turn.
func ratio(of, to []float64) float64 {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return median(ratios)
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
	spans, err := b.spans()
	if err != nil {
		return nil, err
	}
	lines, err := b.lines()
	if err != nil {
		return nil, err
	}
	manyOnSpans, err := b.oursOnSpans(manyVendors())
	if err != nil {
		return nil, err
	}
	manyOnLines, err := b.oursOnLines(manyVendors())
	if err != nil {
		return nil, err
	}
	const many, one = "100 vendors x 20 URLs and 20 order endpoints", "one vendor and order endpoint"
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
	withNothing := append(slices.Clip(lines), contender[plog.Logs]{nothing, consumertest.NewNop().ConsumeLogs})
	return []job{
		b.spansJob("spans, 1 in 10 requests an order", spans, mixedS, map[string]aim{tagAndCount: {share: 0.2}, bareLoop: {share: 1.5}}),
		b.spansJob("spans of other endpoints", spans, otherSpans(r), map[string]aim{bareLoop: {share: 1.15}, ours: {noAllocations: true}}),
		b.spansJob("all recordings' requests of spans, as they came", spans, recordedS, nil),
		b.linesJob("Loki lines, 1 in 10 requests an order", lines, mixedL, map[string]aim{expression: {share: 0.4}, parsing: {share: 0.1}}),
		b.linesJob("Loki lines, as recorded", lines, recordedL, nil),
		b.linesJob("Loki lines that match nothing", lines, otherLines(r), map[string]aim{ours: {noAllocations: true}}),
		b.linesJob("Loki lines, one a batch", withNothing, singleLines(r), map[string]aim{nothing: {more: 300}}),
		b.spansJob("spans, 1 in 10 requests an order, 100 vendors", ofSpans, mixedS, map[string]aim{one: {share: 1.2}}),
		b.linesJob("Loki lines, 1 in 10 requests an order, 100 vendors", ofLines, mixedL, map[string]aim{one: {share: 1.2}}),
	}, nil
}

func (b *bench) spansJob(name string, contenders []contender[ptrace.Traces], batches []spansBatch, aims map[string]aim) job {
	return newJob(name, aims, contenders, func(tb testing.TB, c contender[ptrace.Traces], i int) int {
		if i%len(batches) == 0 {
			b.turns++
		}
		batch := &batches[i%len(batches)]
		batch.renew(b.turns)
		items := batch.data.SpanCount()
		if err := c.consume(b.ctx, batch.data); err != nil {
			tb.Fatal(err)
		}
		untag(batch.tagged)
		return items
	})
}

func (b *bench) linesJob(name string, contenders []contender[plog.Logs], batches []linesBatch, aims map[string]aim) job {
	return newJob(name, aims, contenders, func(tb testing.TB, c contender[plog.Logs], i int) int {
		batch := &batches[i%len(batches)]
		items := batch.data.LogRecordCount()
		if err := c.consume(b.ctx, batch.data); err != nil {
			tb.Fatal(err)
		}
		untag(batch.tagged)
		return items
	})
}

func newJob[T any](name string, aims map[string]aim, contenders []contender[T], once func(testing.TB, contender[T], int) (items int)) job {
	j := job{name: name, aims: aims}
	for _, c := range contenders {
		j.contenders = append(j.contenders, c.name)
	}
	next := make([]int, len(contenders)) // goes on where the last round ended: the slow do not get through all in one
	j.measure = func(at int) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			items, before := 0, cpu()
			for b.Loop() {
				items += once(b, contenders[at], next[at])
				next[at]++
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(items), cpuPerItem)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(items), perItem)
		}
	}
	return j
}
