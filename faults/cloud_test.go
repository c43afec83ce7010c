package faults

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

// conduct is what the cloud does with a request.
type conduct int

const (
	accept     conduct = iota
	unwilling          // 503
	throttle           // 429 with Retry-After
	reset              // the connection is reset before anything is read
	hang               // no answer while the sender waits
	loseAnswer         // accepted, but the connection is reset before the answer
)

// cloud is the OTLP/HTTP endpoint behind a Collector, in the place of Grafana Cloud. It keeps what it accepted.
type cloud struct {
	*httptest.Server
	down chan struct{} // closed at the end: nobody hangs any longer

	mu      sync.Mutex
	conduct func(path string) conduct
	pace    <-chan time.Time          // a tick for each request with spans or records, where it is given
	hurry   chan struct{}             // closed when there is no pace any longer
	met     map[conduct]int           // requests, by what was done with them
	orders  map[string]map[int]string // by signal: orders that arrived, and their outcomes
	twice   int                       // orders that arrived again
	total   map[string]int            // arrivals by signal and outcome, those that arrived again included
	largest int                       // bytes of a request with spans or records, not compressed
	pushed  map[string]pmetric.Metrics

	forward string // where pushes go on to, if given
}

func newCloud(t testing.TB) *cloud {
	c := &cloud{
		down:    make(chan struct{}),
		conduct: always(accept),
		met:     map[conduct]int{},
		orders:  map[string]map[int]string{"traces": {}, "logs": {}},
		total:   map[string]int{},
		pushed:  map[string]pmetric.Metrics{},
	}
	listener, err := process.ListenOnFreePort()
	require.NoError(t, err)
	c.listen(listener)
	t.Cleanup(func() { close(c.down); c.CloseClientConnections(); c.Close() })
	return c
}

func (c *cloud) listen(on net.Listener) {
	c.Server = &httptest.Server{Listener: on, Config: &http.Server{Handler: c}}
	c.Start()
}

// leave ends all connections; from now on new ones are refused.
func (c *cloud) leave() {
	c.CloseClientConnections()
	c.Close()
}

// back listens again where it was.
func (c *cloud) back(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", c.Listener.Addr().String())
	require.NoError(t, err)
	c.listen(listener)
}

func always(do conduct) func(string) conduct { return func(string) conduct { return do } }

// environment is what examples/grafana-cloud.yaml wants.
func (c *cloud) environment() []string {
	return []string{
		"GRAFANA_CLOUD_OTLP_ENDPOINT=" + c.URL + "/otlp",
		"GRAFANA_CLOUD_INSTANCE_ID=123456",
		"GRAFANA_CLOUD_API_KEY=glc_key",
		"GRAFANA_CLOUD_BASIC_AUTH=MTIzNDU2OmdsY19rZXk=",
	}
}

// behave changes what is done with requests, by their path, from now on.
func (c *cloud) behave(conduct func(path string) conduct) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conduct = conduct
}

// slowDown lets in one request with spans or records a tick, until the function that it returns is called.
func (c *cloud) slowDown(pace <-chan time.Time) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pace, c.hurry = pace, make(chan struct{})
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(c.hurry)
		c.pace = nil
	}
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	do := c.conduct(r.URL.Path)
	c.met[do]++
	pace, hurry := c.pace, c.hurry
	c.mu.Unlock()
	if pace != nil && !isMetrics(r.URL.Path) {
		select {
		case <-pace:
		case <-hurry:
		case <-r.Context().Done():
			return
		case <-c.down:
			return
		}
	}
	switch do {
	case unwilling:
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	case throttle:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "slow down", http.StatusTooManyRequests)
		return
	case reset:
		resetConnection(w)
		return
	case hang:
		// Only when all is read does the server notice that the sender has gone.
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-c.down:
		}
		return
	}
	if err := c.keep(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	} else if do == loseAnswer {
		resetConnection(w)
	}
}

func resetConnection(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

// keep reads a request whole and then notes what it holds.
func (c *cloud) keep(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(unzip); err != nil {
			return err
		}
	}
	if !isMetrics(r.URL.Path) {
		c.mu.Lock()
		c.largest = max(c.largest, len(body))
		c.mu.Unlock()
	}
	// On the wire a request is the same as the data in it.
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/traces"):
		var decoder ptrace.ProtoUnmarshaler
		td, err := decoder.UnmarshalTraces(body)
		if err == nil {
			c.keepTraces(td)
		}
		return err
	case strings.HasSuffix(r.URL.Path, "/v1/logs"):
		var decoder plog.ProtoUnmarshaler
		ld, err := decoder.UnmarshalLogs(body)
		if err == nil {
			c.keepLogs(ld)
		}
		return err
	default:
		var decoder pmetric.ProtoUnmarshaler
		md, err := decoder.UnmarshalMetrics(body)
		if err != nil {
			return err
		}
		c.keepMetrics(md)
		if c.forward == "" {
			return nil
		}
		response, err := http.Post(c.forward, "application/x-protobuf", bytes.NewReader(body))
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
}

