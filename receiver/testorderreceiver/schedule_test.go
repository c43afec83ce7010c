package testorderreceiver

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// pipes is a network within the process, for a server whose clock the test makes go.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.connections <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// clockwork runs the example's test order at a shop in a bubble whose time passes at once. The test ends the probe.
func clockwork(t *testing.T, handlers map[string]http.HandlerFunc, over string) (*probe, *harness) {
	network := &pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: unstartedShop(handlers)}
	served := make(chan error)
	go func() { served <- server.Serve(network) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		<-served
	})
	h := &harness{cfg: pizzaConfig(t, "http://shop", "interval: 1m", "timeout: 45s", over)}
	core, log := observer.New(zapcore.DebugLevel)
	h.log = log
	set := receivertest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(core)
	p, err := newProbe(t.Context(), componenttest.NewNopHost(), set, h.cfg)
	require.NoError(t, err)
	transport := &http.Transport{DialContext: network.dial}
	p.clients.steps.Transport, p.clients.keys.Transport = transport, transport
	p.teller.listen(listeners{metrics: &h.metrics, traces: &h.traces, logs: &h.logs})
	p.begin()
	return p, h
}

// starts are when runs began, and took how long they lasted.
func (h *harness) starts() (starts []time.Time, took []time.Duration) {
	for _, td := range h.traces.AllTraces() {
		root := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		starts = append(starts, root.StartTimestamp().AsTime())
		took = append(took, root.EndTimestamp().AsTime().Sub(root.StartTimestamp().AsTime()))
	}
	return starts, took
}

// TestSchedule: the first run starts within a second, the others at the interval, a little late at random.
func TestSchedule(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p, h := clockwork(t, nil, "")
		time.Sleep(30*time.Minute + 10*time.Second)
		require.NoError(t, p.end(t.Context()))
		starts, _ := h.starts()
		require.Len(t, starts, 1+30)
		assert.WithinRange(t, starts[0], begun.Add(firstAfter), begun.Add(firstWithin))
		late := map[time.Duration]bool{}
		for n, at := range starts[1:] {
			delay := at.Sub(starts[0]) - time.Duration(n+1)*time.Minute
			assert.GreaterOrEqual(t, delay, time.Duration(0))
			assert.Less(t, delay, 6*time.Second)
			late[delay] = true
		}
		assert.Greater(t, len(late), 20, "at random")
	})
}

// TestLateStart: a Collector that was held up as it started has its first run at once, not an interval later.
func TestLateStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchedule(time.Hour)
		time.Sleep(2 * time.Second)
		begun := time.Now()
		missed, ok := s.wait(t.Context())
		assert.True(t, ok)
		assert.Zero(t, missed)
		assert.Zero(t, time.Since(begun))

		missed, ok = s.wait(t.Context())
		assert.True(t, ok)
		assert.Zero(t, missed)
		assert.WithinRange(t, time.Now(), s.first.Add(time.Hour), s.first.Add(time.Hour+6*time.Minute))
	})
}

// TestNoOverlap: a run that lasts longer than the interval keeps the next from starting, and these are counted.
func TestNoOverlap(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		p, h := clockwork(t, map[string]http.HandlerFunc{order: func(_ http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-r.Context().Done()
		}}, "timeout: 200s")
		time.Sleep(18 * time.Minute)
		require.NoError(t, p.end(t.Context()))
		assert.EqualValues(t, 1, most.Load())
		_, took := h.starts()
		require.Len(t, took, 5)
		assert.Equal(t, 200*time.Second-maxAlwaysWithin, took[0], "the time of the steps that always run is not given to others")
		// Each of the first four kept three from starting, and the fifth, which the end broke off, one.
		assert.Equal(t, map[string]int{"vendor_failure order timeout": 4, "not_started": 13, "aborted": 1}, h.ran())
	})
}

