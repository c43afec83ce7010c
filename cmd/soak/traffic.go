package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// played are the recordings that are sent, one after another and again.
var played = []string{"healthy", "chaos-fail", "db-fail", "chaos-badjwt", "factory-refused", "oven-full"}

// linesPerRequest is how many log lines a recording has for each request with spans, about.
const linesPerRequest = 80

// traffic is what is sent: recordings, as if they happened now, and what a Collector on a network gets besides.
type traffic struct {
	rate       int
	recordings []*recording.Recording
	client     *http.Client

	requests atomic.Int64
	refused  atomic.Int64
	orders   atomic.Int64    // in both signals, in requests that the Collector took
	bySignal [2]atomic.Int64 // traces, logs
}

func newTraffic(rate int) (*traffic, error) {
	x := &traffic{rate: rate, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
	for _, name := range played {
		recorded, err := recording.Open("testdata/" + name)
		if err != nil {
			return nil, err
		}
		x.recordings = append(x.recordings, recorded)
	}
	return x, nil
}

// send sends until the context ends.
func (x *traffic) send(ctx context.Context, to *builtcollector.Collector) error {
	var wg sync.WaitGroup
	errs := make([]error, 3)
	every := time.Second / time.Duration(x.rate)
	wg.Go(func() { errs[0] = paced(ctx, every*linesPerRequest, x.spans(to)) })
	wg.Go(func() { errs[1] = paced(ctx, every, x.lines(to)) })
	wg.Go(func() { errs[2] = paced(ctx, 500*time.Millisecond, x.noise(to)) })
	wg.Wait()
	x.client.CloseIdleConnections()
	return errors.Join(errs...)
}

// paced calls do every so often until the context ends. What was begun is ended.
func paced(ctx context.Context, every time.Duration, do func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// spans returns what sends the next request with spans. Each time a recording is played its traces are new ones.
func (x *traffic) spans(to *builtcollector.Collector) func() error {
	var left []ptrace.Traces
	round := uint64(0)
	return func() error {
		if len(left) == 0 {
			left = x.recordings[round%uint64(len(x.recordings))].Traces()
			round++
		}
		td := left[0]
		left = left[1:]
		orders, newest := 0, pcommon.Timestamp(0)
		eachSpan(td, func(s ptrace.Span) { newest = max(newest, s.EndTimestamp()) })
		ago := pcommon.NewTimestampFromTime(time.Now()) - newest
		eachSpan(td, func(s ptrace.Span) {
			s.SetStartTimestamp(s.StartTimestamp() + ago)
			s.SetEndTimestamp(s.EndTimestamp() + ago)
			id := s.TraceID()
			binary.BigEndian.PutUint64(id[:8], binary.BigEndian.Uint64(id[:8])^round<<32)
			s.SetTraceID(id)
			if isOrder(s) {
				orders++
			}
		})
		return x.export(to, td, orders)
	}
}

func (x *traffic) export(to *builtcollector.Collector, td ptrace.Traces, orders int) error {
	var marshaler ptrace.ProtoMarshaler
	body, err := marshaler.MarshalTraces(td)
	if err != nil {
		return err
	}
	return x.post(to.OTLP+"/v1/traces", "application/x-protobuf", body, 0, orders)
}

func isOrder(s ptrace.Span) bool {
	has := func(key, value string) bool {
		v, ok := s.Attributes().Get(key)
		return ok && v.Str() == value
	}
	return s.Kind() == ptrace.SpanKindServer && has("http.request.method", http.MethodPost) && has("http.route", "/api/order")
}

func eachSpan(td ptrace.Traces, do func(ptrace.Span)) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				do(s)
			}
		}
	}
}

// lines returns what pushes the next log line, by Loki push.
func (x *traffic) lines(to *builtcollector.Collector) func() error {
	var left []plog.LogRecord
	round := 0
	return func() error {
		if len(left) == 0 {
			for _, ld := range x.recordings[round%len(x.recordings)].Logs() {
				for _, rl := range ld.ResourceLogs().All() {
					for _, sl := range rl.ScopeLogs().All() {
						for _, r := range sl.LogRecords().All() {
							left = append(left, r)
						}
					}
				}
			}
			round++
		}
		record := left[0]
		left = left[1:]
		labels := map[string]string{}
		for name, value := range record.Attributes().All() {
			labels[name] = value.AsString()
		}
		orders := 0
		var line struct{ Path, Method string }
		if labels["type"] == "http" && json.Unmarshal([]byte(record.Body().Str()), &line) == nil && line.Path == "/api/order" && line.Method == http.MethodPost {
			orders = 1
		}
		return x.push(to, labels, record.Body().Str(), orders)
	}
}

