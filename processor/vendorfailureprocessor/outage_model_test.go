package vendorfailureprocessor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// happening is one call or order as the model and the processor are told of it.
type happening struct {
	of        item
	signal    signal
	vendor    int16 // of a call, or to blame for an order
	why       reason.Reason
	outcome   outcome // of an order
	at        pcommon.Timestamp
	from      caller
	synthetic synthetic
	user      uint64 // 0: not named
	value     float64
}

// model is the contract's text on outages, word for word: it keeps every event and looks at all of them anew each time.
type model struct {
	cfg     OutageConfig
	wall    pcommon.Timestamp
	newest  map[[2]int]pcommon.Timestamp // by caller and signal
	vendors []modelVendor
	told    []string
}

type modelVendor struct {
	counts [itemCount][signalCount]modelCount
	failed []happening // because of this vendor, late ones too
	open   bool
	since  pcommon.Timestamp
}

type modelCount struct {
	events         []event
	down           bool
	held, lastGood pcommon.Timestamp
}

func (m *model) happen(h happening) {
	// A time over a minute in the future is taken as now.
	if h.at == 0 || h.at > m.wall+pcommon.Timestamp(time.Minute) {
		h.at = m.wall
	}
	// A record older than its caller's newest by more than recovery counts but moves no window.
	key := [2]int{int(h.from), int(h.signal)}
	late := h.at+pcommon.Timestamp(m.cfg.Recovery) < m.newest[key]
	m.newest[key] = max(m.newest[key], h.at)

	for v := range m.vendors {
		verdict, counts := good, true
		switch {
		case h.of == ofCalls && int(h.vendor) != v:
			counts = false
		case h.of == ofCalls && h.why == reason.Rejected:
			verdict = neither
		case h.of == ofCalls && h.why != reason.None:
			verdict = bad
		case h.of == ofOrders && h.outcome == vendorFailure && int(h.vendor) == v && h.why != reason.Rejected:
			verdict = bad
		case h.of == ofOrders && h.outcome != success:
			counts = false
		}
		if counts {
			m.count(v, h, verdict, late)
		}
	}
}

func (m *model) count(v int, h happening, verdict verdict, late bool) {
	vendor := &m.vendors[v]
	if verdict == bad {
		vendor.failed = append(vendor.failed, h)
	}
	if late {
		return
	}
	c := &vendor.counts[h.of][h.signal]
	c.events = append(c.events, event{at: h.at, verdict: verdict})
	if verdict == good {
		c.lastGood = max(c.lastGood, h.at)
	}
	if failed, _ := m.fails(c); failed {
		c.down, c.held = true, c.now()
	} else if c.down && c.now()-c.held >= pcommon.Timestamp(m.cfg.Recovery) && c.lastGood > c.held {
		c.down = false
	}

	// The vendor is in an outage while any of its counts says down; a count silent for max_age has no say while
	// another sees successes.
	var now pcommon.Timestamp
	for of := range itemCount {
		for s := range signalCount {
			now = max(now, vendor.counts[of][s].now())
		}
	}
	down, since := false, pcommon.Timestamp(0)
	for of := range itemCount {
		for s := range signalCount {
			c := &vendor.counts[of][s]
			silent := now-c.now() >= pcommon.Timestamp(m.cfg.MaxAge)
			anotherSucceeds := false
			for of := range itemCount {
				for s := range signalCount {
					anotherSucceeds = anotherSucceeds || vendor.counts[of][s].lastGood > c.now()
				}
			}
			if !c.down || silent && anotherSucceeds {
				continue
			}
			_, oldest := m.fails(c)
			if oldest == 0 {
				oldest = c.now()
			}
			if !down || oldest < since {
				since = oldest
			}
			down = true
		}
	}
	switch {
	case down && !vendor.open:
		vendor.open, vendor.since = true, since
		m.tell("begins", v, c.now())
	case !down && vendor.open:
		m.tell("is over", v, c.now())
		vendor.open, vendor.failed = false, nil
	}
}

func (c *modelCount) now() (now pcommon.Timestamp) {
	for _, e := range c.events {
		now = max(now, e.at)
	}
	return now
}

