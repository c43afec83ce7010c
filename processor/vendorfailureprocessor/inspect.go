package vendorfailureprocessor

import (
	"slices"
	"strings"
	"unique"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// The tags. Nothing else is written.
const (
	tagVendor = "vendor.name"
	tagReason = "vendor.failure.reason"
	tagChaos  = "vendor.failure.chaos"
)

// failedOrder is an order of a batch that failed: it is judged when the whole batch has been read, for its vendor's
// call may be listed after it.
type failedOrder struct {
	index      int // in batch.orders
	attributes pcommon.Map
}

// inspectTraces finds the orders and vendor calls among spans and tags those that a vendor broke. Its only error is that
// of a condition, where error_mode is propagate.
func (w *watch) inspectTraces(td ptrace.Traces, b *batch) error {
	x := asked{signal: traces}
	resources := td.ResourceSpans()
	for i := range resources.Len() {
		x.resourceSpans = resources.At(i)
		service := service{resource: x.resourceSpans.Resource()}
		scopes := x.resourceSpans.ScopeSpans()
		for j := range scopes.Len() {
			x.scopeSpans = scopes.At(j)
			spans := x.scopeSpans.Spans()
			for k := range spans.Len() {
				x.span = spans.At(k)
				switch x.span.Kind() {
				case ptrace.SpanKindServer:
					w.inspectServer(&x, &service, b)
				case ptrace.SpanKindClient:
					w.inspectClient(&x, &service, b)
					// An exception here speaks of the other side, and that is judged by the call alone.
					continue
				}
				if x.span.Events().Len() > 0 {
					w.readExceptions(&x, b)
				}
			}
		}
	}
	w.judge(b)
	b.records = records{signal: traces, total: td.SpanCount()}
	return x.err
}

// inspectServer takes in a SERVER span that is an order.
func (w *watch) inspectServer(x *asked, from *service, b *batch) {
	span, looks := x.span, w.readiness.looks(traces)
	if !looks && !hasMethodOf(w.methods, span.Attributes()) {
		return
	}
	r := readRequest(span.Attributes())
	if looks {
		w.noteOrderSpan(&r, x)
	}
	if !r.isOrder(w.endpoints, x) {
		return
	}
	o := order{outcome: r.outcome(span), signal: traces, caller: from.caller(w), trace: span.TraceID(), span: span.SpanID()}
	o.at = span.EndTimestamp()
	w.readImpact(&o, telling{attributes: span.Attributes()}, from.resource)
	if o.outcome == ownFailure {
		b.failed = append(b.failed, failedOrder{index: len(b.orders), attributes: span.Attributes()})
	}
	b.orders = append(b.orders, o)
}

// inspectClient takes in a CLIENT span that is a call to a vendor, and tags it if it failed.
func (w *watch) inspectClient(x *asked, from *service, b *batch) {
	span := x.span
	url, isNamed, isStore := glance(span.Attributes())
	if isStore && url == "" {
		return
	}
	if isNamed {
		if c, ok := w.testStep(span); ok {
			c.caller = from.caller(w)
			b.calls = append(b.calls, c)
			return
		}
	}
	if url != "" && x.elsewhere.has(url) {
		return
	}
	to, ok := addressOf(span.Attributes(), url)
	if !ok {
		return
	}
	v, near := w.targets.find(to, x)
	looks := near != atNone && w.readiness.looks(traces)
	if looks {
		w.noteCallSpan(to, v)
	}
	if v == noVendor && (w.discovery == nil || near != atNone) {
		if to.origin > 0 && near != atOrigin && !looks {
			x.elsewhere.add(url[:to.origin])
		}
		return
	}
	if _, ok := span.Attributes().Get(tagStep); ok {
		return // of a test order's: it speaks for no vendor, whomever it asked
	}
	r := readRequest(span.Attributes())
	var name unique.Handle[string]
	if v == noVendor {
		if name, ok = w.discovery.nameOf(to, &r); !ok {
			return
		}
	}
	c := w.judgeCallSpan(x, &r, v)
	if kind, ok := span.Attributes().Get(tagSynthetic); ok {
		c.synthetic = syntheticOf(stringOf(kind))
	}
	if c.reason != reason.None {
		w.impact.readUser(&c.impact, telling{attributes: span.Attributes()})
	}
	if v == noVendor {
		s := stranger{call: c, name: name, service: unique.Make(attributeText(serviceName(from.resource, "")))}
		b.strangers = append(b.strangers, strangerSpan{s, span.Attributes()})
		return
	}
	c.caller = from.caller(w)
	if c.reason == reason.Slow { // what it was answered, only lines can tell
		c.chaos = c.chaos || w.known(b, c.trace).showsChaosBy(logs, v)
	}
	b.addCall(c)
	if c.reason != reason.None {
		w.tag(span.Attributes(), c.fault)
	}
}

// recognise takes in those strangers of a batch that were made for an order, as far as is known, as calls to vendors.
func (w *watch) recognise(b *batch) {
	orders := make(map[pcommon.TraceID]bool, len(b.orders))
	for i := range b.orders {
		orders[b.orders[i].trace] = true
	}
	b.strangers = slices.DeleteFunc(b.strangers, func(s strangerSpan) bool {
		if !s.trace.IsEmpty() && (orders[s.trace] || w.memory.isOrder(s.trace)) {
			s.vendor, s.caller = w.names.discover(s.name.Value()), w.meters.caller(s.service.Value())
			b.addCall(s.call)
			if s.reason != reason.None {
				w.tag(s.attributes, s.fault)
			}
			return true
		}
		return false
	})
}

// service is the service that a resource's spans observe, looked up when it is first asked for.
type service struct {
	resource pcommon.Resource
	index    caller
	known    bool
}

func (s *service) caller(w *watch) caller {
	if !s.known {
		s.index, s.known = w.caller(s.resource, ""), true
	}
	return s.index
}

// caller returns the observed service: the resource's service.name, else the label of a record.
func (w *watch) caller(resource pcommon.Resource, label string) caller {
	return w.meters.caller(serviceName(resource, label))
}

func serviceName(resource pcommon.Resource, label string) string {
	if v, ok := resource.Attributes().Get("service.name"); ok && v.Str() != "" {
		return v.Str()
	}
	return label
}

// vendor returns what the configuration says of a vendor: nothing of one that was discovered.
func (w *watch) vendor(index int16) *vendor {
	if index < 0 || int(index) >= len(w.vendors) {
		return &discovered
	}
	return &w.vendors[index]
}

var discovered vendor

// judgeCallSpan judges the call to a vendor that a CLIENT span tells of.
func (w *watch) judgeCallSpan(x *asked, r *requestSpan, index int16) call {
	span, v := x.span, w.vendor(index)
	c := call{
		fault:    fault{at: span.EndTimestamp(), vendor: index, reason: r.failure(span, v.slowAfter)},
		signal:   traces,
		trace:    span.TraceID(),
		span:     span.SpanID(),
		duration: durationOf(span),
	}
	throws := func(text string) bool { return throws(span, text) }
	switch {
	case c.reason == reason.None || c.reason == reason.Slow:
		c.chaos = v.chaos.find(r.status, throws, x).chaos
	case len(v.responses) > 0:
		f := v.responses.find(r.status, throws, x)
		c.chaos = f.chaos
		if f.reason != reason.None {
			c.reason = f.reason
		}
	}
	return c
}

// readExceptions holds the vendors' rules against the messages of a span's exceptions.
func (w *watch) readExceptions(x *asked, b *batch) {
	var room [4]string
	messages := room[:0]
	for _, message := range exceptions(x.span) {
		messages = append(messages, message)
	}
	contains := func(text string) bool {
		return slices.ContainsFunc(messages, func(message string) bool { return strings.Contains(message, text) })
	}
	if len(messages) == 0 || !slices.ContainsFunc(w.thrown, contains) {
		return
	}
	thrown := func(v *vendor) ruleSet { return v.thrown }
	if f, ok := w.saidOf(thrown, contains, x.span.EndTimestamp(), x); ok {
		b.addSign(x.span.TraceID(), traces, f.orError())
	}
}

// saidOf returns the fault of the first vendor of which a failed answer speaks. Its reason is reason.None where no rule
// sets one.
func (w *watch) saidOf(of func(*vendor) ruleSet, contains func(string) bool, at pcommon.Timestamp, x *asked) (fault, bool) {
	for i := range w.vendors {
		if f := of(&w.vendors[i]).find(0, contains, x); f.holds {
			return fault{at: at, vendor: int16(i), reason: f.reason, chaos: f.chaos}, true
		}
	}
	return fault{}, false
}

// orError returns the fault with reason error where nothing told more.
func (f fault) orError() fault {
	if f.reason == reason.None {
		f.reason = reason.Error
	}
	return f
}

// inspectLogs does for log records what inspectTraces does for spans.
func (w *watch) inspectLogs(ld plog.Logs, b *batch) error {
	x := &b.asked
	x.signal = logs
	resources := ld.ResourceLogs()
	for i := range resources.Len() {
		x.resourceLogs = resources.At(i)
		scopes := x.resourceLogs.ScopeLogs()
		for j := range scopes.Len() {
			x.scopeLogs = scopes.At(j)
			records := x.scopeLogs.LogRecords()
			for k := range records.Len() {
				x.record = records.At(k)
				w.inspectRecord(x, b)
			}
		}
	}
	w.judge(b)
	b.records = records{signal: logs, total: ld.LogRecordCount()}
	return x.err
}

func (w *watch) inspectRecord(x *asked, b *batch) {
	for i := range w.labels {
		found := w.labels[i].match(x.record, x.resourceLogs.Resource())
		if found == nil {
			continue
		}
		l := readLine(x, b.room[:0])
		isOurs := w.inspectLine(&l, found, x, b)
		clear(b.room[:min(len(l.members), ordinary)])
		if isOurs {
			return
		}
	}
}

// inspectLine tells whether a line is an order's or a call's, and takes it in.
func (w *watch) inspectLine(l *line, found *candidates, x *asked, b *batch) bool {
	attributes, resource := x.record.Attributes(), x.resourceLogs.Resource()
	if w.readiness.looks(logs) {
		w.noteLine(l, found)
	}
	path, method := "", ""
	if len(found.endpoints) > 0 {
		path, method = l.request()
	}
	for _, c := range found.endpoints {
		if e := &w.endpoints[c.index]; !l.isOrder(e, path, method) || !e.conditions.holdOf(x) {
			continue
		}
		if o, ok := w.judgeOrderLine(l); ok {
			o.caller = w.caller(resource, l.service())
			o.at = l.at()
			w.readImpact(&o, telling{attributes: attributes, line: l}, resource)
			if o.outcome == ownFailure || o.outcome == vendorFailure {
				b.failed = append(b.failed, failedOrder{index: len(b.orders), attributes: attributes})
			}
			if o.outcome == success && o.chaos {
				b.addSign(o.trace, logs, o.fault)
			}
			b.orders = append(b.orders, o)
		}
		return true
	}
	v := w.calledBy(l, found.vendors)
	if v == noVendor {
		return false
	}
	if c, ok := w.judgeCallLine(l, v); ok {
		c.caller = w.caller(resource, l.service())
		from := telling{attributes: attributes, line: l}
		c.synthetic = w.synthetic.of(from, resource.Attributes())
		if c.reason != reason.None {
			w.impact.readUser(&c.impact, from)
		}
		b.addCall(c)
		if c.reason != reason.None {
			w.tag(attributes, c.fault)
		}
	}
	return true
}

// readImpact reads what an order was worth, whose it was where it failed, and whether anybody waits for it.
func (w *watch) readImpact(o *order, from telling, resource pcommon.Resource) {
	o.unreadable = !w.impact.readValue(&o.impact, from)
	if o.outcome == ownFailure || o.outcome == vendorFailure {
		w.impact.readUser(&o.impact, from)
	}
	o.synthetic = w.synthetic.of(from, resource.Attributes())
}

// calledBy returns the vendor that a call's line speaks of, or noVendor: where several have the same label, the one that
// lives where the line says that the call went. A wrong one would be worse than none.
func (w *watch) calledBy(l *line, candidates []candidate) int16 {
	found := int16(noVendor)
	for _, c := range candidates {
		if !w.vendors[c.index].calls.holdOf(l.asked) {
			continue
		}
		if found != noVendor {
			return w.calledAt(l, candidates)
		}
		found = c.index
	}
	return found
}

// calledAt returns the candidate that lives where a line says that its call went, or noVendor.
func (w *watch) calledAt(l *line, candidates []candidate) int16 {
	to, ok := l.address()
	if !ok {
		return noVendor
	}
	v, _ := w.targets.find(to, l.asked)
	if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.index == v }) {
		return noVendor
	}
	return v
}

