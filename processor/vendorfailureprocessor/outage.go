package vendorfailureprocessor

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// maxRecent bounds the failures that are kept, by vendor and signal, for an outage that may turn out to have begun with
// them.
const maxRecent = 1 << 14

// exampleTraces is how many trace ids the line of an outage names.
const exampleTraces = 3

// item is what a tally counts.
type item uint8

const (
	ofCalls item = iota
	ofOrders
	itemCount
)

// outages watches every vendor, over both signals, for outages.
type outages struct {
	cfg  OutageConfig
	tell func(outageChange) // each opening and each closing, in order, under the lock
	// appeared is called with each vendor that comes after the configured ones; nil where nobody wants to know.
	appeared func(vendor int16)

	mu      sync.Mutex
	clock   clock
	newest  [signalCount]map[caller]pcommon.Timestamp
	vendors []health
	// successes are the orders that succeeded, which speak for every vendor alike. It is the tally of the orders of all
	// vendors that broke none: what an order costs does not grow with their number.
	successes [signalCount]tally
	// affected are the vendors, in their order, of which an order that succeeded may tell something else: those in an
	// outage, and those with a tally of orders of their own.
	affected []int16
}

// outageChange is an opening or a closing.
type outageChange struct {
	vendor int16
	opened bool
	at     pcommon.Timestamp // the telemetry's time at which it was known
	outage *outage
}

// health is what is watched of one vendor.
type health struct {
	tallies [itemCount][signalCount]*tally // those of orders are outages.successes as long as the vendor broke none of them
	recent  [itemCount][signalCount][]failureEvent
	outage  *outage           // nil: there is none
	chaos   pcommon.Timestamp // when an answer last showed it
}

// failureEvent is a call or an order that failed because of the vendor.
type failureEvent struct {
	fault
	trace     pcommon.TraceID
	impact    impact
	synthetic synthetic
}

// outage is a vendor's present outage. What it cost is counted from since on, as each signal tells it.
type outage struct {
	since pcommon.Timestamp
	known pcommon.Timestamp // when it was opened
	lost  [itemCount][signalCount]losses
	// fromStart says that nothing but failure was seen since the processor's start: the outage may be older.
	fromStart bool
	// chaos says that an answer since then showed it, also one that came as a success.
	chaos bool
}

// losses sums up what failed.
type losses struct {
	failures    int
	customers   int // those that are not synthetic
	first, last pcommon.Timestamp
	reasons     [reason.Count]int
	traces      []pcommon.TraceID // the first few
	users       users
	value       float64
	valued      bool
}

func newOutages(cfg OutageConfig, vendors int, tell func(outageChange)) *outages {
	o := &outages{cfg: cfg, tell: tell, clock: newClock(), vendors: make([]health, vendors)}
	for s := range o.newest {
		o.newest[s] = map[caller]pcommon.Timestamp{}
		o.successes[s].cfg = &o.cfg
	}
	for v := range o.vendors {
		o.watch(&o.vendors[v])
	}
	return o
}

// watch makes a vendor's counts ready.
func (o *outages) watch(h *health) {
	for s := range signalCount {
		h.tallies[ofCalls][s] = &tally{cfg: &o.cfg}
		h.tallies[ofOrders][s] = &o.successes[s]
	}
}

// health returns what is watched of a vendor, from its first call or order on.
func (o *outages) health(vendor int16) *health {
	for int(vendor) >= len(o.vendors) {
		o.vendors = append(o.vendors, health{})
		o.watch(&o.vendors[len(o.vendors)-1])
		if o.appeared != nil {
			o.appeared(int16(len(o.vendors) - 1))
		}
	}
	return &o.vendors[vendor]
}

// take takes in the calls and orders of a batch, in the order of their times: a window that held the newest of a batch
// and not yet those before would look at too little.
func (o *outages) take(now time.Time, calls []call, orders []order) {
	slices.SortStableFunc(calls, func(a, b call) int { return cmp.Compare(a.at, b.at) })
	slices.SortStableFunc(orders, func(a, b order) int { return cmp.Compare(a.at, b.at) })
	o.mu.Lock()
	defer o.mu.Unlock()
	now = o.clock.now(now, o.inOutage())
	for len(calls) > 0 || len(orders) > 0 {
		if len(orders) == 0 || len(calls) > 0 && calls[0].at <= orders[0].at {
			o.call(now, &calls[0])
			calls = calls[1:]
		} else {
			o.order(now, &orders[0])
			orders = orders[1:]
		}
	}
}