// fails tells whether at least min_failures of what is looked at failed, and they are at least failure_ratio, and the
// oldest of them.
func (m *model) fails(c *modelCount) (failed bool, oldest pcommon.Timestamp) {
	now := c.now()
	byTime := slices.Clone(c.events)
	slices.SortStableFunc(byTime, func(a, b event) int { return int(int64(a.at) - int64(b.at)) })
	within := func(events []event, d time.Duration) []event {
		return slices.DeleteFunc(slices.Clone(events), func(e event) bool { return e.at+pcommon.Timestamp(d) <= now })
	}
	lastOf := func(events []event) []event {
		return within(events[max(len(events)-m.cfg.MinCalls, 0):], m.cfg.MaxAge)
	}
	// When all of the last min_calls were rejected, rejections are failures.
	lastOnes := lastOf(byTime)
	refused := len(lastOnes) == m.cfg.MinCalls
	for _, e := range lastOnes {
		refused = refused && e.verdict == neither
	}
	if refused {
		for i := range byTime {
			if byTime[i].verdict == neither {
				byTime[i].verdict = bad
			}
		}
	} else {
		byTime = slices.DeleteFunc(byTime, func(e event) bool { return e.verdict == neither })
	}
	// The last window, or the last min_calls within max_age, whichever holds more.
	looked := within(byTime, m.cfg.Window)
	if last := lastOf(byTime); len(last) > len(looked) {
		looked = last
	}
	failures := 0
	for _, e := range looked {
		if e.verdict == bad {
			if failures++; failures == 1 {
				oldest = e.at
			}
		}
	}
	return failures >= m.cfg.MinFailures && float64(failures) >= m.cfg.FailureRatio*float64(len(looked)), oldest
}

func (m *model) tell(what string, v int, at pcommon.Timestamp) {
	vendor := &m.vendors[v]
	orders, users, value := 0, 0, 0.0
	for s := range signalCount {
		hit, lost, worth := map[uint64]bool{}, 0, 0.0
		for _, f := range vendor.failed {
			if f.signal != s || f.at < vendor.since || f.synthetic != notSynthetic {
				continue
			}
			if f.user != 0 {
				hit[f.user] = true
			}
			if f.of == ofOrders {
				lost++
				worth += f.value
			}
		}
		orders, users, value = max(orders, lost), max(users, len(hit)), max(value, worth)
	}
	m.told = append(m.told, tell(what, v, at, vendor.since, orders, users, value))
}

func tell(what string, v int, at, since pcommon.Timestamp, orders, users int, value float64) string {
	return fmt.Sprintf("outage of %d %s at %s, since %s: %d orders, %d users, %.2f", v, what, at.AsTime().Format("15:04:05.000"),
		since.AsTime().Format("15:04:05.000"), orders, users, value)
}

// traffic makes up a shop's day: phases of health and failure of every shape, told out of order by senders whose clocks
// differ.
func traffic(random *rand.Rand, vendors int) (all []happening, cfg OutageConfig, wall time.Time) {
	between := func(a, b time.Duration) time.Duration { return a + time.Duration(random.Int64N(int64(b-a))) }
	cfg = OutageConfig{
		Window:       between(time.Second, 30*time.Second),
		MaxAge:       between(time.Minute, 20*time.Minute),
		MinFailures:  1 + random.IntN(5),
		FailureRatio: 0.1 + 0.9*random.Float64(),
		Recovery:     between(5*time.Second, 2*time.Minute),
	}
	cfg.MinCalls = cfg.MinFailures + random.IntN(8)
	now := 2 * time.Hour
	for range 4 + random.IntN(5) { // phases
		step := []time.Duration{50 * time.Millisecond, time.Second, 20 * time.Second, 3 * time.Minute}[random.IntN(4)]
		share := []float64{0, 0, 0.1, 0.5, 1}[random.IntN(5)]
		rejects := []float64{0, 0, 0.3, 1}[random.IntN(4)]
		onlyCalls, onlyOrders, onlyLogs := random.IntN(5) == 0, random.IntN(5) == 0, random.IntN(5) == 0
		for range 20 + random.IntN(60) {
			now += time.Duration(float64(step) * (0.5 + random.Float64()))
			h := happening{
				of: item(random.IntN(2)), signal: signal(random.IntN(2)), vendor: int16(random.IntN(vendors)),
				from: caller(random.IntN(3)), at: stamp(now - time.Duration(random.Int64N(int64(2*time.Second)))),
				user: uint64(random.IntN(6)), value: float64(random.IntN(4)) / 4,
			}
			switch {
			case onlyCalls:
				h.of = ofCalls
			case onlyOrders:
				h.of = ofOrders
			}
			if onlyLogs {
				h.signal = logs
			}
			switch random.IntN(40) {
			case 0: // a backlog
				h.at -= pcommon.Timestamp(between(0, 10*time.Minute))
			case 1: // a clock far ahead
				h.at += pcommon.Timestamp(between(2*time.Hour, 30*time.Hour))
			case 2: // a clock a little ahead
				h.at += pcommon.Timestamp(between(0, time.Minute))
			case 3:
				h.at = 0
			case 4:
				h.synthetic = syntheticTest
			}
			switch {
			case random.Float64() < rejects:
				h.why = reason.Rejected
			case random.Float64() < share:
				h.why = reason.Error
			}
			if h.of == ofOrders {
				h.outcome = []outcome{success, success, success, ownFailure, rejected}[random.IntN(5)]
				if h.why != reason.None {
					h.outcome = vendorFailure
				}
			}
			all = append(all, h)
		}
	}
	return all, cfg, day.Add(now)
}