// judgeOrderLine judges an order by its own line. One that failed and says nothing of a vendor is an ownFailure so
// far; one that blames a vendor but tells no reason has none yet. A line without a status and with no error says
// nothing of how the order ended.
func (w *watch) judgeOrderLine(l *line) (order, bool) {
	o := order{signal: logs, trace: l.record.TraceID(), span: l.record.SpanID()}
	status := l.status()
	switch {
	case status >= 500, status == 0 && l.isError():
		o.outcome = ownFailure
		if answer := l.answer(w.endpoints); answer.Exists() {
			if f, ok := w.saidOf(func(v *vendor) ruleSet { return v.responses }, func(text string) bool { return contains(answer, text) }, l.at(), l.asked); ok {
				o.outcome, o.fault = vendorFailure, f
			}
		}
	case status >= 400:
		o.outcome = rejected
	case status > 0:
		answer := l.answer(w.endpoints)
		isBroken := func(validator int16) bool { return !w.vendors[validator].isValid(answer, l.asked) }
		if slices.ContainsFunc(w.validators, isBroken) && l.isWhole(answer) {
			o.outcome = vendorFailure
			o.fault, o.suspects = w.brokenBy(l, answer)
		} else {
			o.fault = w.chaosOf(l, answer)
		}
	default:
		return order{}, false
	}
	return o, true
}

