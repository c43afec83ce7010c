package faults

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

var (
	overload = flag.Duration("overload", 5*time.Second, "how long a Collector gets more than it can take; 2m in make faults")
	// What is garbage when memory_limiter looks counts: see docs/operations.md.
	goMemLimit = flag.String("gomemlimit", "220MiB", "GOMEMLIMIT of the Collector that gets too much; with off, its heap may exceed memory_limiter's bound")
)

// limited is all that is changed of examples/grafana-cloud.yaml: half of its memory, lest it take long to fill, and no end
// of waiting for the cloud, which is slow here: what an exporter repeats that has not waited arrives twice.
const limited = `
processors: {memory_limiter: {limit_mib: 256, spike_limit_mib: 64}}
exporters: {otlp_http/grafana_cloud: {timeout: 0}}
`

const limitBytes = 256 << 20 // of limited

// tooMany clients send all at once. What they offer is bounded by the machine that they share with the Collector.
const tooMany = 40

// TestOverload: a Collector first gets what one client of each kind sends, and then what many clients send, as fast as
// they are answered, while Grafana Cloud takes one batch in 5 s. It refuses, in words that senders understand as
// "later", keeps within memory_limiter's bound, loses nothing that it took, and takes everything again afterwards.
func TestOverload(t *testing.T) {
	cloud := newCloud(t)
	collector := startWith(t, "examples/grafana-cloud.yaml", append(cloud.environment(), "GOMEMLIMIT="+*goMemLimit), toShop, pushingOften(cloud), limited)
	crowd := newCrowd()
	highest := watch(t, collector)

	began := time.Now()
	crowd.send(t, collector, 1, func() bool { return time.Since(began) < max(*overload/5, 2*time.Second) })
	capacity := float64(sum(crowd.accepted())) / time.Since(began).Seconds()
	require.Positive(t, capacity)
	assert.Empty(t, crowd.refused, "what one client sends is not too much")
	before, requests := crowd.offered(), crowd.requests()

	pace := time.NewTicker(5 * time.Second)
	defer pace.Stop()
	hurry := cloud.slowDown(pace.C)
	began = time.Now()
	crowd.send(t, collector, tooMany, func() bool {
		lasted := time.Since(began)
		enough := crowd.wasRefused() && crowd.share(requests) > 0.2
		return lasted < *overload || !enough && lasted < *overload+patience
	})
	lasted := time.Since(began)
	offered, heap, share := crowd.offered()-before, highest(), crowd.share(requests)
	t.Logf("one client of each kind gets %.0f orders a second taken; %d offer %.0f for %s, %.1f times as many; of their requests %.0f %% were refused, %v",
		capacity, tooMany, float64(offered)/lasted.Seconds(), lasted.Round(time.Second), float64(offered)/lasted.Seconds()/capacity, 100*share, crowd.refused)
	t.Logf("taken in all %d orders; heap at most %d MiB of %d, resident at most %d MiB", sum(crowd.accepted()), heap>>20, limitBytes>>20, resident(t, collector)>>20)
	assert.Positive(t, heap, "it was seen")
	assert.Less(t, heap, limitBytes)
	assert.True(t, crowd.wasRefused())
	assert.Greater(t, share, 0.2)
	assert.Subset(t, []string{"503", "429", "Unavailable"}, slices.Collect(maps.Keys(crowd.refused)), "sent again later, all of them")

	hurry()
	assert.Eventually(t, func() bool { return assert.ObjectsAreEqual(crowd.accepted(), cloud.totals()) }, 3*patience, 20*often, "all that was taken arrives")
	again := sum(crowd.accepted())
	crowd.send(t, collector, 1, func() bool { return sum(crowd.accepted()) == again })
	require.NoError(t, collector.Stop())
	assert.Equal(t, crowd.accepted(), cloud.totals())
	assert.Equal(t, crowd.accepted(), cloud.counted())
}

// crowd sends the same requests over and over, as fast as it can.
type crowd struct {
	client *http.Client

	mu      sync.Mutex
	sent    int            // orders
	asked   int            // requests
	taken   map[string]int // orders by signal
	refused map[string]int // requests, by HTTP status or gRPC code
}

const crowdSize = 300 // orders in an HTTP request: 450 spans, about as many as SDKs send at once

func newCrowd() *crowd {
	return &crowd{
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}},
		taken:   map[string]int{},
		refused: map[string]int{},
	}
}

// send returns when none of the senders goes on: so many of spans and of lines by HTTP, and up to
// four of spans by gRPC.
func (c *crowd) send(t *testing.T, to *builtcollector.Collector, senders int, goOn func() bool) {
	var all sync.WaitGroup
	few, many := numbers(len(outcomes)), numbers(crowdSize)
	for range min(senders, 4) {
		all.Go(func() {
			for goOn() {
				answer := ""
				if code := status.Code(byGRPC(t, to, few)); code != codes.OK {
					answer = code.String()
				}
				c.note("traces", len(few), answer)
			}
		})
	}
	for signal, request := range map[string]struct {
		url, kind string
		body      []byte
	}{
		"traces": {to.OTLP + "/v1/traces", "application/x-protobuf", spans(many, "")},
		"logs":   {to.Loki + "/loki/api/v1/push", "application/json", lines(many, "")},
	} {
		for range senders {
			all.Go(func() {
				for goOn() {
					response, err := c.client.Post(request.url, request.kind, bytes.NewReader(request.body))
					if !assert.NoError(t, err) {
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					answer := ""
					if response.StatusCode/100 != 2 {
						answer = strconv.Itoa(response.StatusCode)
					}
					c.note(signal, len(many), answer)
				}
			})
		}
	}
	all.Wait()
	c.client.CloseIdleConnections()
}

// numbers are those of so many orders, as many of each outcome.
func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// note takes down a request about n orders, and how it was refused, if it was.
func (c *crowd) note(signal string, n int, refused string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent += n
	c.asked++
	if refused == "" {
		c.taken[signal] += n
	} else {
		c.refused[refused]++
	}
}

func (c *crowd) offered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *crowd) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// share is how many of the requests after so many were refused.
func (c *crowd) share(after int) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := 0
	for _, n := range c.refused {
		refused += n
	}
	return float64(refused) / float64(max(1, c.asked-after))
}

// wasRefused tells whether HTTP and gRPC were refused.
func (c *crowd) wasRefused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.refused) > 1
}

// accepted is how many orders were taken, by signal and outcome.
func (c *crowd) accepted() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[string]int{}
	for signal, orders := range c.taken {
		for _, outcome := range outcomes {
			counts[signal+" "+outcome] = orders / len(outcomes)
		}
	}
	return counts
}

// watch looks at a Collector's heap until the function that it returns is called, which gives the highest value.
func watch(t *testing.T, collector *builtcollector.Collector) func() int {
	ctx, stop := context.WithCancel(t.Context())
	highest := make(chan int)
	go func() {
		peak := 0
		defer func() { highest <- peak }()
		again := time.NewTicker(50 * time.Millisecond)
		defer again.Stop()
		for {
			samples, _ := collector.Scrape(ctx) // one that finds no time to answer tells nothing
			for _, sample := range samples {
				if sample.Name == "otelcol_process_runtime_heap_alloc_bytes" {
					peak = max(peak, int(sample.Value))
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
		}
	}()
	return func() int { stop(); return <-highest }
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// resident is the most memory that a process has had.
func resident(t testing.TB, collector *builtcollector.Collector) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", collector.Pid()))
	require.NoError(t, err)
	found := peak.FindSubmatch(text)
	require.NotNil(t, found)
	kB, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return kB << 10
}