func (x *traffic) push(to *builtcollector.Collector, labels map[string]string, line string, orders int) error {
	body, err := json.Marshal(map[string]any{"streams": []any{map[string]any{
		"stream": labels,
		"values": [][2]string{{strconv.FormatInt(time.Now().UnixNano(), 10), line}},
	}}})
	if err != nil {
		return err
	}
	return x.post(to.Loki+"/loki/api/v1/push", "application/json", body, 1, orders)
}

// post counts the orders of a request that the Collector took.
func (x *traffic) post(url, kind string, body []byte, signal, orders int) error {
	answer, err := x.client.Post(url, kind, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the Collector does not answer: %w", err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	x.requests.Add(1)
	if answer.StatusCode/100 != 2 {
		x.refused.Add(1)
		return nil
	}
	x.orders.Add(int64(orders))
	x.bySignal[signal].Add(int64(orders))
	return nil
}

// noise returns what sends the next thing that nobody should send.
func (x *traffic) noise(to *builtcollector.Collector) func() error {
	n := 0
	return func() error {
		n++
		switch n % 6 {
		case 0: // orders of services that are never seen again, all of one trace
			td := ptrace.NewTraces()
			for range 20 {
				rs := td.ResourceSpans().AppendEmpty()
				rs.Resource().Attributes().PutStr("service.name", fmt.Sprintf("shop-%x", rand.Uint64()))
				s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
				s.SetTraceID(pcommon.TraceID{1})
				s.SetKind(ptrace.SpanKindServer)
				s.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
				s.Attributes().PutStr("http.request.method", http.MethodPost)
				s.Attributes().PutStr("http.route", "/api/order")
				s.Attributes().PutInt("http.response.status_code", 500)
			}
			return x.export(to, td, 20)
		case 1: // a vendor's failures in traces that are never seen again
			td := ptrace.NewTraces()
			spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
			for range 100 {
				s := spans.AppendEmpty()
				var id pcommon.TraceID
				binary.BigEndian.PutUint64(id[:], rand.Uint64())
				s.SetTraceID(id)
				s.SetKind(ptrace.SpanKindClient)
				s.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
				s.Attributes().PutStr("url.full", "http://127.0.0.1:4000/api/order")
				s.Attributes().PutInt("http.response.status_code", 502)
			}
			return x.export(to, td, 0)
		case 2: // nesting
			return x.push(to, map[string]string{"type": "factory"}, `{"resBody":`+strings.Repeat("[", 1<<18), 0)
		case 3: // no OTLP at all
			return x.post(to.OTLP+"/v1/traces", "application/x-protobuf", bytes.Repeat([]byte{0xff}, 1<<10), 0, 0)
		case 4: // a request that is cut off
			return cutOff(to.OTLP, "/v1/logs")
		default: // a connection that is
			return cutOff(to.Loki, "")
		}
	}
}

// cutOff begins a request and leaves.
func cutOff(url, path string) error {
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), 10*time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	if path != "" {
		_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{", path)
	}
	return err
}

// agrees waits until nothing is open any more and tells whether the Collector counted what it took.
func (x *traffic) agrees(ctx context.Context, collector *builtcollector.Collector, to io.Writer) error {
	want := map[string]float64{"traces": float64(x.bySignal[0].Load()), "logs": float64(x.bySignal[1].Load())}
	counted := map[string]float64{}
	ctx, cancel := context.WithTimeout(ctx, countedWithin)
	defer cancel()
	err := paced(ctx, 500*time.Millisecond, func() error {
		samples, err := collector.Scrape(ctx)
		if err != nil {
			return err
		}
		clear(counted)
		for _, sample := range samples {
			if sample.Name == "vendor_orders_total" {
				counted[sample.Labels["vendor_signal"]] += sample.Value
			}
		}
		if counted["traces"] == want["traces"] && counted["logs"] == want["logs"] {
			return errAgreed
		}
		return nil
	})
	fmt.Fprintf(to, "orders     %8.0f by spans and %.0f by lines were taken, %.0f and %.0f counted; %d of %d requests were refused\n",
		want["traces"], want["logs"], counted["traces"], counted["logs"], x.refused.Load(), x.requests.Load())
	if errors.Is(err, errAgreed) {
		return nil
	}
	return errors.Join(err, fmt.Errorf("orders taken and counted differ: %v and %v", want, counted))
}

var errAgreed = errors.New("the counts agree")
