package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
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
service:
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
	r, err := incident()
	if err != nil {
		return err
	}
	var requests [][]byte
	for _, batch := range mixedSpans(r) {
		request, err := ptraceotlp.NewExportRequestFromTraces(batch.data).MarshalProto()
		if err != nil {
			return err
		}
		requests = append(requests, request)
	}
	var all []*measured
	for _, processors := range []string{"vendor_failure", ""} {
		m := &measured{requests: requests}
		if err := m.start(processors); err != nil {
			return err
		}
		defer m.Kill()
		all = append(all, m)
	}
	for round := range rounds + 1 {
		for _, m := range all {
			if err := m.send(burst, round > 0); err != nil { // the first time all is warming up
				return err
			}
		}
	}
	if calls, err := all[0].metric("vendor_calls"); err != nil || calls == 0 {
		return fmt.Errorf("the processor counted %.0f calls to the vendor: %w", calls, err)
	}
	for _, m := range all {
		if err := errors.Join(m.connection.Close(), m.Stop()); err != nil {
			return err
		}
	}
	fmt.Fprintf(to, "Medians of %d rounds of %s; OTLP/gRPC in, nop out, requests of %d spans, 1 in 10 requests of the shop an order.\n\n", rounds, burst, size)
	with, without := all[0], all[1]
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintf(table, "the built Collector\tspans a second\tprocessor time of a million spans\t\n")
	rates, cpu := ratio(with.rates, without.rates), ratio(with.cpu, without.cpu)
	fmt.Fprintf(table, "with vendor_failure\t%.0f\t%.3f s\t\n", median(with.rates), median(with.cpu))
	fmt.Fprintf(table, "without\t%.0f\t%.3f s\t\n", median(without.rates), median(without.cpu))
	fmt.Fprintf(table, "ratio\t%.3f\t%.3f\t\n", rates, cpu)
	return table.Flush()
}

// ratio returns the median of the ratios of what was measured in turn.
func ratio(of, to []float64) float64 {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return median(ratios)
}

// measured is a running Collector and what was measured of it, round by round.
type measured struct {
	*builtcollector.Collector
	connection *grpc.ClientConn
	requests   [][]byte
	rates, cpu []float64 // spans a second, seconds of processor time for a million spans
}

func (m *measured) start(processors string) error {
	name := processors
	if name == "" {
		name = "none"
	}
	out, err := filepath.Abs(filepath.Join("../dist/bench", name))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	config := filepath.Join(out, "collector.yaml")
	text := fmt.Sprintf(collectorConfig, strings.ReplaceAll(vendorFailure, "\n", "\n    "), processors)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	if m.Collector, err = builtcollector.Start(context.Background(), "..", config, out); err != nil {
		return err
	}
	m.connection, err = grpc.NewClient(strings.TrimPrefix(m.OTLPGRPC, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(marshaled{})))
	return err
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
			for i := s; time.Since(began) < burst && errs[s] == nil; i += senders {
				var answer []byte
				errs[s] = m.connection.Invoke(context.Background(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", m.requests[i%len(m.requests)], &answer)
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
func (m *measured) metric(name string) (sum float64, err error) {
	answer, err := http.Get(m.Metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	found := false
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum, found = sum+value, true
	}
	if err := lines.Err(); err != nil || found {
		return sum, err
	}
	return 0, fmt.Errorf("the Collector does not tell %s at %s/metrics", name, m.Metrics)
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