// inOutage tells whether there is an outage of any vendor.
func (o *outages) inOutage() bool {
	return slices.ContainsFunc(o.affected, func(v int16) bool { return o.vendors[v].outage != nil })
}

// call takes in a judged call.
func (o *outages) call(now time.Time, c *call) {
	at, late := o.time(now, c.at, c.signal, c.caller)
	if c.chaos {
		o.showChaos(c.vendor, at)
	}
	if c.repeats {
		return
	}
	v := good
	switch c.reason {
	case reason.None:
	case reason.Rejected:
		v = neither
	default:
		v = bad
	}
	f := failureEvent{fault: c.fault, trace: c.trace, impact: c.impact, synthetic: c.synthetic}
	f.at = at
	o.observe(c.vendor, ofCalls, c.signal, v, f, late)
}

// order takes in an order whose outcome stands. One that succeeded speaks for every vendor; rejected orders and our own
// failures for none.
func (o *outages) order(now time.Time, x *order) {
	at, late := o.time(now, x.at, x.signal, x.caller)
	f := failureEvent{fault: x.fault, trace: x.trace, impact: x.impact, synthetic: x.synthetic}
	f.at = at
	if x.chaos {
		o.showChaos(x.vendor, at)
	}
	switch {
	case x.outcome == success:
		if !late {
			o.succeeded(x.signal, at)
		}
	case x.outcome == vendorFailure && x.reason != reason.Rejected:
		o.observe(x.vendor, ofOrders, x.signal, bad, f, late)
	}
}

// showChaos takes in that an answer of a vendor showed chaos, late or not: it tells what an outage is in which it came.
func (o *outages) showChaos(vendor int16, at pcommon.Timestamp) {
	h := o.health(vendor)
	h.chaos = max(h.chaos, at)
	if h.outage != nil && at >= h.outage.since {
		h.outage.chaos = true
	}
}

// time returns the telemetry's own time of something, and whether it is too late to move a window: older than its
// caller's newest by more than recovery.
func (o *outages) time(now time.Time, at pcommon.Timestamp, s signal, from caller) (_ pcommon.Timestamp, late bool) {
	at = o.clock.of(at, now)
	newest := o.newest[s][from]
	if at > newest {
		o.newest[s][from] = at
	}
	return at, at+pcommon.Timestamp(o.cfg.Recovery) < newest
}

// succeeded takes in an order that succeeded.
func (o *outages) succeeded(s signal, at pcommon.Timestamp) {
	e := event{at: at, verdict: good}
	o.successes[s].add(e)
	for _, v := range slices.Clone(o.affected) {
		if own := o.vendors[v].tallies[ofOrders][s]; own != &o.successes[s] {
			own.add(e)
		}
		o.changed(v, ofOrders, s)
	}
}

// observe takes in one call, or an order that a vendor broke, late or not, and tells what it changes.
func (o *outages) observe(vendor int16, of item, s signal, v verdict, f failureEvent, late bool) {
	if vendor == otherVendor {
		return // it is many vendors: none of them is known to be down
	}
	h := o.health(vendor)
	if v == bad {
		h.remember(of, s, f)
	}
	if late {
		return
	}
	if h.tallies[of][s] == &o.successes[s] {
		h.tallies[of][s] = o.successes[s].clone()
	}
	h.tallies[of][s].add(event{at: f.at, verdict: v})
	o.changed(vendor, of, s)
}

// changed tells what it means for a vendor that one of its tallies has changed.
func (o *outages) changed(vendor int16, of item, s signal) {
	h := &o.vendors[vendor]
	down, since := h.isDown(&o.cfg)
	switch {
	case down && h.outage == nil:
		h.outage = &outage{since: since, known: h.tallies[of][s].now, fromStart: !h.succeedsAfter(0), chaos: h.chaos >= since}
		h.backdate()
		o.tell(outageChange{vendor: vendor, opened: true, at: h.outage.known, outage: h.outage})
	case !down && h.outage != nil:
		closed := h.outage
		h.outage = nil
		o.tell(outageChange{vendor: vendor, at: h.tallies[of][s].now, outage: closed})
	}
	o.setAffected(vendor, o.isAffected(h))
}

// isAffected tells whether an order that succeeds may tell something else of a vendor. A tally of orders in which no
// failure is left holds what the common one does, and becomes it again.
func (o *outages) isAffected(h *health) bool {
	affected := h.outage != nil
	for s := range signalCount {
		if own := h.tallies[ofOrders][s]; own != &o.successes[s] && own.isFlawless() {
			h.tallies[ofOrders][s] = &o.successes[s]
		}
		affected = affected || h.tallies[ofOrders][s] != &o.successes[s]
	}
	return affected
}