func (c *cloud) keepTraces(td ptrace.Traces) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				if order, outcome, ok := toldOf(span); ok {
					c.arrive("traces", order, outcome)
				}
			}
		}
	}
}

func (c *cloud) keepLogs(ld plog.Logs) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				if order, outcome, ok := toldOfLine(record); ok {
					c.arrive("logs", order, outcome)
				}
			}
		}
	}
}

func (c *cloud) arrive(signal string, order int, outcome string) {
	if _, again := c.orders[signal][order]; again {
		c.twice++
	}
	c.orders[signal][order] = outcome
	c.total[signal+" "+outcome]++
}

// keepMetrics keeps the last push of each instance: its counters are cumulative.
func (c *cloud) keepMetrics(md pmetric.Metrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rm := range md.ResourceMetrics().All() {
		id, _ := rm.Resource().Attributes().Get("service.instance.id")
		c.pushed[id.AsString()] = md
	}
}

// arrived is how many orders arrived, by signal and outcome, each of them once.
func (c *cloud) arrived() map[string]int { return c.arrivedBelow(math.MaxInt) }

// totals is how many orders arrived, by signal and outcome, each of them as often as it did.
func (c *cloud) totals() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.total)
}

// counted is what the metrics say: vendor.orders of the last pushes, summed over these instances or all.
func (c *cloud) counted(instances ...string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[string]int{}
	for instance, md := range c.pushed {
		if len(instances) > 0 && !slices.Contains(instances, instance) {
			continue
		}
		for _, point := range points(md, "vendor.orders") {
			if point.IntValue() > 0 {
				counts[label(point, "vendor.signal")+" "+label(point, "vendor.outcome")] += int(point.IntValue())
			}
		}
	}
	return counts
}

// zeros are the series of vendor.orders that an instance's last push had at zero, by signal and outcome.
func (c *cloud) zeros(instance string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	zeros := map[string]int{}
	for _, point := range points(c.pushed[instance], "vendor.orders") {
		if point.IntValue() == 0 {
			zeros[label(point, "vendor.signal")+" "+label(point, "vendor.outcome")]++
		}
	}
	return zeros
}

// began is when each instance's counters of orders started, by their own account.
func (c *cloud) began() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := map[string]time.Time{}
	for instance, md := range c.pushed {
		for _, point := range points(md, "vendor.orders") {
			at[instance] = point.StartTimestamp().AsTime()
		}
	}
	return at
}

// arrivedBelow counts as arrived does, but only orders with lower numbers than this.
func (c *cloud) arrivedBelow(below int) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[string]int{}
	for signal, orders := range c.orders {
		for order, outcome := range orders {
			if order < below {
				counts[signal+" "+outcome]++
			}
		}
	}
	return counts
}

// missing are orders that were taken and have not arrived, or not with the outcome that they had.
func (c *cloud) missing(s *shop) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []string
	for signal, orders := range s.taken {
		for order := range orders {
			if c.orders[signal][order] != outcome(order) {
				missing = append(missing, fmt.Sprint(signal, " ", order))
			}
		}
	}
	return missing
}

// instances is how many Collectors have pushed metrics.
func (c *cloud) instances() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pushed)
}

// conducts is how many requests there were, by what was done with them.
func (c *cloud) conducts() map[conduct]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.met)
}

// points are those of a counter.
func points(md pmetric.Metrics, name string) []pmetric.NumberDataPoint {
	var out []pmetric.NumberDataPoint
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, metric := range sm.Metrics().All() {
				if metric.Name() == name {
					for _, point := range metric.Sum().DataPoints().All() {
						out = append(out, point)
					}
				}
			}
		}
	}
	return out
}

func label(point pmetric.NumberDataPoint, name string) string {
	value, ok := point.Attributes().Get(name)
	if !ok {
		return ""
	}
	return value.AsString()
}

// agree holds the three accounts against each other: what the shop was told to be taken, what arrived behind the
// Collectors and what their metrics counted.
func agree(t *testing.T, s *shop, c *cloud) bool {
	t.Helper()
	accepted := s.accepted()
	return assert.Equal(t, accepted, c.arrived(), "every order that was taken arrived, with its tag") &&
		assert.Equal(t, accepted, c.counted(), "every order that was taken was counted, once")
}
