package vendorfailureprocessor

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

func incidentConfig() *Config {
	cfg := pizzaConfig()
	cfg.Outage.Recovery = 30 * time.Second // the recording ends 57 s after the chaos
	cfg.Impact = ImpactConfig{User: []string{"enduser.id", "reqBody.diner.id"}, Value: []string{"reqBody.items.#.price"}, Unit: "BTC"}
	return cfg
}

// request is one export request of either signal, and when it left.
type request struct {
	at     time.Time
	traces ptrace.Traces
	logs   plog.Logs
}

// requests are a recording's, in the order in which they left.
func requests(t testing.TB, name string, spans, lines bool) (all []request) {
	r := open(t, name)
	if spans {
		for _, td := range r.Traces() {
			var at pcommon.Timestamp
			eachSpan(td, func(s ptrace.Span) { at = max(at, s.EndTimestamp()) })
			all = append(all, request{at: at.AsTime(), traces: td})
		}
	}
	if lines {
		for _, ld := range r.Logs() {
			var at pcommon.Timestamp
			eachRecord(ld, func(r plog.LogRecord) { at = max(at, r.Timestamp()) })
			all = append(all, request{at: at.AsTime(), logs: ld})
		}
	}
	slices.SortStableFunc(all, func(a, b request) int { return a.at.Compare(b.at) })
	return all
}

// singles cuts requests of log records into one for each record.
func singles(all []request) (cut []request) {
	for _, r := range all {
		if r.logs == (plog.Logs{}) {
			cut = append(cut, r)
			continue
		}
		for _, rl := range r.logs.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					ld := plog.NewLogs()
					to := ld.ResourceLogs().AppendEmpty()
					rl.Resource().CopyTo(to.Resource())
					record.CopyTo(to.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
					cut = append(cut, request{at: record.Timestamp().AsTime(), logs: ld})
				}
			}
		}
	}
	return cut
}

func shuffled(all []request, within time.Duration) []request {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range all {
		all[i].at = all[i].at.Add(time.Duration(random.Int64N(int64(within))))
	}
	slices.SortStableFunc(all, func(a, b request) int { return a.at.Compare(b.at) })
	return all
}

func (h *harness) send(t testing.TB, all []request) {
	for _, r := range all {
		if r.traces != (ptrace.Traces{}) {
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), r.traces))
		} else {
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), r.logs))
		}
	}
}

// told are the lines of openings and closings: their fields.
func (h *harness) told(event string) (lines []map[string]any) {
	for _, e := range h.log.All() {
		if fields := e.ContextMap(); fields["event.name"] == event {
			lines = append(lines, fields)
		}
	}
	return lines
}

func timeOf(t testing.TB, text any) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text.(string))
	require.NoError(t, err)
	return at
}

// TestIncidentOutage: the recorded incident is one outage, told in time and with what it cost, whichever signal tells
// of it and however it is cut into requests.
func TestIncidentOutage(t *testing.T) {
	truth := open(t, "incident").Truth
	for _, tc := range []struct {
		name         string
		spans, lines bool
		make         func([]request) []request
	}{
		{"both signals", true, true, nil},
		{"traces alone", true, false, nil},
		{"logs alone", false, true, nil},
		{"each line a request", true, true, singles},
		{"shuffled within 2 s", true, true, func(all []request) []request { return shuffled(all, 2*time.Second) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, incidentConfig())
			all := requests(t, "incident", tc.spans, tc.lines)
			if tc.make != nil {
				all = tc.make(all)
			}
			h.send(t, all)
			begun, over := h.told("vendor.outage.start"), h.told("vendor.outage.end")
			require.Len(t, begun, 1)
			require.Len(t, over, 1, "closed by later telemetry, before Shutdown")
			h.shutdown(t)
			assert.Len(t, h.told("vendor.outage.end"), 1)

			b, o := begun[0], over[0]
			assert.Equal(t, "pizza-factory", b["vendor.name"])
			assert.WithinDuration(t, truth.FirstFailedOrder, timeOf(t, b["vendor.outage.since"]), 2*time.Second)
			assert.LessOrEqual(t, b["vendor.outage.detection_delay"], 6.0)
			assert.Positive(t, b["vendor.outage.detection_delay"])
			assert.InDelta(t, 120, o["vendor.outage.duration"], 2)
			assert.WithinDuration(t, truth.FirstFailedOrder, timeOf(t, o["vendor.outage.first_failure"]), 2*time.Second)
			assert.WithinDuration(t, truth.LastFailedOrder, timeOf(t, o["vendor.outage.last_failure"]), 2*time.Second)
			// Failures are half of the window until 5 s after the last; recovery is 30 s.
			assert.WithinDuration(t, truth.LastFailedOrder.Add(35*time.Second), timeOf(t, o["vendor.outage.recovered"]), 2*time.Second)
			assert.Equal(t, int64(240), o["vendor.outage.orders"])
			assert.Equal(t, map[string]int{"error": 240}, o["vendor.failure.reasons"])
			assert.NotContains(t, b, "vendor.outage.note", "the outage did not begin before the start")
			if tc.lines {
				assert.Equal(t, int64(6), o["vendor.outage.users"])
				assert.InDelta(t, 1.9477, o["vendor.outage.value"], 0.0001)
				assert.Equal(t, "BTC", o["vendor.outage.value_unit"])
				assert.Equal(t, true, o["vendor.failure.chaos"])
			} else {
				assert.NotContains(t, o, "vendor.outage.users", "spans name no customer")
				assert.NotContains(t, o, "vendor.outage.value")
			}
			if tc.spans && tc.make == nil {
				assert.Len(t, o["vendor.outage.traces"], exampleTraces)
			}
		})
	}
}