func (o *outages) setAffected(vendor int16, affected bool) {
	switch i, found := slices.BinarySearch(o.affected, vendor); {
	case affected && !found:
		o.affected = slices.Insert(o.affected, i, vendor)
	case !affected && found:
		o.affected = slices.Delete(o.affected, i, i+1)
	}
}

// now is the newest time that any of a vendor's counts has seen.
func (h *health) now() (now pcommon.Timestamp) {
	for of := range h.tallies {
		for s := range h.tallies[of] {
			now = max(now, h.tallies[of][s].now)
		}
	}
	return now
}

// isDown tells whether any of the counts that have a say says down, and the oldest failure that it looks at. A count that
// was silent for max_age has no say while another sees successes.
func (h *health) isDown(cfg *OutageConfig) (down bool, since pcommon.Timestamp) {
	now := h.now()
	for of := range h.tallies {
		for s := range h.tallies[of] {
			t := h.tallies[of][s]
			if !t.down || now-t.now >= pcommon.Timestamp(cfg.MaxAge) && h.succeedsAfter(t.now) {
				continue
			}
			return true, t.since()
		}
	}
	return false, 0
}

// succeedsAfter tells whether any count has seen a success after a time.
func (h *health) succeedsAfter(at pcommon.Timestamp) bool {
	for of := range h.tallies {
		for s := range h.tallies[of] {
			if h.tallies[of][s].lastGood > at {
				return true
			}
		}
	}
	return false
}

// remember adds a failure to the present outage, or keeps it for one that may open.
func (h *health) remember(of item, s signal, f failureEvent) {
	if h.outage != nil {
		if f.at >= h.outage.since {
			h.outage.lost[of][s].add(f)
		}
		return
	}
	recent := h.recent[of][s]
	if len(recent) == maxRecent {
		recent = recent[1:]
	}
	h.recent[of][s] = append(recent, f)
}

// backdate counts the failures that came before the outage was known, from since on.
func (h *health) backdate() {
	for of := range h.recent {
		for s := range h.recent[of] {
			for _, f := range h.recent[of][s] {
				if f.at >= h.outage.since {
					h.outage.lost[of][s].add(f)
				}
			}
			h.recent[of][s] = nil
		}
	}
}

func (l *losses) add(f failureEvent) {
	l.failures++
	l.reasons[f.reason]++
	if l.first == 0 || f.at < l.first {
		l.first = f.at
	}
	l.last = max(l.last, f.at)
	if len(l.traces) < exampleTraces && !f.trace.IsEmpty() && !slices.Contains(l.traces, f.trace) {
		l.traces = append(l.traces, f.trace)
	}
	if f.synthetic != notSynthetic {
		return // no customer waits for it
	}
	l.customers++
	if f.impact.named {
		l.users.add(f.impact.user)
	}
	if f.impact.valued {
		l.value, l.valued = l.value+f.impact.value, true
	}
}

// orders returns the orders lost, as the signal tells that knows of more.
func (o *outage) orders() int {
	return max(o.lost[ofOrders][traces].customers, o.lost[ofOrders][logs].customers)
}

// users returns the distinct customers hit, and whether anything names them; exact is false beyond the bound of what is
// kept.
func (o *outage) users() (n int, named, exact bool) {
	exact = true
	for s := range signalCount {
		var hit users
		for of := range itemCount {
			hit.addAll(&o.lost[of][s].users)
		}
		if c := hit.count(); c > n {
			n, named, exact = c, true, hit.isExact()
		}
	}
	return n, named, exact
}

// value returns the value lost, and whether anything tells it.
func (o *outage) value() (value float64, told bool) {
	for s := range signalCount {
		if l := &o.lost[ofOrders][s]; l.valued {
			value, told = max(value, l.value), true
		}
	}
	return value, told
}

// leading returns the losses that tell most: those of orders, else of calls, by the signal that knows of more.
func (o *outage) leading() *losses {
	for _, lost := range [...]*[signalCount]losses{&o.lost[ofOrders], &o.lost[ofCalls]} {
		most := &lost[traces]
		if lost[logs].failures > most.failures {
			most = &lost[logs]
		}
		if most.failures > 0 {
			return most
		}
	}
	return &losses{}
}