// brokenBy returns the fault of the first vendor by which the answer of an order that succeeded may be broken; where there
// are several, those of all.
func (w *watch) brokenBy(l *line, answer gjson.Result) (first fault, suspects *[]fault) {
	for i := range w.vendors {
		v := &w.vendors[i]
		if v.isValid(answer, l.asked) {
			continue
		}
		said := v.responses.find(0, func(text string) bool { return contains(answer, text) }, l.asked)
		f := fault{at: l.at(), vendor: int16(i), reason: reason.BadResponse, chaos: said.chaos}
		if first.reason == reason.None {
			first = f
			continue
		}
		if suspects == nil {
			suspects = &[]fault{first}
		}
		*suspects = append(*suspects, f)
	}
	return first, suspects
}

// chaosOf returns the chaos of a vendor that the answer of an order shows which succeeded. Where it may be that of several
// it tells nothing.
func (w *watch) chaosOf(l *line, answer gjson.Result) (f fault) {
	says := func(text string) bool { return contains(answer, text) }
	if !slices.ContainsFunc(w.chaos, says) {
		return fault{}
	}
	for i := range w.vendors {
		if !w.vendors[i].chaos.find(0, says, l.asked).chaos {
			continue
		}
		if f.chaos {
			return fault{}
		}
		f = fault{at: l.at(), vendor: int16(i), chaos: true}
	}
	return f
}