// TestTimeout: a run ends in time even if its logout does not answer either.
func TestTimeout(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) {
		p, h := clockwork(t, map[string]http.HandlerFunc{order: never, logout: never}, "")
		time.Sleep(50 * time.Second)
		require.NoError(t, p.end(t.Context()))
		_, took := h.starts()
		assert.Equal(t, []time.Duration{45 * time.Second}, took)
		assert.Equal(t, map[string]int{"vendor_failure order timeout": 1}, h.ran())
	})
}

// TestWhoseTime: when the time of a run is over, the step that is cut off fails, and it is its vendor's failure only if
// the vendor's steps had their part of the time.
func TestWhoseTime(t *testing.T) {
	vendorKey()
	const s = time.Second // of the timeout of 45 s, 40 are for steps that do not always run
	for _, tc := range []struct {
		name               string
		login, order, keys time.Duration
		over, ran          string
	}{
		{"all in time", 10 * s, 15 * s, 10 * s, "", "success"},
		{"a slow login", 30 * s, 15 * s, 0, "", "own_failure order timeout"},
		{"a slow order", 10 * s, 31 * s, 0, "", "vendor_failure order timeout"},
		{"both, the order the more", 19 * s, 25 * s, 0, "", "vendor_failure order timeout"},
		{"both, the login the more", 21 * s, 25 * s, 0, "", "own_failure order timeout"},
		{"a slow login, and an order as long as its max_duration", 40 * s, 25 * s, 0, "timeout: 65s", "vendor_failure order timeout"},
		{"a slow login, and an order that might have been in time", 40*s + 1, 25 * s, 0, "timeout: 65s", "own_failure order timeout"},
		{"a slow login, and then slow keys", 25 * s, 5 * s, 15 * s, "", "own_failure verify timeout"},
		{"a slow order, and then slow keys", 10 * s, 19 * s, 15 * s, "", "vendor_failure verify timeout"},
		{"a login that is cut off", 41 * s, 0, 0, "", "own_failure login timeout"},
		{"a slow login, and a step with a time of its own", 38 * s, 15 * s, 0, `steps: [{name: login, vendor: "", request: {method: PUT, url: "http://shop/api/auth"}},
			{name: undo, vendor: v, always: true, request: {method: POST, url: "http://shop/api/order"}}]`, "vendor_failure undo timeout"},
		{"steps of ours, and an order longer than one request may", 10 * s, 15 * s, 0, `http: {timeout: 11s}, steps: [{name: a, vendor: "", request: {method: PUT, url: "http://shop/api/auth"}},
			{name: b, vendor: "", request: {method: PUT, url: "http://shop/api/auth"}}, {name: order, request: {method: POST, url: "http://shop/api/order"}}]`, "vendor_failure order timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h := clockwork(t, map[string]http.HandlerFunc{
					login: late(answers(200, `{"token":"`+session+`"}`), tc.login),
					order: late(issues(good), tc.order),
					keys:  late(answers(200, jwks(vendorKey())), tc.keys),
				}, "{interval: 1h, "+tc.over+"}")
				time.Sleep(70 * time.Second)
				require.NoError(t, p.end(t.Context()))
				assert.Equal(t, map[string]int{tc.ran: 1}, h.ran())
			})
		})
	}
}

// TestShutdownInFlight: a run that is ended still logs out, for a bounded time, and is nobody's failure.
func TestShutdownInFlight(t *testing.T) {
	vendorKey()
	for _, tc := range []struct {
		name   string
		logout http.HandlerFunc
		// patience is how long who shuts down waits, took how long it lasts.
		patience, took time.Duration
		failed         bool
	}{
		{"logs out", answers(200, ""), time.Hour, 0, false},
		{"the logout never answers", never, time.Hour, maxAlwaysWithin, true},
		{"and who shuts down has no patience", never, time.Second, time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logouts atomic.Int32
				p, h := clockwork(t, map[string]http.HandlerFunc{order: never, logout: func(w http.ResponseWriter, r *http.Request) {
					logouts.Add(1)
					tc.logout(w, r)
				}}, "")
				time.Sleep(10 * time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
				defer cancel()
				begun := time.Now()
				require.NoError(t, p.end(ctx))
				assert.Equal(t, tc.took, time.Since(begun))
				synctest.Wait()
				assert.EqualValues(t, 1, logouts.Load())
				assert.Equal(t, map[string]int{"aborted": 1}, h.ran())
				assert.NotContains(t, h.last(), "probe.success", "it says nothing")
				assert.Empty(t, h.records())
				spans := h.spans()
				assert.Equal(t, "aborted", attribute(spans["test order"], "probe.outcome"))
				assert.Equal(t, ptrace.StatusCodeUnset, spans["test order"].Status().Code())
				assert.Empty(t, attribute(spans["order"], "vendor.name"))
				assert.Equal(t, tc.failed, spans["logout"].Status().Code() == ptrace.StatusCodeError)
			})
		})
	}
}

