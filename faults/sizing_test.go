package faults

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

const (
	perDay = 1e9 / 86400 // of 10^9 a day, in a second
	// Collectors of two cores for each core that is busy on the mean: the peak is three times the mean, at 60 % load.
	headroom = 3 / 0.6 / 2
)

// BenchmarkSizing measures the processor time that examples/scale-out takes of an order with all that the recorded
// service told meanwhile: its trace, and the traces and lines of other requests. Spans come as JSON and lines one in a
// push, as the service sent them.
func BenchmarkSizing(b *testing.B) {
	recorded, err := recording.Open("../testdata/incident")
	require.NoError(b, err)
	orders := float64(recorded.Truth.Orders + recorded.Truth.OtherRequests["unauthOrder"]["401"])
	x := newTiers(b, "examples/scale-out/gateway.yaml", newCloud(b), vendorsOf(b, "examples/demo.yaml"))
	agents, gateways := spent(b, x.agents), spent(b, x.gateways)
	n := 0.
	for b.Loop() {
		replay := builtcollector.Replay{}
		require.NoError(b, replay.Run(b.Context(), recorded, x.agents[int(n)%len(x.agents)]))
		n++
	}
	x.settled(b)
	agents, gateways = spent(b, x.agents)-agents, spent(b, x.gateways)-gateways
	for tier, took := range map[string]time.Duration{"agents": agents, "gateways": gateways} {
		each := took.Seconds() / (n * orders)
		b.ReportMetric(each*1e6, tier+"-µs/order")
		b.ReportMetric(each*perDay, tier+"-cores-of-1e9-orders-a-day")
		b.ReportMetric(math.Ceil(each*perDay*headroom), tier+"-Collectors-of-1e9-orders-a-day")
	}
	var heap uint64
	for _, gateway := range x.gateways {
		heap = max(heap, uint64(resident(b, gateway)))
	}
	b.ReportMetric(float64(heap>>20), "gateway-MiB-resident")
	x.stop(b)
}

// spent is the processor time that processes have taken, by Linux's account in hundredths of a second.
func spent(t testing.TB, collectors []*builtcollector.Collector) time.Duration {
	t.Helper()
	var ticks int
	for _, collector := range collectors {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", collector.Pid()))
		require.NoError(t, err)
		// The second field, the name, is in parentheses; user and system time are the 14th and 15th.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
		for _, field := range fields[11:13] {
			n, err := strconv.Atoi(field)
			require.NoError(t, err)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