// judgeCallLine judges the call to a vendor that a line records. A line with neither status nor error nor response
// says nothing: it may be the request's own.
func (w *watch) judgeCallLine(l *line, index int16) (call, bool) {
	v := &w.vendors[index]
	status, answer := l.status(), l.answer(w.endpoints)
	isError := status < 400 && l.isError()
	if status == 0 && !isError && !answer.Exists() {
		return call{}, false
	}
	c := call{
		fault:    fault{at: l.at(), vendor: index, reason: reason.OfStatus(status)},
		signal:   logs,
		trace:    l.record.TraceID(),
		span:     l.record.SpanID(),
		duration: -1,
	}
	says := func(text string) bool { return contains(answer, text) }
	answered := true
	switch {
	case c.reason != reason.None:
	case isError:
		c.reason = reasonOfErrorLine(l, status, answer)
	case !v.isValid(answer, l.asked) && l.isWhole(answer):
		c.reason, answered = reason.BadResponse, false
	default:
		c.chaos = v.chaos.find(status, says, l.asked).chaos
		return c, true
	}
	f := v.responses.find(status, says, l.asked)
	c.chaos = f.chaos
	// Of an answer that came as a success the rules tell no reason.
	if answered && f.reason != reason.None {
		c.reason = f.reason
	}
	return c, true
}

