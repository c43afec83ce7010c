package faults

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// takingLines lets a gateway take Loki pushes itself.
const takingLines = `
receivers: {loki: {protocols: {http: {endpoint: "127.0.0.1:${env:LOKI_PORT}"}}, use_incoming_timestamp: true}}
service: {pipelines: {logs: {receivers: [otlp, loki]}}}
`

// TestKilled: a gateway is killed under load, with part of what it took not yet sent on. After a restart with the same
// disk all of it arrives. Its counters begin again as an instance of their own. What is lost is what was counted after
// the last push, and what increase() makes of the rest is right.
func TestKilled(t *testing.T) {
	t.Parallel()
	prometheus, err := monitoring.StartPrometheus(t.Context(), root, t.TempDir(), monitoring.PrometheusConfig{})
	require.NoError(t, err)
	defer prometheus.Kill()
	cloud, shop, disk := newCloud(t), newShop(), t.TempDir()
	cloud.forward, cloud.shop = prometheus.PushURL(), shop
	gateway := func() *builtcollector.Collector {
		return startWith(t, "examples/scale-out/gateway.yaml", append(cloud.environment(), "GATEWAY_STORAGE="+disk), toShop, takingLines, pushingOften(cloud))
	}

	cloud.behave(atRandom([]conduct{unwilling})) // so that some wait on the disk
	killed := gateway()
	var senders sync.WaitGroup
	for _, signal := range []string{"traces", "logs", "traces", "logs"} {
		senders.Go(func() {
			for n := 1; shop.tell(t.Context(), signal, killed, shop.take(n)) == nil; n = n%7 + 1 {
			}
		})
	}
	require.Eventually(t, func() bool { return len(cloud.pushes()) > 5 && shop.total() > 1000 }, patience, often)
	killed.Kill()
	senders.Wait()
	before, given := shop.accepted(), shop.given()
	pushes := cloud.pushes()
	pushed := cloud.counted()
	dead := slices.Collect(maps.Keys(cloud.began()))
	require.Len(t, dead, 1)

	cloud.behave(always(accept))
	restarted := time.Now()
	successor := gateway()
	for range 50 {
		require.NoError(t, shop.tell(t.Context(), "traces", successor, shop.take(4)))
		require.NoError(t, shop.tell(t.Context(), "logs", successor, shop.take(4)))
	}
	require.Eventually(t, func() bool { return len(cloud.missing(shop)) == 0 }, patience, often, "all that was acknowledged arrives")
	require.NoError(t, successor.Stop())

	// A request that was on disk, but not answered, arrives too.
	arrived := cloud.arrivedBelow(given)
	died, lost := maps.Clone(arrived), 0
	for name, value := range pushed {
		died[name] -= value
	}
	for name, value := range died {
		assert.GreaterOrEqual(t, value, 0, "%s: nothing is counted that does not arrive", name)
		if name != "traces own_failure" { // these wait for settle, and die while they do
			lost += value
		}
	}
	// A push tells of a moment after the one before it was answered. What was taken until then is in it.
	unpushed := 0
	for name, value := range arrived {
		if name != "traces own_failure" {
			unpushed += value - pushes[len(pushes)-2][name]
		}
	}
	assert.LessOrEqual(t, lost, unpushed, "no more is lost than was taken after the last push but one had arrived")

	counted := cloud.counted()
	assert.Equal(t, 2, cloud.instances())
	for name, value := range shop.accepted() {
		assert.Equal(t, value-before[name], counted[name]-pushed[name], "%s: all that the successor took is counted", name)
	}
	for instance, began := range cloud.began() {
		assert.Equal(t, instance == dead[0], began.Before(restarted), "a start time of its own")
	}

	// What Prometheus has is the same, and increase() over both instances finds no reset where there is none: it misses
	// what died and what each instance had in its first push, and adds at most half an interval at either end.
	samples, err := prometheus.Query(t.Context(), `vendor_orders_total[10m]`)
	require.NoError(t, err)
	var last, least, most float64
	for _, series := range samples {
		first, end := series.Points[0].Value, series.Points[len(series.Points)-1].Value
		last += end
		least += end - first
		most += end + (end-first)/float64(len(series.Points)-1)
	}
	assert.EqualValues(t, sum(counted), last)
	increase := ask(t, prometheus, "", `sum(increase(vendor_orders_total[10m]))`)[""]
	assert.GreaterOrEqual(t, increase, least-0.001)
	assert.LessOrEqual(t, increase, most+0.001)
	assert.EqualValues(t, sum(cloud.arrived()), last+float64(sum(died)), "the truth is what increase() sees, and what died unpushed")
	t.Logf("taken before the kill %d, died unpushed %v, arrived twice %d; taken in all %d, pushed %.0f, increase() %.1f",
		sum(before), died, cloud.twice, sum(shop.accepted()), last, increase)
}

// sum is how many there are in all.
func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}
