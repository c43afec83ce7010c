package faults

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// takingLines lets a gateway take Loki pushes itself.
const takingLines = `
receivers: {loki: {protocols: {http: {endpoint: "127.0.0.1:${env:LOKI_PORT}"}}, use_incoming_timestamp: true}}
service: {pipelines: {logs: {receivers: [otlp, loki]}}}
`

// TestKilled: a gateway is killed under load, with part of what it took not yet sent on. After a restart with the same
// disk all of it arrives. Its counters begin again as an instance of their own, at zero. What is lost is what was counted
// after the last push, and increase() over both instances finds all the rest.
func TestKilled(t *testing.T) {
	t.Parallel()
	prometheus, err := monitoring.StartPrometheus(t.Context(), root, t.TempDir(), monitoring.PrometheusConfig{})
	require.NoError(t, err)
	defer prometheus.Kill()
	cloud, shop, disk := newCloud(t), newShop(), t.TempDir()
	cloud.forward = prometheus.PushURL()
	// A gateway's first push has one successful order of each signal, and all else at zero.
	first := map[string]int{"traces success": 1, "logs success": 1}
	gateway := func() *builtcollector.Collector {
		collector := startWith(t, "examples/scale-out/gateway.yaml", append(cloud.environment(), "GATEWAY_STORAGE="+disk),
			toShop, takingLines, pushingOften(cloud), "{processors: {vendor_failure: {settle: 200ms}}}")
		for _, signal := range []string{"traces", "logs"} {
			success := slices.DeleteFunc(shop.take(len(outcomes)), func(order int) bool { return outcome(order) != "success" })
			require.NoError(t, shop.tell(t.Context(), signal, collector, success))
		}
		instance := instanceOf(t, collector)
		require.Eventually(t, func() bool { return assert.ObjectsAreEqual(first, cloud.counted(instance)) }, patience, often)
		zeros := cloud.zeros(instance)
		for _, signal := range []string{"traces ", "logs "} {
			assert.Equal(t, 1, zeros[signal+"own_failure"])
			assert.Equal(t, 1, zeros[signal+"rejected"])
			assert.Equal(t, int(reason.Count)-1, zeros[signal+"vendor_failure"], "for each reason: the first failure is seen")
		}
		return collector
	}
	// load sends to a gateway until so many more orders are taken, then does something, and waits for the senders' end.
	load := func(to *builtcollector.Collector, orders int, then func()) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		enough := shop.total() + orders
		var senders sync.WaitGroup
		for _, signal := range []string{"traces", "logs", "traces", "logs"} {
			senders.Go(func() {
				for n := 1; ctx.Err() == nil && shop.tell(t.Context(), signal, to, shop.take(n)) == nil; n = n%7 + 1 {
				}
			})
		}
		require.Eventually(t, func() bool { return shop.total() > enough }, patience, often)
		then()
		stop()
		senders.Wait()
	}

	killed := gateway()
	cloud.behave(atRandom([]conduct{unwilling})) // so that some wait on the disk
	load(killed, 1000, func() {})
	pushed := shop.accepted()
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(pushed, cloud.counted()) }, patience, often, "all of it is pushed")
	cloud.behave(always(unwilling)) // no other push arrives
	load(killed, 1000, killed.Kill)
	taken, given := shop.accepted(), shop.given()
	dead := slices.Collect(maps.Keys(cloud.began()))
	require.Len(t, dead, 1)

	cloud.behave(always(accept))
	restarted := time.Now()
	successor := gateway()
	load(successor, 1000, func() {})
	require.Eventually(t, func() bool { return len(cloud.missing(shop)) == 0 }, patience, often, "all that was acknowledged arrives")
	require.NoError(t, successor.Stop())

	for name, n := range cloud.arrivedBelow(given) {
		assert.GreaterOrEqual(t, n, taken[name], "%s: a request that was on disk, but not answered, arrives too", name)
	}
	counted, risen := map[string]int{}, map[string]int{}
	for name, n := range shop.accepted() {
		counted[name] = n - (taken[name] - pushed[name])
		risen[name] = counted[name] - 2*first[name]
	}
	assert.Equal(t, counted, cloud.counted(), "all but what was taken after the last push")
	assert.Equal(t, 2, cloud.instances())
	for instance, began := range cloud.began() {
		assert.Equal(t, instance == dead[0], began.Before(restarted), "a start time of its own")
	}

	// What Prometheus stored rises by all that was taken, less what died unpushed and the first push of either instance.
	samples, err := prometheus.Query(t.Context(), `vendor_orders_total[10m]`)
	require.NoError(t, err)
	stored, fewest := map[string]int{}, map[string]int{}
	for _, series := range samples {
		name := series.Labels["vendor_signal"] + " " + series.Labels["vendor_outcome"]
		if n := len(series.Points) - 1; n > 0 { // of one sample increase() says nothing
			stored[name] += int(series.Points[n].Value - series.Points[0].Value)
			fewest[name] = min(n, cmp.Or(fewest[name], n))
		}
	}
	assert.Equal(t, risen, stored)
	// increase() finds that, and no reset where there is none. It adds at most half an interval of samples at the begin of
	// a series and 1.1 at its end, as if it had gone on.
	found, err := prometheus.Query(t.Context(), `sum by (vendor_signal, vendor_outcome) (increase(vendor_orders_total[10m]))`)
	require.NoError(t, err)
	assert.Len(t, found, len(risen))
	for _, series := range found {
		name := series.Labels["vendor_signal"] + " " + series.Labels["vendor_outcome"]
		rise := float64(risen[name])
		assert.GreaterOrEqual(t, series.Points[0].Value, rise-0.001, name)
		assert.LessOrEqual(t, series.Points[0].Value, rise*(1+1.6/float64(fewest[name]))+0.001, name)
	}
	t.Logf("taken before the kill %d, of which %d died unpushed, arrived twice %d; taken in all %d, counted %d, increase() finds at least %d",
		sum(taken), sum(taken)-sum(pushed), cloud.twice, sum(shop.accepted()), sum(cloud.counted()), sum(risen))
}

// sum is how many there are in all.
func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}