// TestCutOffRecording: neither silence nor Shutdown ends an outage; what it cost so far can be read while it lasts.
func TestCutOffRecording(t *testing.T) {
	h := start(t, incidentConfig())
	all := requests(t, "incident", true, true)
	end := open(t, "incident").Truth.LastFailedOrder.Add(-30 * time.Second)
	h.send(t, slices.DeleteFunc(all, func(r request) bool { return r.at.After(end) }))
	assert.Equal(t, map[string]float64{"pizza-factory": 1}, h.gauge(t, "vendor.outage"))
	assert.InDelta(t, 180, h.gauge(t, "vendor.outage.orders")["pizza-factory"], 5)
	assert.Equal(t, map[string]float64{"pizza-factory": 6}, h.gauge(t, "vendor.outage.users"))
	assert.InDelta(t, 1.46, h.gauge(t, "vendor.outage.value")["pizza-factory"], 0.1)
	h.shutdown(t)
	assert.Len(t, h.told("vendor.outage.start"), 1)
	assert.Empty(t, h.told("vendor.outage.end"))
}

// gauge are the points of a gauge by vendor.
func (h *harness) gauge(t testing.TB, name string) map[string]float64 {
	points := map[string]float64{}
	m, err := h.tel.GetMetric(name)
	if err != nil {
		return points
	}
	switch data := m.Data.(type) {
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			v, _ := p.Attributes.Value(tagVendor)
			points[v.AsString()] = float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			v, _ := p.Attributes.Value(tagVendor)
			points[v.AsString()] = p.Value
		}
	default:
		require.Fail(t, "no gauge", "%s is a %T", name, m.Data)
	}
	return points
}

func TestRecordingsWithoutOutage(t *testing.T) {
	for _, tc := range []struct {
		name         string
		spans, lines bool
	}{
		{"healthy", true, true},
		{"db-fail", true, true},
		{"oven-full", true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := incidentConfig()
			cfg.Vendors[0].Responses = append([]ResponseConfig{{Status: 503, Reason: "rejected"}}, cfg.Vendors[0].Responses...)
			h := start(t, cfg)
			h.send(t, requests(t, tc.name, tc.spans, tc.lines))
			assert.Equal(t, map[string]float64{"pizza-factory": 0}, h.gauge(t, "vendor.outage"))
			assert.Equal(t, map[string]float64{"pizza-factory": 0}, h.gauge(t, "vendor.outage.orders"))
			h.shutdown(t)
			assert.Empty(t, h.told("vendor.outage.start"))
			assert.Empty(t, h.counts(t, "vendor.outages", "vendor.name"))
		})
	}
}

// drill drives the watching of one vendor with scripted calls and orders, and keeps what it tells.
type drill struct {
	*outages
	cfg   OutageConfig
	wall  time.Time
	begun []time.Duration // after day
	over  []time.Duration
	last  *outage
}

