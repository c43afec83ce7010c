package faults

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

// impatient shortens the waits that are not this test's subject: 30 s for an answer, 5 s to the next attempt, and 5 s for
// the call of an order that failed with no sign of a vendor.
const impatient = `
exporters: {otlp_http/grafana_cloud: {timeout: 2s, retry_on_failure: {initial_interval: 500ms}}}
processors: {vendor_failure: {settle: 200ms}}
`

// TestCloudDown: while Grafana Cloud is away, for spans, lines and metrics alike, the pipelines go on and count. When it
// is back, everything arrives, and its metrics are right again with the next push.
func TestCloudDown(t *testing.T) {
	for _, tc := range []struct {
		name    string
		away    func(*cloud)
		back    func(*testing.T, *cloud)
		noticed conduct // what was done with requests meanwhile
		atLeast int     // of them
	}{
		{"refuses connections", (*cloud).leave, func(t *testing.T, c *cloud) { c.back(t) }, accept, 0},
		{"503", behaving(unwilling), accepting, unwilling, 2},
		{"429 with Retry-After", behaving(throttle), accepting, throttle, 2},
		{"hangs", behaving(hang), accepting, hang, 2},
		{"resets connections", behaving(reset), accepting, reset, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cloud, shop := newCloud(t), newShop()
			collector := start(t, cloud, impatient, pushingOften(cloud))
			sell := func() {
				for n := range 20 {
					require.NoError(t, shop.tell(t.Context(), "traces", collector, shop.take(1+n%7)))
					require.NoError(t, shop.tell(t.Context(), "logs", collector, shop.take(1+n%7)))
				}
			}
			isRight := func() bool {
				accepted := shop.accepted()
				return assert.ObjectsAreEqual(accepted, cloud.arrived()) && assert.ObjectsAreEqual(accepted, cloud.counted())
			}

			sell()
			require.Eventually(t, isRight, patience, often, "while all is well")
			arrived, counted := cloud.arrived(), cloud.counted()

			tc.away(cloud)
			sell()
			require.Eventually(t, func() bool {
				return assert.ObjectsAreEqual(shop.accepted(), orders(t, collector)) && cloud.conducts()[tc.noticed] >= tc.atLeast
			}, patience, often, "all is counted, though not pushed")
			assert.Equal(t, arrived, cloud.arrived())
			assert.Equal(t, counted, cloud.counted())

			tc.back(t, cloud)
			sell()
			require.Eventually(t, isRight, patience, often, "when it is back")
			require.NoError(t, collector.Stop())
			assert.Equal(t, 1, cloud.instances())
		})
	}
}

// TestLargeToCloud: a request that is larger than servers take at least reaches Grafana Cloud in several that are not.
func TestLargeToCloud(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	shop.padding = strings.Repeat("x", 2<<10)
	collector := start(t, cloud)
	require.NoError(t, shop.tell(t.Context(), "traces", collector, shop.take(6000))) // 9,000 spans, 18 MB
	require.NoError(t, shop.tell(t.Context(), "logs", collector, shop.take(4000)))
	require.NoError(t, collector.Stop())
	agree(t, shop, cloud)
	assert.Less(t, cloud.largest, 4<<20)
}

func behaving(conduct conduct) func(*cloud) {
	return func(c *cloud) { c.behave(always(conduct)) }
}

func accepting(_ *testing.T, c *cloud) { c.behave(always(accept)) }

// TestStopsWhileCloudIsDown: what the cloud does not take at the end, the Collector's own lines among it, does not keep
// the Collector from ending in the time that Kubernetes gives it by default, before it kills: 30 s, as long as Stop waits.
func TestStopsWhileCloudIsDown(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		conduct      conduct
	}{
		{"429 with Retry-After", "examples/grafana-cloud.yaml", throttle},
		{"hangs", "examples/scale-out/gateway.yaml", hang},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cloud, shop := newCloud(t), newShop()
			cloud.behave(always(tc.conduct))
			collector, err := builtcollector.Start(t.Context(), root, tc.config, t.TempDir(), append(cloud.environment(), "GATEWAY_STORAGE="+t.TempDir())...)
			require.NoError(t, err)
			defer collector.Kill()
			for range 30 {
				require.NoError(t, shop.tell(t.Context(), "traces", collector, shop.take(100)))
			}
			require.ErrorContains(t, collector.Stop(), "did not stop well: exit status 1", "it says that something could not be sent")
		})
	}
}