// TestShutdownAfterFailure: a run that had failed before it is ended keeps its failure.
func TestShutdownAfterFailure(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) {
		p, h := clockwork(t, map[string]http.HandlerFunc{order: answers(500, factoryMessage), logout: never}, "")
		time.Sleep(3 * time.Second) // in the logout
		require.NoError(t, p.end(t.Context()))
		assert.Equal(t, map[string]int{"vendor_failure order error": 1}, h.ran())
		assert.Equal(t, "pizza-factory", attribute(h.spans()["order"], "vendor.name"))
	})
}

// TestShutdownFirst: a run that is ended before its first step makes none, and is not a success.
func TestShutdownFirst(t *testing.T) {
	s := newShop(t, nil)
	p, err := newProbe(t.Context(), componenttest.NewNopHost(), receivertest.NewNopSettings(metadata.Type), pizzaConfig(t, s.URL))
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	assert.Equal(t, aborted, p.perform(ended, t.Context()).outcome())
	assert.Empty(t, s.requests())
}

// TestDurations: what is told took as long as it is told.
func TestDurations(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) {
		p, h := clockwork(t, map[string]http.HandlerFunc{
			login: late(answers(200, `{"token":"`+session+`"}`), time.Second),
			order: late(issues(good), 2*time.Second),
			keys:  late(answers(200, jwks(vendorKey())), 4*time.Second),
		}, "")
		time.Sleep(20 * time.Second)
		require.NoError(t, p.end(t.Context()))
		starts, _ := h.starts()
		require.Len(t, starts, 1)
		last := h.last()
		assert.Equal(t, map[string]float64{"": 7, " login": 1, " order": 2, " verify": 4, " logout": 0}, map[string]float64{
			"": last["probe.duration"], " login": last["probe.step.duration login"], " order": last["probe.step.duration order"],
			" verify": last["probe.step.duration verify"], " logout": last["probe.step.duration logout"],
		})
		assert.InDelta(t, starts[0].Add(7*time.Second).UnixMilli(), last["probe.last_success_time"]*1000, 1, "the end of the run")
	})
}

// TestWithinAnInterval: what becomes of the shop is told within an interval and its tenth, and the time of a run.
func TestWithinAnInterval(t *testing.T) {
	vendorKey()
	const takes = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		p, h := clockwork(t, map[string]http.HandlerFunc{order: late(func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() {
				answers(500, factoryMessage)(w, r)
				return
			}
			issues(good)(w, r)
		}, takes)}, "")
		told := func(succeeded float64) bool { return h.last()["probe.success"] == succeeded }
		time.Sleep(firstWithin + takes)
		require.True(t, told(1))
		for _, turns := range []float64{0, 1} { // from good to bad, and back
			time.Sleep(7 * time.Minute)
			broken.Store(turns == 0)
			time.Sleep(time.Minute + 6*time.Second + takes)
			assert.True(t, told(turns))
		}
		require.NoError(t, p.end(t.Context()))
	})
}

// holds is a traces pipeline that holds what it is told, as long as it is given if it minds that.
type holds struct {
	consumertest.Consumer
	until chan struct{}
	minds bool
	held  []time.Duration
}