func newDrill(cfg OutageConfig) *drill {
	d := &drill{cfg: cfg, wall: day.Add(24 * time.Hour)}
	d.outages = newOutages(cfg, 1, func(c outageChange) {
		d.last = c.outage
		if c.opened {
			d.begun = append(d.begun, c.at.AsTime().Sub(day))
		} else {
			d.over = append(d.over, c.at.AsTime().Sub(day))
		}
	})
	return d
}

func stamp(at time.Duration) pcommon.Timestamp { return pcommon.NewTimestampFromTime(day.Add(at)) }

func (d *drill) callAt(at time.Duration, why reason.Reason) {
	d.call(d.wall, &call{fault: fault{at: stamp(at), reason: why}})
}

func (d *drill) orderAt(at time.Duration, why reason.Reason, s signal) {
	o := order{fault: fault{at: stamp(at), reason: why}, outcome: success, signal: s}
	if why != reason.None {
		o.outcome = vendorFailure
	}
	d.order(d.wall, &o)
}

// TestOutage plays the shapes of outages, and of what is none.
func TestOutage(t *testing.T) {
	defaults := newDefaultConfig().Outage
	every := func(d *drill, from, to, step time.Duration, why reason.Reason) {
		for at := from; at < to; at += step {
			d.callAt(at, why)
		}
	}
	const second, minute = time.Second, time.Minute

	t.Run("one failure in a quiet night", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, 10*minute, minute, reason.None)
		d.callAt(10*minute, reason.Error)
		every(d, 11*minute, 20*minute, minute, reason.None)
		assert.Empty(t, d.begun)
	})
	t.Run("three in a row, one a minute: at the third", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, 10*minute, minute, reason.None)
		every(d, 10*minute, 13*minute, minute, reason.Timeout)
		assert.Equal(t, []time.Duration{12 * minute}, d.begun)
		assert.Equal(t, stamp(10*minute), d.last.since)
	})
	t.Run("three, and none before", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, 3*minute, minute, reason.Timeout)
		assert.Equal(t, []time.Duration{2 * minute}, d.begun)
		assert.True(t, d.last.fromStart)
	})
	t.Run("fewer than min_failures within max_age", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, 10*time.Hour, 8*minute, reason.Error)
		assert.Empty(t, d.begun)
	})
	t.Run("one in ten of a thousand a second, for an hour", func(t *testing.T) {
		d := newDrill(defaults)
		random := rand.New(rand.NewPCG(1, 2))
		for at := time.Duration(0); at < time.Hour; at += time.Millisecond {
			why := reason.None
			if random.IntN(10) == 0 {
				why = reason.Error
			}
			d.callAt(at, why)
		}
		assert.Empty(t, d.begun)
	})
	for _, tc := range []struct {
		name string
		step time.Duration
	}{{"a thousand a second", time.Millisecond}, {"two a second", 500 * time.Millisecond}, {"one a second", second}} {
		t.Run("all fail at "+tc.name, func(t *testing.T) {
			d := newDrill(defaults)
			every(d, 0, minute, tc.step, reason.None)
			every(d, minute, 2*minute, tc.step, reason.Error)
			require.Len(t, d.begun, 1)
			assert.LessOrEqual(t, d.begun[0]-minute, 6*second)
			assert.Equal(t, stamp(minute), d.last.since)
			every(d, 2*minute, 10*minute, tc.step, reason.None)
			require.Len(t, d.over, 1)
			assert.InDelta(t, (3*minute + 5*second).Seconds(), d.over[0].Seconds(), 2)
		})
	}
	t.Run("flapping is one outage", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, minute, 100*time.Millisecond, reason.None)
		for n := range time.Duration(30) {
			at := minute + n*20*second
			every(d, at, at+10*second, 100*time.Millisecond, reason.Error)
			every(d, at+10*second, at+20*second, 100*time.Millisecond, reason.None)
		}
		assert.Len(t, d.begun, 1)
		assert.Empty(t, d.over)
		every(d, 11*minute, 13*minute, 100*time.Millisecond, reason.None)
		assert.Len(t, d.over, 1)
	})
	t.Run("silence is no recovery", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, minute, second, reason.Error)
		d.callAt(10*time.Hour, reason.Error)
		assert.Empty(t, d.over)
		d.callAt(10*time.Hour+second, reason.None)
		assert.Len(t, d.over, 1, "a success, and the failures are long ago")
	})
	t.Run("recovery takes a success", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, minute, second, reason.Error)
		every(d, minute, 10*minute, 2*minute, reason.Error)
		assert.Empty(t, d.over)
	})
	t.Run("rejections are on neither side", func(t *testing.T) {
		d := newDrill(defaults)
		for at := time.Duration(0); at < 10*minute; at += second {
			why := reason.Rejected
			if at%(5*second) == 0 {
				why = reason.None
			}
			d.callAt(at, why)
		}
		assert.Empty(t, d.begun)
	})
	t.Run("a vendor that rejects everybody is down", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, minute, second, reason.None)
		every(d, minute, 2*minute, second, reason.Rejected)
		require.Len(t, d.begun, 1)
		assert.LessOrEqual(t, d.begun[0]-minute, 6*second)
		every(d, 2*minute, 5*minute, second, reason.None)
		assert.Len(t, d.over, 1)
	})
	t.Run("orders fail while calls look well", func(t *testing.T) {
		d := newDrill(defaults)
		for at := time.Duration(0); at < 2*minute; at += second {
			why := reason.None
			if at >= minute {
				why = reason.BadResponse
			}
			d.callAt(at, reason.None)
			d.orderAt(at, why, traces)
		}
		require.Len(t, d.begun, 1)
		assert.LessOrEqual(t, d.begun[0]-minute, 6*second)
	})
	t.Run("call lines stop while orders fail", func(t *testing.T) {
		d := newDrill(defaults)
		for at := time.Duration(0); at < 2*minute; at += second {
			if at < minute {
				d.callAt(at, reason.None)
				d.orderAt(at, reason.None, logs)
			} else {
				d.orderAt(at, reason.Unreachable, logs)
			}
		}
		require.Len(t, d.begun, 1)
	})
	t.Run("a count that fell silent has no say while another sees successes", func(t *testing.T) {
		d := newDrill(defaults)
		for at := time.Duration(0); at < 2*minute; at += second {
			d.orderAt(at, reason.Error, logs)
			d.orderAt(at, reason.Error, traces)
		}
		require.Len(t, d.begun, 1)
		for at := 2 * minute; at < 16*minute; at += second {
			d.orderAt(at, reason.None, traces) // the logs are gone
		}
		assert.Empty(t, d.over)
		for at := 16 * minute; at < 18*minute; at += second {
			d.orderAt(at, reason.None, traces)
		}
		require.Len(t, d.over, 1)
		assert.InDelta(t, (17 * minute).Seconds(), d.over[0].Seconds(), 2)
	})
	t.Run("late records count and move no window", func(t *testing.T) {
		d := newDrill(defaults)
		every(d, 0, 10*minute, second, reason.None)
		every(d, 0, minute, second, reason.Error) // a backlog
		assert.Empty(t, d.begun)
	})
	t.Run("a clock an hour ahead opens and closes nothing by itself", func(t *testing.T) {
		d := newDrill(defaults)
		d.wall = day.Add(minute)
		every(d, 0, minute, second, reason.None)
		d.callAt(time.Hour, reason.Error)
		d.callAt(time.Hour+second, reason.Error)
		every(d, minute, minute+10*second, second, reason.None)
		assert.Empty(t, d.begun)
		assert.Equal(t, stamp(minute+9*second), d.vendors[0].tallies[ofCalls][traces].now)
	})
	t.Run("the first failures count, though known only later", func(t *testing.T) {
		d := newDrill(defaults)
		for at := time.Duration(0); at < 2*minute; at += second {
			why := reason.None
			if at >= minute {
				why = reason.Error
			}
			d.orderAt(at, why, logs)
		}
		require.Len(t, d.begun, 1)
		assert.Equal(t, 60, d.last.orders())
		assert.Equal(t, stamp(minute), d.last.leading().first)
		assert.Equal(t, stamp(2*minute-second), d.last.leading().last)
	})
}

