package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

// senders send at once. More make no difference: both processors are busy.
const senders = 4

const collectorConfig = `
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:${env:OTLP_GRPC_PORT}"}
      http: {endpoint: "127.0.0.1:${env:OTLP_HTTP_PORT}"}
processors:
  vendor_failure:%s
exporters:
  nop:
extensions:
  pprof: {endpoint: "${env:PPROF_ADDRESS}"}
service:
  extensions: [pprof]
  telemetry:
    logs: {level: warn}
    metrics:
      readers:
        - pull: {exporter: {prometheus: {host: 127.0.0.1, port: "${env:METRICS_PORT}", without_scope_info: true}}}
  pipelines:
    traces: {receivers: [otlp], processors: [%s], exporters: [nop]}
`

// collectors sets the built Collector with the processor beside the same without, from OTLP/gRPC to a nop exporter. They
// take turns, each for a burst in which spans are sent as fast as they are taken.
func collectors(to io.Writer, rounds int, burst time.Duration) error {
	var all []*measured
	for _, processors := range []string{"vendor_failure", ""} {
		m, err := start(processors)
		if err != nil {
			return err
		}
		defer m.Kill()
		all = append(all, m)
	}
	for round := range rounds + 1 {
		for turn := range all {
			if err := all[(round+turn)%len(all)].send(burst, round > 0); err != nil { // the first time all is warming up
				return err
			}
		}
	}
	if err := all[0].counts(); err != nil {
		return err
	}
	for _, m := range all {
		if err := m.stop(); err != nil {
			return err
		}
	}
	fmt.Fprintf(to, `Medians of %d rounds of %s each; the two take turns. OTLP/gRPC in, nop out, requests of %d spans, 1 in 10 requests of the
shop an order. Who sends shares the %d processors with the Collector, which brings the throughput of the two together: the
sharp figure is the processor time, which is the Collector's alone.

`, rounds, burst, size, runtime.NumCPU())
	with, without := all[0], all[1]
	table := newTable(to)
	fmt.Fprintf(table, "the built Collector\tspans a second\tprocessor time of a million spans\t\n")
	rates, cpu := ratio(with.rates, without.rates), ratio(with.cpu, without.cpu)
	fmt.Fprintf(table, "with vendor_failure\t%.0f\t%.3f s\t\n", median(with.rates), median(with.cpu))
	fmt.Fprintf(table, "without\t%.0f\t%.3f s\t\n", median(without.rates), median(without.cpu))
	fmt.Fprintf(table, "ratio\t%.3f\t%.3f\t\n", rates, cpu)
	fmt.Fprintf(table, "aim\t%s\t%s\t\n", atLeast(0.97, rates), atMost(1.05, cpu, ""))
	return table.Flush()
}

// looks is how often saturated looks at the memory, besides at the beginning.
const looks = 10

// saturated sends spans to the built Collector for so long, as fast as they are taken, and prints how much memory it has
// meanwhile. A tenth of the time more goes by before, lest what is filled once be taken for growth.
func saturated(to io.Writer, long time.Duration) error {
	m, err := start("vendor_failure")
	if err != nil {
		return err
	}
	defer m.Kill()
	if err := m.send(long/looks, false); err != nil {
		return err
	}
	fmt.Fprintf(to, "The built Collector, sent spans for %s as fast as it takes them, after %s of the same.\n\n", long, long/looks)
	const row = "%10s | %22s | %23s | %9s\n" // printed as time goes by
	fmt.Fprintf(to, row, "sent for", "million spans a second", "heap after a collection", "resident")
	for look := range looks + 1 {
		rate := ""
		if look > 0 {
			if err := m.send(long/looks, true); err != nil {
				return err
			}
			rate = fmt.Sprintf("%.2f", m.rates[look-1]/1e6)
		}
		heap, err := m.figure(m.pprof+"/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = ")
		if err != nil {
			return err
		}
		resident, err := m.metric("otelcol_process_memory_rss")
		if err != nil {
			return err
		}
		fmt.Fprintf(to, row, long*time.Duration(look)/looks, rate, fmt.Sprintf("%.1f MB", heap/1e6), fmt.Sprintf("%.1f MB", resident/1e6))
	}
	return errors.Join(m.counts(), m.stop())
}