// reasonOfErrorLine returns why a call failed whose line is an error and tells no status that is one.
func reasonOfErrorLine(l *line, status int, answer gjson.Result) reason.Reason {
	if status == 0 && !answer.Exists() {
		why := reason.Error
		for i := range errorNames {
			switch reason.OfClientError(textOf(l.field(errorNames[i : i+1]))) {
			case reason.Timeout:
				return reason.Timeout
			case reason.Unreachable:
				why = reason.Unreachable
			}
		}
		return why
	}
	return reason.Error
}

// judge decides, as far as it is known, who is to blame for the failed orders of a batch, and tags them.
func (w *watch) judge(b *batch) {
	if len(b.strangers) > 0 {
		w.recognise(b)
	}
	b.markSynthetic()
	for _, f := range b.failed { // what their own answers say, speaks for the other orders of their traces too
		if o := &b.orders[f.index]; o.outcome == vendorFailure {
			if o.suspects != nil {
				e := w.known(b, o.trace)
				o.waits = !o.trace.IsEmpty()
				*o = o.settled(&e)
			}
			b.addSign(o.trace, logs, o.orError())
		}
	}
	for _, f := range b.failed {
		o := &b.orders[f.index]
		e := w.known(b, o.trace)
		switch o.outcome {
		case ownFailure:
			o.waits = !o.trace.IsEmpty()
			*o = o.settled(&e)
		case vendorFailure: // its own answer says so; where that tells no reason, the call does
			if o.reason == reason.None {
				o.reason = e.callReason(o.vendor, o.signal)
			}
			o.fault = o.orError()
			o.chaos = o.chaos || e.showsChaos(o.vendor)
		}
		if o.outcome == vendorFailure {
			w.tag(f.attributes, o.fault)
		}
	}
}

// tag writes the tags of a failure. Nothing that is there is overwritten: what bears a vendor's name already was judged
// before, and keeps what it was given then.
func (w *watch) tag(attributes pcommon.Map, f fault) {
	if _, ok := attributes.Get(tagVendor); ok {
		return
	}
	attributes.EnsureCapacity(attributes.Len() + 3)
	attributes.PutStr(tagVendor, w.names.of(f.vendor))
	if _, ok := attributes.Get(tagReason); !ok {
		attributes.PutStr(tagReason, f.reason.String())
	}
	if _, ok := attributes.Get(tagChaos); !ok && f.chaos {
		attributes.PutBool(tagChaos, true)
	}
}