// TestRejectsEverybody: a vendor that answers each call 503, which its rule calls rejected, is down all the same.
func TestRejectsEverybody(t *testing.T) {
	cfg := incidentConfig()
	cfg.Vendors[0].Responses = []ResponseConfig{{Status: 503, Reason: "rejected"}}
	h := start(t, cfg)
	for i := range 60 {
		status := 503
		if i < 10 || i > 20 {
			status = 200
		}
		td := ptrace.NewTraces()
		at := time.Duration(i) * 2 * time.Second
		addSpan(td, byte(i+1), client, callSpan(status), endedAt(at), func(s ptrace.Span) { s.SetStartTimestamp(s.EndTimestamp()) })
		addSpan(td, byte(i+1), server, orderSpan(status), endedAt(at))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
	}
	h.shutdown(t)
	begun, over := h.told("vendor.outage.start"), h.told("vendor.outage.end")
	require.Len(t, begun, 1)
	require.Len(t, over, 1)
	for _, line := range []map[string]any{begun[0], over[0]} {
		assert.Equal(t, int64(0), line["vendor.outage.orders"], "rejected orders are no impact")
		assert.NotContains(t, line, "vendor.outage.first_failure")
		assert.Equal(t, utc(stamp(20*time.Second)), line["vendor.outage.since"])
	}
	assert.InDelta(t, 10, over[0]["vendor.outage.duration"], 2)
}