// measured is a running Collector and what was measured of it, round by round.
type measured struct {
	*builtcollector.Collector
	pprof      string
	connection *grpc.ClientConn
	requests   [senders][]export
	turns      [senders]uint64 // how many requests were sent
	rates, cpu []float64       // spans a second, seconds of processor time for a million spans
}

// export is a marshaled batch, and where in it the ids of traces begin.
type export struct {
	marshaled []byte
	traces    []int
}

// renew gives all traces ids that they had in no turn before.
func (r *export) renew(turn uint64) {
	for _, at := range r.traces {
		binary.BigEndian.PutUint64(r.marshaled[at:], turn)
	}
}

func newExport(td ptrace.Traces) (export, error) {
	marshaled, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		return export{}, err
	}
	r := export{marshaled: marshaled}
	at := 0
	for s := range spansOf(td) {
		id := s.TraceID()
		next := bytes.Index(marshaled[at:], id[:])
		if next < 0 {
			return export{}, fmt.Errorf("trace %s is not in the marshaled request", id)
		}
		at += next
		r.traces = append(r.traces, at)
		at += len(id)
	}
	return r, nil
}

// start starts a Collector, and what sends to it.
func start(processors string) (*measured, error) {
	name := processors
	if name == "" {
		name = "none"
	}
	r, err := incident()
	if err != nil {
		return nil, err
	}
	m := &measured{}
	for i, batch := range mixedSpans(r) {
		request, err := newExport(batch.data)
		if err != nil {
			return nil, err
		}
		m.requests[i%senders] = append(m.requests[i%senders], request)
	}
	out, err := filepath.Abs(filepath.Join("../dist/bench", name))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(out, "collector.yaml")
	text := fmt.Sprintf(collectorConfig, strings.ReplaceAll(vendorFailure, "\n", "\n    "), processors)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	pprof, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	m.pprof = "http://" + pprof
	if m.Collector, err = builtcollector.Start(context.Background(), "..", config, out, "PPROF_ADDRESS="+pprof); err != nil {
		return nil, err
	}
	m.connection, err = grpc.NewClient(strings.TrimPrefix(m.OTLPGRPC, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(marshaled{})))
	if err != nil {
		m.Kill()
	}
	return m, err
}

func (m *measured) stop() error { return errors.Join(m.connection.Close(), m.Stop()) }

// counts returns an error unless the processor has found vendor calls.
func (m *measured) counts() error {
	if calls, err := m.metric("vendor_calls"); err != nil || calls == 0 {
		return fmt.Errorf("the processor counted %.0f calls to the vendor: %w", calls, err)
	}
	return nil
}

// send sends a burst and, unless all is warming up, keeps what it cost.
func (m *measured) send(burst time.Duration, keep bool) error {
	before, err := m.cpuSeconds()
	if err != nil {
		return err
	}
	began := time.Now()
	var sent atomic.Int64
	errs := make([]error, senders)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			own := m.requests[s]
			for i := 0; time.Since(began) < burst && errs[s] == nil; i++ {
				var answer []byte
				next := &own[i%len(own)]
				next.renew(m.turns[s])
				errs[s] = m.connection.Invoke(context.Background(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", next.marshaled, &answer)
				m.turns[s]++
				sent.Add(size)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	after, err := m.cpuSeconds()
	if err == nil && keep {
		m.rates = append(m.rates, float64(sent.Load())/took.Seconds())
		m.cpu = append(m.cpu, (after-before)/float64(sent.Load())*1e6)
	}
	return err
}

// cpuSeconds returns the processor time that the Collector has taken, as it tells itself.
func (m *measured) cpuSeconds() (float64, error) { return m.metric("otelcol_process_cpu_seconds") }

// metric returns the sum of the series of a metric. A metric that is not there is an error.
func (m *measured) metric(name string) (float64, error) { return m.figure(m.Metrics+"/metrics", name) }

// figure returns the sum of what ends the lines that begin with a text.
func (m *measured) figure(url, line string) (sum float64, err error) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	found := false
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), line)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum, found = sum+value, true
	}
	if err := lines.Err(); err != nil || found {
		return sum, err
	}
	return 0, fmt.Errorf("the Collector does not tell %q at %s", line, url)
}

// marshaled is the codec of requests that are marshaled already, so that to send them costs little.
type marshaled struct{}

var _ encoding.CodecV2 = marshaled{}

func (marshaled) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (marshaled) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (marshaled) Name() string { return "proto" }
