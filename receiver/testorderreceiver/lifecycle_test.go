package testorderreceiver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/goleak"

	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// TestSharing: the instances of one ID share a probe, and nothing is left of it.
func TestSharing(t *testing.T) {
	s := newShop(t, nil)
	h := create(t, pizzaConfig(t, s.URL))
	assert.Empty(t, h.sharing.probes, "validate creates and never starts")
	h.shutdown(t) // without Start

	for _, r := range h.receiver {
		require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	}
	first := h.receiver[0].(*instance).probe
	for _, r := range h.receiver {
		assert.Same(t, first, r.(*instance).probe)
	}
	assert.Len(t, h.sharing.probes, 1)
	h.shutdown(t)
	assert.Empty(t, h.sharing.probes)
	h.shutdown(t) // twice

	// A reload makes new instances with a configuration of its own.
	again := create(t, pizzaConfig(t, s.URL))
	again.sharing = h.sharing
	require.NoError(t, again.receiver[1].Start(t.Context(), componenttest.NewNopHost()))
	assert.NotSame(t, first, again.receiver[1].(*instance).probe)
	again.shutdown(t)
}

// pipeline is what stands after the instance of one signal. It takes nothing more when it was shut down.
type pipeline struct {
	consumertest.Consumer
	closed, refused atomic.Bool
	told            atomic.Int32
}

var errClosed = errors.New("the pipeline is closed")

func (p *pipeline) take() error {
	if p.closed.Load() {
		p.refused.Store(true)
		return errClosed
	}
	p.told.Add(1)
	return nil
}

func (p *pipeline) ConsumeMetrics(context.Context, pmetric.Metrics) error { return p.take() }
func (p *pipeline) ConsumeTraces(context.Context, ptrace.Traces) error    { return p.take() }
func (p *pipeline) ConsumeLogs(context.Context, plog.Logs) error          { return p.take() }

// TestLastWords: the Collector shuts down one instance and its pipeline, then the next. In whatever order it does, what is
// told of the run that the shutdown ends reaches all of them.
func TestLastWords(t *testing.T) {
	for _, sequence := range [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}} {
		reached := make(chan struct{})
		s := newShop(t, map[string]http.HandlerFunc{order: func(_ http.ResponseWriter, r *http.Request) {
			close(reached)
			<-r.Context().Done()
		}})
		cfg := pizzaConfig(t, s.URL)
		f, set := NewFactory(), receivertest.NewNopSettings(metadata.Type)
		pipelines := [3]*pipeline{{Consumer: consumertest.NewNop()}, {Consumer: consumertest.NewNop()}, {Consumer: consumertest.NewNop()}}
		metrics, err := f.CreateMetrics(t.Context(), set, cfg, pipelines[0])
		require.NoError(t, err)
		traces, err := f.CreateTraces(t.Context(), set, cfg, pipelines[1])
		require.NoError(t, err)
		logs, err := f.CreateLogs(t.Context(), set, cfg, pipelines[2])
		require.NoError(t, err)
		receivers := []component.Component{metrics, traces, logs}
		for _, r := range receivers {
			require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
		}
		<-reached
		before := pipelines[0].told.Load()
		for _, i := range sequence {
			require.NoError(t, receivers[i].Shutdown(t.Context()))
			pipelines[i].closed.Store(true)
		}
		assert.Greater(t, pipelines[0].told.Load(), before, "the last metrics")
		assert.EqualValues(t, 1, pipelines[1].told.Load(), "the trace of the run that was ended")
		for _, p := range pipelines {
			assert.False(t, p.refused.Load())
		}
		assert.Equal(t, 1, s.count(logout))
	}
}

// TestRefused: a pipeline that takes nothing is told of in the log, and runs go on.
func TestRefused(t *testing.T) {
	s := newShop(t, nil)
	cfg := pizzaConfig(t, s.URL)
	cfg.Interval = 20 * time.Millisecond
	h := create(t, cfg)
	refuses := consumertest.NewErr(errClosed)
	traces, err := newFactory(h.sharing).CreateTraces(t.Context(), h.receiver[1].(*instance).set, cfg, refuses)
	require.NoError(t, err)
	require.NoError(t, traces.Start(t.Context(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { return s.count(logout) >= 3 }, time.Minute, time.Millisecond)
	require.NoError(t, traces.Shutdown(t.Context()))
	assert.GreaterOrEqual(t, h.log.FilterMessageSnippet("did not take").Len(), 2)
}

// TestUnderLoad: a thousand starts and stops, some in the middle of a run, leave nothing.
func TestUnderLoad(t *testing.T) {
	const starts, atOnce = 1000, 50
	s := newShop(t, map[string]http.HandlerFunc{order: answers(500, factoryMessage)}) // signing would be most of the load
	before := goleak.IgnoreCurrent()
	shared := &sharing{probes: map[*Config]*probe{}}
	cfg := pizzaConfig(t, s.URL)
	cfg.Interval = 50 * time.Millisecond
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for range starts / atOnce {
				own := *cfg // another configuration, another receiver
				h := create(t, &own)
				var instances sync.WaitGroup
				for _, r := range h.receiver {
					r.(*instance).sharing = shared
					assert.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
				}
				<-time.After(rand.N(300 * time.Millisecond)) // before, during or after runs
				for _, r := range h.receiver {
					instances.Go(func() { assert.NoError(t, r.Shutdown(context.Background())) })
				}
				instances.Wait()
			}
		})
	}
	wg.Wait()
	assert.Empty(t, shared.probes)
	assert.NotZero(t, s.count(order))
	assert.LessOrEqual(t, s.count(logout), s.count(login))
	s.Server.CloseClientConnections()
	goleak.VerifyNone(t, before)
}