func (p *holds) ConsumeTraces(ctx context.Context, _ ptrace.Traces) error {
	given := ctx.Done()
	if !p.minds {
		given = nil
	}
	begun := time.Now()
	select {
	case <-p.until:
	case <-given:
	}
	p.held = append(p.held, time.Since(begun))
	return ctx.Err()
}

// TestPipelineHolds: a pipeline that blocks holds a run for a bounded time, and none holds a shutdown for ever.
func TestPipelineHolds(t *testing.T) {
	vendorKey()
	for _, tc := range []struct {
		name  string
		minds bool
		held  []time.Duration // for each of its runs
		took  time.Duration   // the shutdown by one who waits a second
		fails bool
	}{
		{"as long as it may", true, []time.Duration{tellsWithin, tellsWithin}, 0, false},
		{"for ever", false, nil, time.Second + tellsWithin, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h := clockwork(t, nil, "")
				blocked := &holds{Consumer: consumertest.NewNop(), until: make(chan struct{}), minds: tc.minds}
				p.teller.listen(listeners{traces: blocked})
				time.Sleep(time.Minute + 30*time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begun := time.Now()
				err := p.end(ctx)
				assert.Equal(t, tc.took, time.Since(begun))
				assert.Equal(t, tc.held, blocked.held)
				if tc.fails {
					require.ErrorContains(t, err, "a pipeline did not take what the test order tells")
				} else {
					require.NoError(t, err)
					assert.Equal(t, 2, h.log.FilterMessageSnippet("did not take").Len())
				}
				close(blocked.until)
				p.running.Wait()
			})
		})
	}
}

// TestMaxOrdersPerDay: what is over it does not start until the next day.
func TestMaxOrdersPerDay(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) { // the clock begins at midnight, UTC
		p, h := clockwork(t, nil, "{interval: 1h, max_orders_per_day: 3}")
		time.Sleep(26*time.Hour - time.Minute)
		require.NoError(t, p.end(t.Context()))
		starts, _ := h.starts()
		var hours []int
		for _, at := range starts {
			hours = append(hours, int(at.Sub(starts[0])/time.Hour))
		}
		assert.Equal(t, []int{0, 1, 2, 24, 25}, hours)
		assert.Equal(t, map[string]int{"success": 5, "not_started": 21}, h.ran())
		assert.Equal(t, 1, h.log.FilterMessageSnippet("max_orders_per_day is reached").Len())
		assert.Equal(t, 1, h.log.FilterMessageSnippet("more turns for test orders a day than").Len(), "and it was said at the start")
	})
}

// TestToldAgain: between runs every gauge is told each collection interval, and the counters are there before the first.
func TestToldAgain(t *testing.T) {
	vendorKey()
	synctest.Test(t, func(t *testing.T) {
		p, h := clockwork(t, nil, "{interval: 10m, collection_interval: 15s}")
		time.Sleep(20*time.Minute - time.Second)
		require.NoError(t, p.end(t.Context()))
		told := h.metrics.AllMetrics()
		// Four a minute, one as each of two runs ends, one at the start and one at the end.
		assert.Len(t, told, 4*20-1+2+2)
		first := series(told[0])
		for _, name := range []string{"success", "not_started", "vendor_failure order slow", "own_failure order error", "vendor_failure verify bad_response", "own_failure login unauthorized"} {
			value, ok := first["probe.runs "+name]
			assert.True(t, ok, "an increase sees the first %s only if the series began at 0", name)
			assert.Zero(t, value)
		}
		assert.Len(t, first, 3+8*(1+2+1+1)+1, "a series for each end there can be, and no gauge yet")
		for _, md := range told[1:] {
			all := series(md)
			for _, name := range []string{"probe.success", "probe.duration", "probe.last_success_time", "probe.step.duration login", "probe.step.duration logout"} {
				assert.Contains(t, all, name)
			}
		}
		starts, _ := h.starts()
		require.Len(t, starts, 2)
		assert.InDelta(t, starts[1].Unix(), h.last()["probe.last_success_time"], 2)
	})
}