// TestCommonSuccesses: as long as a vendor breaks no order, orders cost it nothing of its own; once it broke some, it is
// watched by itself until no trace of them is left.
func TestCommonSuccesses(t *testing.T) {
	const vendors = 100
	o := newOutages(newDefaultConfig().Outage, vendors, func(outageChange) {})
	at := time.Duration(0)
	orders := func(n int, why reason.Reason) {
		for range n {
			at += time.Second
			x := order{fault: fault{at: stamp(at), vendor: 7, reason: why}}
			if why != reason.None {
				x.outcome = vendorFailure
			}
			o.order(day.Add(at), &x)
		}
	}
	orders(20, reason.None)
	assert.Empty(t, o.affected)
	orders(2, reason.Error)
	assert.Equal(t, []int16{7}, o.affected)
	orders(11, reason.None)
	assert.Empty(t, o.affected, "too few failed, and they are out of sight")
	orders(7, reason.Error)
	require.NotNil(t, o.vendors[7].outage)
	orders(71, reason.None)
	assert.Nil(t, o.vendors[7].outage)
	assert.Empty(t, o.affected)
	for v := range o.vendors {
		assert.Same(t, &o.successes[traces], o.vendors[v].tallies[ofOrders][traces])
	}
}

// TestRecentIsBounded: of failures that open no outage the newest are kept, for one that may have begun with them.
func TestRecentIsBounded(t *testing.T) {
	cfg := newDefaultConfig().Outage
	cfg.MinFailures, cfg.FailureRatio, cfg.Window = maxRecent, 0.75, time.Hour
	d := newDrill(cfg)
	at := time.Duration(0)
	each := func(n int, why reason.Reason) {
		for range n {
			at += time.Millisecond
			d.callAt(at, why)
		}
	}
	each(maxRecent+100, reason.None)
	each(2*maxRecent, reason.Error)
	require.Empty(t, d.begun)
	recent := d.vendors[0].recent[ofCalls][traces]
	require.Len(t, recent, maxRecent)
	assert.Equal(t, stamp(at), recent[maxRecent-1].at)
	assert.Equal(t, stamp(at-(maxRecent-1)*time.Millisecond), recent[0].at)
	each(2*maxRecent, reason.Error)
	require.Len(t, d.begun, 1)
	assert.Empty(t, d.vendors[0].recent[ofCalls][traces], "they are the outage's now")
}

// TestNoFailureInSight: a count that said down when it fell silent, and of which no success came since, says so again when
// anything comes. Where that is a rejection, the outage is one from then on, and not since 1970.
func TestNoFailureInSight(t *testing.T) {
	d := newDrill(newDefaultConfig().Outage)
	for at := range time.Duration(3) {
		d.callAt(at*time.Second, reason.Error)
	}
	d.orderAt(20*time.Minute, reason.None, traces)
	require.Len(t, d.over, 1, "the calls are silent, and orders succeed")
	d.callAt(21*time.Minute, reason.Rejected)
	require.Equal(t, []time.Duration{2 * time.Second, 21 * time.Minute}, d.begun)
	assert.Equal(t, stamp(21*time.Minute), d.last.since)
}

