package faults

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestShutdown: a Collector that is stopped under load loses nothing that it has taken, neither on the way nor in its
// last metrics.
func TestShutdown(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	for round := range *rounds {
		collector := start(t, cloud)
		var stopping atomic.Bool
		var senders sync.WaitGroup
		for _, signal := range []string{"traces", "logs", "traces", "logs"} {
			senders.Go(func() {
				for n := 1; ; n = n%7 + 1 {
					if err := shop.tell(t.Context(), signal, collector, shop.take(n)); err != nil {
						assert.True(t, stopping.Load(), "taken while it runs: %v", err)
						return
					}
				}
			})
		}
		// Not always at the same point: a batch, a push of metrics or an order that still waits may be open.
		enough := shop.total() + 1 + rand.IntN(400)
		require.Eventually(t, func() bool { return shop.total() >= enough }, patience, often)
		stopping.Store(true)
		require.NoError(t, collector.Stop())
		senders.Wait()
		require.True(t, agree(t, shop, cloud), "round %d", round)
	}
	assert.Equal(t, *rounds, cloud.instances())
	assert.Zero(t, cloud.twice)
	t.Logf("%d starts and stops under load: %v", *rounds, shop.accepted())
}

// TestReload: a Collector that reads its configuration again under load loses nothing, and its counters go on in a new
// instance.
func TestReload(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	collector := start(t, cloud)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var senders sync.WaitGroup
	for _, signal := range []string{"traces", "logs", "traces", "logs"} {
		senders.Go(func() {
			for n := 1; ctx.Err() == nil; n = n%7 + 1 {
				// What is sent while nobody listens is sent again.
				assert.NoError(t, shop.tellUntilTaken(t.Context(), signal, collector, shop.take(n)))
			}
		})
	}
	for round := range *rounds {
		enough := shop.total() + 1 + rand.IntN(400)
		require.Eventually(t, func() bool { return shop.total() >= enough }, patience, often)
		require.NoError(t, collector.Signal(syscall.SIGHUP))
		require.Eventually(t, func() bool { return starts(t, collector.Log) == round+2 }, patience, often, "it is ready again")
	}
	stop()
	senders.Wait()
	require.NoError(t, collector.Stop())
	agree(t, shop, cloud)
	assert.Equal(t, *rounds+1, cloud.instances(), "each start is an instance of its own: no series goes backwards")
	assert.Zero(t, cloud.twice)
	t.Logf("%d reloads under load: %v", *rounds, shop.accepted())
}

// starts is how often a Collector says that it is ready.
func starts(t *testing.T, log string) int {
	t.Helper()
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	return bytes.Count(text, []byte("Everything is ready."))
}
