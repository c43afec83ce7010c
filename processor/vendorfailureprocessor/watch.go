package vendorfailureprocessor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// watch is what the traces and logs instances of one processor ID share: the compiled configuration, what is
// remembered of traces, and the metrics.
type watch struct {
	logger    *zap.Logger
	endpoints []endpoint
	methods   []string // of the endpoints, each once
	vendors   []vendor
	// validators are vendors that ask for all that any asks of the answer of an order which succeeded: of those that ask
	// the same, the first.
	validators []int16
	thrown     []string // the texts of all their rules for exceptions: most exceptions have none of them
	chaos      []string // the texts of all their rules that show chaos, "" among them where one asks for no text
	targets    targets
	labels     []label
	memory     *memory
	meters     *meters
	names      *vendorNames
	discovery  *discovery // nil: not asked for
	announcer  *announcer
	outages    *outages
	impact     impactPaths
	synthetic  syntheticOrders
	readiness  *readiness

	forgot, forgotCalls sync.Once
	stop                chan struct{}
	stopped             chan struct{}
}

func newWatch(set component.TelemetrySettings, cfg *Config) (*watch, error) {
	w := &watch{
		logger:    set.Logger,
		labels:    newLabels(cfg),
		memory:    newMemory(cfg.Settle, cfg.Limits.Traces),
		impact:    newImpactPaths(cfg.Impact),
		synthetic: newSyntheticOrders(cfg.Synthetic),
		names:     newVendorNames(cfg, set.Logger),
		stop:      make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	w.discovery = newDiscovery(cfg, w.names)
	var err error
	if w.meters, err = newMeters(set, cfg, w.names); err != nil {
		return nil, err
	}
	parsers, err := newConditionParsers(set, cfg.ErrorMode, w.meters.telemetry.ProcessorVendorFailureConditionErrors)
	if err != nil {
		return nil, err
	}
	for i, o := range cfg.Orders {
		e := newEndpoint(o)
		if e.conditions, err = parsers.parse(fmt.Sprintf("orders[%d]", i), o.Conditions); err != nil {
			return nil, err
		}
		w.endpoints = append(w.endpoints, e)
		if !slices.ContainsFunc(w.methods, func(m string) bool { return strings.EqualFold(m, e.method) }) {
			w.methods = append(w.methods, e.method)
		}
	}
	for i, c := range cfg.Vendors {
		v, err := newVendor(c, fmt.Sprintf("vendors[%d]", i), parsers)
		if err != nil {
			return nil, err
		}
		asksTheSame := func(i int16) bool { return slices.Equal(w.vendors[i].jwt, v.jwt) }
		if len(v.jwt) > 0 && !slices.ContainsFunc(w.validators, asksTheSame) {
			w.validators = append(w.validators, int16(i))
		}
		for _, r := range v.thrown {
			if !slices.Contains(w.thrown, r.contains) {
				w.thrown = append(w.thrown, r.contains)
			}
		}
		for _, r := range v.chaos {
			if !slices.Contains(w.chaos, r.contains) {
				w.chaos = append(w.chaos, r.contains)
			}
		}
		w.vendors = append(w.vendors, v)
	}
	if w.targets, err = newTargets(cfg.Vendors, w.vendors); err != nil {
		return nil, err
	}
	if w.announcer, err = newAnnouncer(set, w.meters.telemetry, cfg, w.names); err != nil {
		return nil, err
	}
	w.outages = w.announcer.outages
	w.readiness = newReadiness(set.Logger, w.meters.telemetry, cfg)
	return w, nil
}

// tellEvery is how often at least what has passed and what has waited is counted.
const tellEvery = 250 * time.Millisecond

// run counts what has passed, and orders that have waited for settle, until halt.
func (w *watch) run() {
	defer close(w.stopped)
	every := tellEvery
	if settle := w.memory.settle; settle > 0 {
		every = min(settle, every)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			w.readiness.tell()
			w.count(now, nil, w.memory.settledBy(now))
		case <-w.stop:
			return
		}
	}
}

// halt ends run and counts what still waits. It closes no outage: only later telemetry can.
func (w *watch) halt() error {
	close(w.stop)
	<-w.stopped
	<-w.readiness.stopped
	w.readiness.end()
	w.count(time.Now(), nil, w.memory.close())
	return w.announcer.close()
}

func (w *watch) count(now time.Time, calls []call, orders []order) {
	for i := range calls {
		w.meters.call(&calls[i])
	}
	for i := range orders {
		w.meters.order(&orders[i])
	}
	w.outages.take(now, calls, orders)
}

// sharing holds the watches in use, by the configuration of their processor ID: the Collector gives all instances of
// one ID the same. An instance takes part from Start to Shutdown, so what is created but never started, as `validate`
// does, leaves nothing behind.
type sharing struct {
	mu      sync.Mutex
	watches map[*Config]*sharedWatch
}