// TestOutagesByModel: on random traffic the processor tells the outages that the contract's text tells, and what each
// cost.
func TestOutagesByModel(t *testing.T) {
	const runs = 1500
	changes := 0
	for seed := range uint64(runs) {
		random := rand.New(rand.NewPCG(seed, 42))
		vendors := 1 + random.IntN(2)
		all, cfg, wall := traffic(random, vendors)
		if seed%2 == 0 { // whole seconds, so that times meet bounds
			cfg.Window, cfg.MaxAge, cfg.Recovery = cfg.Window.Truncate(time.Second), cfg.MaxAge.Truncate(time.Second), cfg.Recovery.Truncate(time.Second)
			for i := range all {
				all[i].at -= all[i].at % pcommon.Timestamp(time.Second)
			}
		}

		m := &model{cfg: cfg, wall: pcommon.NewTimestampFromTime(wall), newest: map[[2]int]pcommon.Timestamp{}, vendors: make([]modelVendor, vendors)}
		var told []string
		o := newOutages(cfg, vendors, func(c outageChange) {
			what := "is over"
			if c.opened {
				what = "begins"
			}
			users, _, _ := c.outage.users()
			value, _ := c.outage.value()
			told = append(told, tell(what, int(c.vendor), c.at, c.outage.since, c.outage.orders(), users, value))
		})
		for _, h := range all {
			m.happen(h)
			i := impact{user: h.user, named: h.user != 0, value: h.value, valued: true}
			f := fault{at: h.at, vendor: h.vendor, reason: h.why}
			if h.of == ofCalls {
				o.call(wall, &call{fault: f, signal: h.signal, caller: h.from, impact: i, synthetic: h.synthetic})
			} else {
				o.order(wall, &order{fault: f, outcome: h.outcome, signal: h.signal, caller: h.from, impact: i, synthetic: h.synthetic})
			}
		}
		require.Equal(t, m.told, told, "seed %d, %+v", seed, cfg)
		changes += len(told)
	}
	require.Greater(t, changes, runs/2, "the traffic has outages")
}

// TestFullTraffic: at 20,000 calls a second a window is kept in cells; what it costs is bounded, and an outage is told
// as soon as at less.
func TestFullTraffic(t *testing.T) {
	d := newDrill(newDefaultConfig().Outage)
	const step = 50 * time.Microsecond
	for at := time.Duration(0); at < 20*time.Second; at += step {
		why := reason.None
		if at >= 12*time.Second {
			why = reason.Error
		}
		d.callAt(at, why)
	}
	require.Len(t, d.begun, 1)
	require.InDelta(t, 17, d.begun[0].Seconds(), 0.1)
	w := &d.vendors[0].tallies[ofCalls][traces].window
	require.LessOrEqual(t, len(w.cells), maxCells+1)
	require.InDelta(t, float64(10*time.Second/step), float64(w.sums[good]+w.sums[bad]), float64(10*time.Second/step)/500)
}