// TestGauges: outside an outage customers and value are 0 where the configuration says how to read them, and absent where
// it does not; the count of outages begins at zero, of those with chaos and without; after Shutdown no gauge is left.
func TestGauges(t *testing.T) {
	zero := map[string]float64{"pizza-factory": 0}
	for _, tc := range []struct {
		name         string
		cfg          *Config
		users, value map[string]float64
	}{
		{"with impact", incidentConfig(), zero, zero},
		{"without", pizzaConfig(), map[string]float64{}, map[string]float64{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, tc.cfg)
			assert.Equal(t, zero, h.gauge(t, "vendor.outage"))
			assert.Equal(t, zero, h.gauge(t, "vendor.outage.orders"))
			assert.Equal(t, zero, h.gauge(t, "vendor.planned"))
			assert.Equal(t, tc.users, h.gauge(t, "vendor.outage.users"))
			assert.Equal(t, tc.value, h.gauge(t, "vendor.outage.value"))
			chaos := map[bool]int64{}
			for _, p := range h.points(t, "vendor.outages") {
				v, _ := p.Attributes.Value(tagChaos)
				chaos[v.AsBool()] = p.Value
			}
			assert.Equal(t, map[bool]int64{true: 0, false: 0}, chaos)
			h.shutdown(t)
			for _, name := range []string{"vendor.outage", "vendor.outage.orders", "vendor.planned", "vendor.outage.users", "vendor.outage.value"} {
				assert.Empty(t, h.gauge(t, name), name)
			}
		})
	}
}

// TestManyUsersAreTold: the line says "at least" beyond what is kept of customers, and a planned note once.
func TestManyUsersAreTold(t *testing.T) {
	cfg := incidentConfig()
	cfg.Planned = []PlannedConfig{{Vendor: "pizza-factory", From: day, To: day.Add(time.Hour), Note: "chaos test"}}
	h := start(t, cfg)
	a := h.traces.(*tracesProcessor).watch.announcer
	for _, users := range []int{1, maxUsers + 1} {
		out := &outage{since: stamp(time.Second), known: stamp(time.Minute)}
		for n := range users {
			out.lost[ofOrders][logs].add(failureEvent{fault: fault{at: stamp(time.Second)}, impact: impact{user: uint64(n+1) * 0x9e3779b97f4a7c15, named: true}})
		}
		a.announce(outageChange{at: out.known, outage: out})
	}
	h.shutdown(t)
	told := h.log.FilterMessage("a vendor's outage is over").All()
	require.Len(t, told, 2)
	assert.NotContains(t, told[0].ContextMap(), "vendor.outage.users_at_least")
	assert.Equal(t, true, told[1].ContextMap()["vendor.outage.users_at_least"])
	assert.NotContains(t, told[0].ContextMap(), "vendor.outage.traces", "nothing tells of one")
	notes := 0
	for _, f := range told[0].Context {
		if f.Key == "vendor.planned.note" {
			notes++
		}
	}
	assert.Equal(t, 1, notes)
}

// TestPlanBounds: a window is on from its first instant to its last, both included.
func TestPlanBounds(t *testing.T) {
	p := plan{{From: day, To: day.Add(time.Hour)}}
	for _, tc := range []struct {
		at time.Duration
		on bool
	}{{-1, false}, {0, true}, {1, true}, {time.Hour - 1, true}, {time.Hour, true}, {time.Hour + 1, false}} {
		_, on := p.at(day.Add(tc.at))
		assert.Equal(t, tc.on, on, tc.at)
	}
}

// TestBatchInAnyOrder: what comes in one batch is taken in by its times, calls and orders alike, in whatever order they
// are listed: one outage, no failure too late to be looked at.
func TestBatchInAnyOrder(t *testing.T) {
	for _, tc := range []struct {
		name          string
		calls, orders bool
	}{{"calls", true, false}, {"orders", false, true}, {"orders, while calls look well", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDrill(newDefaultConfig().Outage)
			var calls []call
			var orders []order
			for at := 10 * time.Minute; at > 0; at -= time.Second { // the newest first
				f, came := fault{at: stamp(at)}, success
				if at > 3*time.Minute && at <= 6*time.Minute {
					f.reason, came = reason.Error, vendorFailure
				}
				if tc.calls {
					calls = append(calls, call{fault: f})
				}
				if tc.orders {
					orders = append(orders, order{fault: f, outcome: came})
					for i := range calls {
						calls[i].reason = reason.None
					}
				}
			}
			d.take(d.wall, calls, orders)
			require.Len(t, d.begun, 1)
			assert.InDelta(t, (3*time.Minute + 5*time.Second).Seconds(), d.begun[0].Seconds(), 1)
			require.Len(t, d.over, 1)
			assert.InDelta(t, (7*time.Minute + 5*time.Second).Seconds(), d.over[0].Seconds(), 2)
			assert.Equal(t, stamp(3*time.Minute+time.Second), d.last.since)
		})
	}
}

