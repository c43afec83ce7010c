package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

const vendorURL = "https://pizza-factory.example.com/api/order"

// An order is told by its number. Every fourth ends like this:
var outcomes = []string{"success", "vendor_failure", "own_failure", "rejected"}

var statuses = map[string]int{"success": 200, "vendor_failure": 500, "own_failure": 500, "rejected": 400}

func outcome(order int) string { return outcomes[order%len(outcomes)] }

// shop tells a Collector of orders, each of them by one signal, and keeps the account of what was taken.
type shop struct {
	client  *http.Client
	padding string // each span and each line has this beside

	mu      sync.Mutex
	orders  int                     // numbers given
	taken   map[string]map[int]bool // by signal: the orders that the Collector acknowledged
	refused map[int]int             // by HTTP status: requests that it did not take
}

func newShop() *shop {
	return &shop{
		// A connection for each request: when a server closes a connection that was kept alive, a request that is just
		// being sent gets no answer, and nobody can tell whether it was taken.
		client:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience},
		taken:   map[string]map[int]bool{"traces": {}, "logs": {}},
		refused: map[int]int{},
	}
}

// take gives numbers to n new orders.
func (s *shop) take(n int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	orders := make([]int, n)
	for i := range orders {
		orders[i] = s.orders
		s.orders++
	}
	return orders
}

// given is how many numbers have been given.
func (s *shop) given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders
}

// tell sends one request about some orders and returns an error if the Collector did not acknowledge it.
func (s *shop) tell(ctx context.Context, signal string, to *builtcollector.Collector, orders []int) error {
	url, kind, body := to.OTLP+"/v1/traces", "application/x-protobuf", []byte(nil)
	switch signal {
	case "traces":
		body = spans(orders, s.padding)
	case "logs":
		url, kind, body = to.Loki+"/loki/api/v1/push", "application/json", lines(orders, s.padding)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if response.StatusCode/100 != 2 {
		s.refused[response.StatusCode]++
		return fmt.Errorf("%s answers %s: %s", url, response.Status, answer)
	}
	for _, order := range orders {
		s.taken[signal][order] = true
	}
	return nil
}

// tellUntilTaken repeats a request until the Collector acknowledges it.
func (s *shop) tellUntilTaken(ctx context.Context, signal string, to *builtcollector.Collector, orders []int) error {
	for {
		err := s.tell(ctx, signal, to, orders)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(often):
		}
	}
}

// total is how many orders were taken.
func (s *shop) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken["traces"]) + len(s.taken["logs"])
}

// accepted is how many orders were taken, by signal and outcome.
func (s *shop) accepted() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for signal, orders := range s.taken {
		for order := range orders {
			counts[signal+" "+outcome(order)]++
		}
	}
	return counts
}

// refusals is how many requests were not taken, by HTTP status.
func (s *shop) refusals() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.refused)
}

// spans is an OTLP request with the trace of each order: its SERVER span and, unless it never got so far, that of the
// call to the vendor. Each has the padding beside.
func spans(orders []int, padding string) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "shop")
	to := rs.ScopeSpans().AppendEmpty().Spans()
	for _, order := range orders {
		id := traceID(order)
		if outcome(order) == "success" || outcome(order) == "vendor_failure" {
			call := to.AppendEmpty()
			describe(call, ptrace.SpanKindClient, id, statuses[outcome(order)])
			call.Attributes().PutStr("url.full", vendorURL)
			pad(call, padding)
		}
		server := to.AppendEmpty()
		describe(server, ptrace.SpanKindServer, id, statuses[outcome(order)])
		server.Attributes().PutStr("http.route", "/api/order")
		server.Attributes().PutStr("url.path", "/api/order")
		pad(server, padding)
	}
	marshaler := ptrace.ProtoMarshaler{}
	body, err := marshaler.MarshalTraces(td)
	if err != nil {
		panic(err) // of data made above
	}
	return body
}

func describe(span ptrace.Span, kind ptrace.SpanKind, id pcommon.TraceID, status int) {
	span.SetTraceID(id)
	span.SetSpanID([8]byte{byte(kind), 7: id[15]})
	span.SetKind(kind)
	span.SetName("POST")
	now := time.Now()
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Second)))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(now))
	span.Attributes().PutStr("http.request.method", "POST")
	span.Attributes().PutInt("http.response.status_code", int64(status))
	if kind == ptrace.SpanKindServer && status >= 500 || kind == ptrace.SpanKindClient && status >= 400 {
		span.Status().SetCode(ptrace.StatusCodeError)
	}
}

func pad(span ptrace.Span, padding string) {
	if padding != "" {
		span.Attributes().PutStr("padding", padding)
	}
}

// traceID spreads the numbers of orders, as load balancing by trace id wants it, and holds them.
func traceID(order int) pcommon.TraceID {
	var id pcommon.TraceID
	binary.BigEndian.PutUint64(id[:8], uint64(order+1)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[8:], uint64(order+1))
	return id
}

// lines is a Loki push with the line of each order, as a JWT Pizza logger writes it, and the padding beside.
func lines(orders []int, padding string) []byte {
	var values [][2]string
	for _, order := range orders {
		answer := map[string]string{
			"success":        `{"jwt":"a.b.c"}`,
			"vendor_failure": `{"message":"Failed to fulfill order at factory"}`,
			"own_failure":    `{"message":"Too many connections"}`,
			"rejected":       `{"message":"No such pizza"}`,
		}[outcome(order)]
		values = append(values, [2]string{strconv.FormatInt(time.Now().UnixNano(), 10), marshal(map[string]any{
			"authorized": true, "method": "POST", "path": "/api/order", "statusCode": statuses[outcome(order)],
			"reqBody": marshal(map[string]any{"order": order, "items": []map[string]any{{"price": 0.05}}}),
			"resBody": answer, "padding": padding,
		})})
	}
	return []byte(marshal(map[string]any{"streams": []map[string]any{{
		"stream": map[string]string{"component": "shop", "level": "info", "type": "http"},
		"values": values,
	}}}))
}

func marshal(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // of data made above
	}
	return string(text)
}

// toldOf reads an order's SERVER span, as it came out behind a Collector: its number and its outcome. The outcome is
// read from the status and from our tag.
func toldOf(span ptrace.Span) (order int, outcome string, ok bool) {
	if span.Kind() != ptrace.SpanKindServer {
		return 0, "", false
	}
	id := span.TraceID()
	status, _ := span.Attributes().Get("http.response.status_code")
	return int(binary.BigEndian.Uint64(id[8:])) - 1, outcomeOf(int(status.Int()), span.Attributes()), true
}

// toldOfLine does for an order's line what toldOf does for its span.
func toldOfLine(record plog.LogRecord) (order int, outcome string, ok bool) {
	var line struct {
		StatusCode int
		ReqBody    string
	}
	var request struct{ Order *int }
	if json.Unmarshal([]byte(record.Body().Str()), &line) != nil ||
		json.Unmarshal([]byte(line.ReqBody), &request) != nil || request.Order == nil {
		return 0, "", false
	}
	return *request.Order, outcomeOf(line.StatusCode, record.Attributes()), true
}

func outcomeOf(status int, attributes pcommon.Map) string {
	_, blamed := attributes.Get("vendor.name")
	switch {
	case blamed:
		return "vendor_failure"
	case status >= 500:
		return "own_failure"
	case status >= 400:
		return "rejected"
	default:
		return "success"
	}
}
