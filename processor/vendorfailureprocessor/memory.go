package vendorfailureprocessor

import (
	"iter"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// rememberFor is how long at least a trace is remembered, within limits.traces, and longer where settle is: an order's own
// span or record may come in a later request than the call that broke it.
const rememberFor = 5 * time.Minute

// order is one request to an order endpoint, judged.
type order struct {
	fault   // of a vendor_failure, or the chaos of a success; at is the order's own time in any case
	outcome outcome
	signal  signal
	caller  caller

	waits      bool // whom to blame is not told yet: a call that arrives within settle may still decide
	unreadable bool // the value of its impact
	synthetic  synthetic

	trace pcommon.TraceID
	span  pcommon.SpanID
	// suspects are, where there are several, the faults of those vendors by one of which its answer was broken. Its own is
	// the first of them as long as nothing tells which it was. Hardly an order has some, so none has room for them.
	suspects *[]fault
	impact   impact
}

// waitingOrder is a failed order whose count waits for a vendor call. Once it is decided it waits no more.
type waitingOrder struct {
	order
	deadline time.Duration // since the memory was made
	next     *waitingOrder // of its trace
}

// remembered is what is kept of a trace. There may be a hundred thousand, so it is kept small.
type remembered struct {
	evidence
	first, last *waitingOrder // those undecided, in order of arrival, as in the queue
	// strangers, with discovery alone, are calls that are a vendor's should an order be seen, in order of arrival.
	// Once one was, they are ofOrder.
	strangers *stranger
}

// wait adds an order to those that wait.
func (r *remembered) wait(w *waitingOrder) {
	if r.first == nil {
		r.first = w
	} else {
		r.last.next = w
	}
	r.last = w
}

// decide appends the orders of which the evidence tells who is to blame. The others wait on.
func (r *remembered) decide(decided []order) []order {
	w := r.first
	r.first, r.last = nil, nil
	for w != nil {
		next := w.next
		w.next = nil
		if o := w.settled(&r.evidence); o.waits {
			r.wait(w)
		} else {
			w.waits = false
			decided = append(decided, o)
		}
		w = next
	}
	return decided
}

// unclaimed yields the calls that are a vendor's should an order be seen.
func (r *remembered) unclaimed() iter.Seq[*stranger] {
	return func(yield func(*stranger) bool) {
		for s := r.strangers; s != nil && s != ofOrder; s = s.next {
			if !yield(s) {
				return
			}
		}
	}
}

// memory remembers, for traces in which a vendor call failed or an answer showed chaos, or an order is undecided, what is
// held against whom. It keeps two generations: when the young one is full or old enough it becomes the old one, and what
// was old is forgotten. So a trace costs one map entry, and at most limits.traces are kept, and as many strangers.
type memory struct {
	settle time.Duration
	keeps  time.Duration // a generation, if it is not full before
	half   int           // traces a generation
	made   time.Time

	mu         sync.Mutex
	young, old map[pcommon.TraceID]*remembered
	born       time.Time       // of the young generation
	retired    time.Time       // when the old one was the young one last
	strangers  int             // in the young generation
	queue      []*waitingOrder // in order of arrival, which is the order of their deadlines
	forgotten  int             // traces forgotten before settle was over, ever
	closed     bool
}

func newMemory(settle time.Duration, limit int) *memory {
	return &memory{
		settle: settle,
		keeps:  max(rememberFor, settle),
		half:   max(limit/2, 1),
		made:   time.Now(),
		young:  map[pcommon.TraceID]*remembered{},
	}
}

// isOrder tells whether an order was seen in a trace.
func (m *memory) isOrder(id pcommon.TraceID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.get(id)
	return r != nil && r.strangers == ofOrder
}

// recall adds to e what is remembered of the trace of an order.
func (m *memory) recall(id pcommon.TraceID, e *evidence, names *vendorNames) {
	if id.IsEmpty() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.get(id); r != nil {
		e.addAll(r.evidence)
		for s := range r.unclaimed() {
			if s.reason != reason.None {
				s.vendor = names.discover(s.name.Value())
				e.add(sign{fault: s.fault, signal: s.signal, isCall: true})
			}
		}
	}
}

func (m *memory) get(id pcommon.TraceID) *remembered {
	if r, ok := m.young[id]; ok {
		return r
	}
	return m.old[id]
}

// learn remembers the evidence of a batch that the next consumer has accepted and takes in its orders. It returns those
// orders, of this batch and of earlier ones, whose outcome stands now, and how many traces had to be forgotten before
// settle was over.
func (m *memory) learn(now time.Time, found map[pcommon.TraceID]*evidence, orders []order) (decided []order, forgotten int) {
	if len(found) == 0 && !slices.ContainsFunc(orders, func(o order) bool { return o.waits }) {
		return orders, 0 // nothing to remember, as of most requests: these need not wait for the lock
	}
	m.mu.Lock()
	defer m.mu.Unlock()

	before := m.forgotten
	decided = m.expire(now, make([]order, 0, len(orders)))
	for id, e := range found {
		r := m.keep(now, id)
		r.addAll(*e)
		decided = r.decide(decided)
	}
	for _, o := range orders {
		if !o.waits || m.settle == 0 || m.closed {
			decided = append(decided, o)
			continue
		}
		// Another batch may have told of the call since this order was judged.
		if r := m.get(o.trace); r != nil {
			if o = o.settled(&r.evidence); !o.waits {
				decided = append(decided, o)
				continue
			}
		}
		w := &waitingOrder{order: o, deadline: now.Add(m.settle).Sub(m.made)}
		m.keep(now, o.trace).wait(w)
		if m.queue = append(m.queue, w); len(m.queue) > 2*m.half {
			decided = m.pop(decided)
		}
	}
	return decided, m.forgotten - before
}

// settled returns an undecided order as the evidence decides it.
func (o order) settled(e *evidence) order {
	if o.suspects != nil {
		if i := e.brokenBy(o.signal, *o.suspects); i >= 0 {
			o.fault, o.waits = (*o.suspects)[i], false
		}
		return o
	}
	if f := e.blame(o.signal); f.reason != reason.None {
		f.at = o.at
		o.outcome, o.fault, o.waits = vendorFailure, f, false
	}
	return o
}

// keep returns what is remembered of a trace, in the young generation, and makes room where there is none.
func (m *memory) keep(now time.Time, id pcommon.TraceID) *remembered {
	if r, ok := m.young[id]; ok && m.strangers < m.half {
		return r
	}
	if len(m.young) >= m.half || m.strangers >= m.half || now.Sub(m.born) >= m.keeps {
		if now.Sub(m.retired) < m.settle {
			m.forgotten += len(m.old)
		}
		m.old, m.young = m.young, make(map[pcommon.TraceID]*remembered)
		m.born, m.retired, m.strangers = now, now, 0
	}
	r, ok := m.old[id]
	if ok {
		delete(m.old, id)
		for range r.unclaimed() {
			m.strangers++
		}
	} else {
		r = &remembered{}
	}
	m.young[id] = r
	return r
}

// settledBy appends the orders that have waited long enough.
func (m *memory) settledBy(now time.Time) []order {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.expire(now, nil)
}

func (m *memory) expire(now time.Time, decided []order) []order {
	for len(m.queue) > 0 && (!m.queue[0].waits || m.queue[0].deadline <= now.Sub(m.made)) {
		decided = m.pop(decided)
	}
	return decided
}

// pop takes the order that has waited longest out of the queue.
func (m *memory) pop(decided []order) []order {
	w := m.queue[0]
	m.queue[0] = nil
	if m.queue = m.queue[1:]; len(m.queue) == 0 {
		m.queue = nil
	}
	if w.waits {
		decided = append(decided, w.order)
		// It is the first that its trace waits with, if that is not forgotten. A trace that never ends would else keep every
		// order it had.
		if r := m.get(w.trace); r != nil && r.first == w {
			if r.first = w.next; w.next == nil {
				r.last = nil
			}
		}
	}
	return decided
}

// close returns what still waits: nothing that arrives later can decide it. From now on no order waits.
func (m *memory) close() (decided []order) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for len(m.queue) > 0 {
		decided = m.pop(decided)
	}
	return decided
}