// TestLosses: the first and the last of what failed are those by time, and examples are distinct traces.
func TestLosses(t *testing.T) {
	var l losses
	for _, f := range []struct {
		at    pcommon.Timestamp
		trace byte
	}{{5, 0}, {3, 1}, {9, 1}, {7, 2}, {8, 3}, {6, 4}} {
		l.add(failureEvent{fault: fault{at: f.at, reason: reason.Error}, trace: pcommon.TraceID{f.trace}})
	}
	assert.Equal(t, pcommon.Timestamp(3), l.first)
	assert.Equal(t, pcommon.Timestamp(9), l.last)
	assert.Equal(t, []pcommon.TraceID{{1}, {2}, {3}}, l.traces)
	assert.Equal(t, 6, l.failures)
}

// TestManyUsers: beyond what is kept of customers, an outage tells that there were at least as many.
func TestManyUsers(t *testing.T) {
	for _, tc := range []struct {
		users int
		exact bool
	}{{maxUsers - 1, true}, {maxUsers + 1000, false}} {
		out := &outage{}
		for n := range tc.users {
			out.lost[ofOrders][logs].add(failureEvent{impact: impact{user: uint64(n+1) * 0x9e3779b97f4a7c15, named: true}})
		}
		n, named, exact := out.users()
		assert.True(t, named)
		assert.Equal(t, tc.exact, exact)
		assert.Equal(t, min(tc.users, maxUsers), n)
	}
}

// TestBounds: recovery and max_age are over when their time has passed, to the nanosecond.
func TestBounds(t *testing.T) {
	cfg := newDefaultConfig().Outage
	fail := func() *drill {
		d := newDrill(cfg)
		for at := range time.Duration(3) {
			d.orderAt(at*time.Second, reason.Error, logs)
		}
		require.Len(t, d.begun, 1)
		return d
	}
	t.Run("recovery", func(t *testing.T) {
		for _, tc := range []struct {
			early time.Duration
			over  int
		}{{0, 1}, {1, 0}} {
			d := fail()
			for n := range time.Duration(10) { // of the last calls three fail until the fourth of these
				d.orderAt(3*time.Second+n*time.Nanosecond, reason.None, logs)
			}
			held := d.vendors[0].tallies[ofOrders][logs].held
			d.orderAt(held.AsTime().Sub(day)+cfg.Recovery-tc.early, reason.None, logs)
			assert.Len(t, d.over, tc.over)
		}
	})
	t.Run("max_age of silence", func(t *testing.T) {
		for _, tc := range []struct {
			early time.Duration
			over  int
		}{{0, 1}, {1, 0}} {
			d := fail()
			d.orderAt(2*time.Second+cfg.MaxAge-tc.early, reason.None, traces)
			assert.Len(t, d.over, tc.over)
		}
	})
}

// TestCells: what happens at one time is one cell, and cells that are taken together leave with their newest.
func TestCells(t *testing.T) {
	var w window
	at := stamp(0)
	for range 100 {
		w.add(event{at: at, verdict: good}, at, time.Hour)
	}
	assert.Len(t, w.cells, 1)
	w.add(event{at: at + 1, verdict: bad}, at+1, time.Hour)
	w.add(event{at: at + 2, verdict: bad}, at+2, time.Hour)
	w.coarsen(pcommon.Timestamp(time.Hour))
	assert.Equal(t, []cell{{at: at + 2, sums: [verdictCount]uint32{100, 2, 0}}}, w.cells)
	w.add(event{at: at + 1 + pcommon.Timestamp(time.Hour), verdict: good}, at+1+pcommon.Timestamp(time.Hour), time.Hour)
	assert.Equal(t, [verdictCount]int{101, 2, 0}, w.sums)
	w.add(event{at: at + 2 + pcommon.Timestamp(time.Hour), verdict: good}, at+2+pcommon.Timestamp(time.Hour), time.Hour)
	assert.Equal(t, [verdictCount]int{2, 0, 0}, w.sums)
}