type sharedWatch struct {
	*watch
	users int
}

func (s *sharing) acquire(cfg *Config, set component.TelemetrySettings) (*watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared, ok := s.watches[cfg]
	if !ok {
		w, err := newWatch(set, cfg)
		if err != nil {
			return nil, err
		}
		go w.run()
		go w.readiness.run(w.stop)
		shared = &sharedWatch{watch: w}
		s.watches[cfg] = shared
	}
	shared.users++
	return shared.watch, nil
}

// release ends the watch when its last user is gone.
func (s *sharing) release(cfg *Config) error {
	s.mu.Lock()
	shared := s.watches[cfg]
	shared.users--
	last := shared.users == 0
	if last {
		delete(s.watches, cfg)
	}
	s.mu.Unlock()
	if last {
		return shared.halt()
	}
	return nil
}

// batch is what was found in one request. Nothing of it counts or is remembered before the next consumer has accepted
// the request.
type batch struct {
	calls     []call
	orders    []order
	failed    []failedOrder
	strangers []strangerSpan // calls to external hosts that are no vendor's so far
	evidence  map[pcommon.TraceID]*evidence
	records   records

	asked asked            // the record that is read
	room  [ordinary]member // for the members of its body; empty between records
}

// maxRoom is how many bytes of room for bodies a batch keeps.
const maxRoom = 1 << 20

// batches are kept for the next request: one that holds nothing of ours allocates nothing.
var batches = sync.Pool{New: func() any { return &batch{} }}

// done gives a batch back. It refers to nothing that a request held.
func (b *batch) done() {
	clear(b.failed)
	clear(b.strangers)
	clear(b.calls)
	clear(b.orders)
	clear(b.evidence)
	b.asked = asked{text: b.asked.text[:0], token: b.asked.token[:0]}
	if cap(b.asked.text) > maxRoom {
		b.asked.text = nil
	}
	if cap(b.asked.token) > maxRoom {
		b.asked.token = nil
	}
	b.failed, b.strangers, b.calls, b.orders = b.failed[:0], b.strangers[:0], b.calls[:0], b.orders[:0]
	batches.Put(b)
}

// of returns the evidence of a trace in this batch, to add to.
func (b *batch) of(id pcommon.TraceID) *evidence {
	if b.evidence == nil {
		b.evidence = map[pcommon.TraceID]*evidence{}
	}
	e, ok := b.evidence[id]
	if !ok {
		e = &evidence{}
		b.evidence[id] = e
	}
	return e
}

// addCall takes in a judged call.
func (b *batch) addCall(c call) {
	b.calls = append(b.calls, c)
	b.addEvidence(&c)
}

// addEvidence holds a failed call, or the chaos that an answer showed, against its vendor in the orders of its trace.
func (b *batch) addEvidence(c *call) {
	if (c.reason != reason.None || c.chaos) && !c.trace.IsEmpty() {
		b.of(c.trace).add(sign{fault: c.fault, signal: c.signal, isCall: true})
	}
}

// addSign takes in what an exception or an answer says of a trace.
func (b *batch) addSign(id pcommon.TraceID, s signal, f fault) {
	if !id.IsEmpty() {
		b.of(id).add(sign{fault: f, signal: s})
	}
}

// known returns all the evidence of a trace: of this batch and remembered.
func (w *watch) known(b *batch, id pcommon.TraceID) evidence {
	var e evidence
	if found, ok := b.evidence[id]; ok {
		e = slices.Clone(*found)
	}
	w.memory.recall(id, &e, w.names)
	return e
}

// commit counts and remembers a batch.
func (w *watch) commit(b *batch) {
	w.readiness.count(b)
	if len(b.calls) == 0 && len(b.orders) == 0 && len(b.evidence) == 0 && len(b.strangers) == 0 {
		return
	}
	now := time.Now()
	if w.discovery != nil {
		calls, forgotten := w.memory.meet(now, b, w.discovery, w.meters.caller)
		b.calls = append(b.calls, calls...)
		if forgotten > 0 {
			w.meters.telemetry.ProcessorVendorFailureForgottenCalls.Add(context.Background(), int64(forgotten))
			w.forgotCalls.Do(func() {
				w.logger.Warn("calls to external hosts are forgotten: a trace in which no order was seen has so many; should its order still come, they are not counted",
					zap.Int("calls", maxStrangers))
			})
		}
	}
	decided, forgotten := w.memory.learn(now, b.evidence, b.orders)
	w.count(now, b.calls, decided)
	if forgotten > 0 {
		w.meters.telemetry.ProcessorVendorFailureForgottenTraces.Add(context.Background(), int64(forgotten))
		w.forgot.Do(func() {
			w.logger.Warn("limits.traces is reached: traces are forgotten before settle is over, and orders whose vendor call comes in a later request may be counted as own_failure",
				zap.Int("limits.traces", 2*w.memory.half))
		})
	}
}
