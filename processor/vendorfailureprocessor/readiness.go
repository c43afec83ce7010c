package vendorfailureprocessor

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// When it is told what has not been seen: after the first minutes, and again and again.
const (
	firstReport = 3 * time.Minute
	reportEvery = time.Hour
)

// maxPlaces is how many places are told that calls went to instead of the configured one.
const maxPlaces = 4

// role is what a span or record was taken as: the values of vendor.role.
type role uint8

const (
	roleOrder role = iota
	roleCall
	roleOther
	roleCount
)

var roleNames = [roleCount]string{"order", "call", "other"}

func (r role) String() string { return roleNames[r] }

// readiness tells whether the configuration fits the telemetry: what passes, and what of the configuration has not
// been seen in it. What has been seen holds even of a request that the next consumer refuses.
type readiness struct {
	logger  *zap.Logger
	records metric.Int64Counter
	options [signalCount][roleCount][]metric.AddOption
	passed  [signalCount][roleCount]atomic.Int64 // and not told yet
	ended   atomic.Bool                          // nobody tells from now on

	words         *words
	orders, calls [signalCount][]*subject // by index of endpoint and vendor; nil where none is to be expected
	unseen        [signalCount]atomic.Int32
	expected      [signalCount]atomic.Bool // an instance of this signal was started
	flows         [signalCount]atomic.Bool
	toldSilent    [signalCount]bool
	stopped       chan struct{}
}

// newReadiness lets all series of vendor.records begin at zero: what never matched is to be seen as a zero.
func newReadiness(logger *zap.Logger, telemetry *metadata.TelemetryBuilder, cfg *Config) *readiness {
	r := &readiness{logger: logger, records: telemetry.Records, words: newWords(cfg), stopped: make(chan struct{})}
	for s := range signalCount {
		for as := range roleCount {
			r.options[s][as] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(
				attribute.Stringer("vendor.signal", s),
				attribute.Stringer("vendor.role", as)))}
			r.records.Add(context.Background(), 0, r.options[s][as]...)
		}
		for i := range cfg.Orders {
			r.orders[s] = append(r.orders[s], newOrderSubject(s, i, &cfg.Orders[i]))
		}
		for i := range cfg.Vendors {
			r.calls[s] = append(r.calls[s], newCallSubject(s, i, &cfg.Vendors[i]))
		}
		for _, sub := range slices.Concat(r.orders[s], r.calls[s]) {
			if sub != nil {
				sub.unseen, sub.words = &r.unseen[s], r.words
				sub.unseen.Add(1)
			}
		}
	}
	return r
}

// records is how many spans or records a batch has.
type records struct {
	signal signal
	total  int
}

// count counts the records of a batch by what they were taken as. The SDK takes as long to count one as to judge a line,
// and a batch may well have but one, so it is told a few times a second.
func (r *readiness) count(b *batch) {
	if flows := &r.flows[b.records.signal]; b.records.total > 0 && !flows.Load() {
		flows.Store(true)
	}
	for as, n := range [roleCount]int{len(b.orders), len(b.calls), b.records.total - len(b.orders) - len(b.calls)} {
		if n > 0 {
			r.passed[b.records.signal][as].Add(int64(n))
		}
	}
	if r.ended.Load() {
		r.tell()
	}
}

// end tells the last, and lets what still comes be told as it comes.
func (r *readiness) end() {
	r.ended.Store(true)
	r.tell()
}

// tell tells the SDK what passed since the last time.
func (r *readiness) tell() {
	for s := range signalCount {
		for as := range roleCount {
			if n := r.passed[s][as].Swap(0); n > 0 {
				r.records.Add(context.Background(), n, r.options[s][as]...)
			}
		}
	}
}

// expect says that an instance of a signal was started: what is to be seen is to be seen in this signal as well.
func (r *readiness) expect(s signal) { r.expected[s].Store(true) }

// looks tells whether anything of this signal has not been seen yet. Once all has, a record costs no more than this.
func (r *readiness) looks(s signal) bool { return r.unseen[s].Load() > 0 }

// run reports what has not been seen, until all has or stop.
func (r *readiness) run(stop <-chan struct{}) {
	defer close(r.stopped)
	timer := time.NewTimer(firstReport)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if r.report() {
				return
			}
			timer.Reset(reportEvery)
		case <-stop:
			return
		}
	}
}

// report tells what has not been seen and the likeliest why. It returns whether all has been seen. A signal that does
// not flow is told once, for a shop may well have but one; where none flows, it is told each time.
func (r *readiness) report() (all bool) {
	all = true
	anyFlows := r.flows[traces].Load() || r.flows[logs].Load()
	for s := range signalCount {
		switch {
		case !r.expected[s].Load():
		case !r.flows[s].Load():
			all = false
			if !r.toldSilent[s] || !anyFlows {
				r.logger.Warn(fmt.Sprintf("no records at all: none of this signal reaches the processor; let the shop send its %[1]s to a receiver of the pipelines in service::pipelines that have the processor, or take it out of the %[1]s pipeline", s),
					zap.Stringer("vendor.signal", s), zap.String("cause", "no_records"))
				r.toldSilent[s] = true
			}
		default:
			all = all && !r.looks(s)
			for _, sub := range slices.Concat(r.orders[s], r.calls[s]) {
				if sub == nil {
					continue
				}
				if cause, why := sub.missing(); cause != "" {
					r.logger.Warn(why, sub.field, zap.Stringer("vendor.signal", s), zap.String("cause", cause))
				}
			}
		}
	}
	if all {
		r.logger.Info("every configured vendor and order endpoint has been seen in each signal")
	}
	return all
}

// sight is how near a span or record came to being what was looked for; of one subject the nearest is the last.
type sight uint32

const (
	sightNone sight = iota

	// Spans of calls.
	sightHost     // the vendor's host, at another port and another path
	sightHostPort // its host and port, and another path
	sightHostPath // its host and path, at another port

	// Lines of calls.
	sightLabel  // the vendor's label, on calls to another one
	sightSilent // a line that tells neither status, nor error, nor response

	// Orders.
	sightOtherPath    // a line with the label, and another path
	sightOtherRequest // a line with no path or "/", and not the request of an order
	sightRoot         // a line with no path or "/", and nothing to know an order by
	sightOtherMethod  // the path, and another method

	sightNoCondition // all that is looked for, and a condition that does not hold

	// Lines.
	sightCut       // cut off before what would have told
	sightNoStatus  // an order's line that tells neither status nor error
	sightTaken     // it is one, of a kind whose response is never looked at
	sightAnswerCut // it is one, but its response cannot be read

	sightSeen
)

// subject is an order endpoint or vendor that is to be seen in a signal.
type subject struct {
	field  zap.Field // that names it
	signal signal
	isCall bool
	key    string // of the configuration
	what   string // is looked for: the path of an order, the hosts of a vendor
	method string
	label  string
	unseen *atomic.Int32
	words  *words

	nearest atomic.Uint32 // a sight
	places  atomic.Pointer[places]
	mu      sync.Mutex // to write places
}

// places are where spans went instead of where they were looked for. They never change.
type places struct {
	of   sight
	list []place
}

// has tells whether a place of a sight needs no more be noted.
func (p *places) has(x sight, at *place) bool {
	return p != nil && (p.of > x || p.of == x && (len(p.list) == maxPlaces || slices.Contains(p.list, *at)))
}

// place is where the span of a call went: another port of a target's host, or another path.
type place struct {
	host     string // of the target; "" for a path
	wildcard bool
	port     uint16
	path     toldPath
}

// text writes a place; its path is in those words.
func (p *place) text(w *words) string {
	switch {
	case p.wildcard:
		return hostPort("*."+p.host, p.port)
	case p.host != "":
		return hostPort(p.host, p.port)
	}
	return w.text(p.path)
}

func newOrderSubject(s signal, index int, c *OrderConfig) *subject {
	sub := &subject{
		signal: s,
		key:    fmt.Sprintf("orders[%d]", index),
		what:   trimPath(c.Route),
		method: c.Method,
		label:  labelText(c.Logs.Attributes),
	}
	if len(c.Logs.Attributes) == 0 {
		sub.label = labelText(defaultOrderLogs)
	}
	sub.field = zap.String("endpoint", strings.TrimSpace(c.Method+" "+sub.what))
	return sub
}

func newCallSubject(s signal, index int, c *VendorConfig) *subject {
	if s == traces && len(c.Calls.URLs) == 0 || s == logs && len(c.Calls.Logs.Attributes) == 0 {
		return nil
	}
	return &subject{
		field:  zap.String(tagVendor, c.Name),
		signal: s,
		isCall: true,
		key:    fmt.Sprintf("vendors[%d].calls", index),
		what:   hostsText(c.Calls.URLs),
		label:  labelText(c.Calls.Logs.Attributes),
	}
}

// labelText writes attributes and their values as type=http|http-req.
func labelText(attributes map[string][]string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		texts = append(texts, name+"="+strings.Join(attributes[name], "|"))
	}
	return strings.Join(texts, ", ")
}

// hostsText writes the hosts of URLs. A path may hold a secret, as those of webhooks do.
func hostsText(urls []string) string {
	var texts []string
	for _, raw := range urls {
		t, err := parseTarget(raw)
		if err != nil {
			continue
		}
		at := place{host: t.host, wildcard: t.wildcard, port: t.port}
		if text := at.text(nil); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, ", ")
}

func hostPort(host string, port uint16) string {
	if port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// saw notes what a span or record came to. A subject that is not to be expected is nil and notes nothing.
func (s *subject) saw(x sight) {
	if s == nil {
		return
	}
	for nearest := s.nearest.Load(); nearest < uint32(x); nearest = s.nearest.Load() {
		if s.nearest.CompareAndSwap(nearest, uint32(x)) {
			if x == sightSeen {
				s.unseen.Add(-1)
			}
			return
		}
	}
}

// sawAt notes what the span of a call came to, and where it went.
func (s *subject) sawAt(x sight, at *place) {
	if s.places.Load().has(x, at) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.places.Load()
	if old.has(x, at) {
		return
	}
	now := &places{of: x, list: []place{*at}}
	if old != nil && old.of == x {
		now.list = slices.Concat(old.list, now.list)
	}
	s.places.Store(now)
	s.saw(x)
}

// isSeen tells whether nothing more is to be learned of a subject.
func (s *subject) isSeen() bool { return s == nil || sight(s.nearest.Load()) == sightSeen }

// noteOrderSpan notes what the request of a SERVER span is to the order endpoints.
func (w *watch) noteOrderSpan(r *requestSpan, x *asked) {
	for i := range w.endpoints {
		e, sub, came := &w.endpoints[i], w.readiness.orders[traces][i], sightOtherMethod
		if r.isRequestOf(e) {
			came = sightSeen
		}
		if sub.nearest.Load() < uint32(came) && r.isAt(e) {
			x.looks = true
			if came == sightSeen && !e.conditions.holdOf(x) {
				came = sightNoCondition
			}
			x.looks = false
			sub.saw(came)
		}
	}
}

// noteCallSpan notes what the request of a CLIENT span, taken as a call to one vendor or to none, is to the vendors.
func (w *watch) noteCallSpan(to address, taken int16) {
	if taken != noVendor {
		w.readiness.calls[traces][taken].saw(sightSeen)
	}
	if to.path == "" {
		to.path = to.rpc.path()
	}
	w.targets.at(to.host, func(t *target) {
		sub := w.readiness.calls[traces][t.vendor]
		if sub.isSeen() {
			return
		}
		x, at := sightHost, place{host: t.host, wildcard: t.wildcard, port: to.port}
		switch {
		case t.takes(to):
			if taken == noVendor {
				sub.saw(sightNoCondition)
			}
			return
		case t.hasPort(to):
			x, at = sightHostPort, place{path: w.readiness.words.told(to.path)}
		case t.hasPath(to):
			x = sightHostPath
		}
		if taken != noVendor {
			sub.saw(x) // where another vendor lives is no hint
			return
		}
		sub.sawAt(x, &at)
	})
}

// toldPath is what is told of a path: its first segments, as indices of words. It holds nothing of a request, and is small,
// for one is made of each request that nearly went to a vendor.
type toldPath [8]uint16

// The first words stand for no segment, and for one that is not told.
const (
	noWord = iota
	untold
)

// words are the segments of paths that can be told: those that the configuration has, unless they may be a key, and
// versions. What it has not may be a customer's name or number.
type words struct {
	list  []string
	index map[string]uint16
}

func newWords(cfg *Config) *words {
	w := &words{list: []string{noWord: "", untold: "…"}, index: map[string]uint16{}}
	for i := range cfg.Orders {
		w.addPath(cfg.Orders[i].Route)
	}
	for i := range cfg.Vendors {
		for _, raw := range cfg.Vendors[i].Calls.URLs {
			if t, err := parseTarget(raw); err == nil {
				w.addPath(t.path)
			}
		}
	}
	for version := range 10 {
		w.add("v" + strconv.Itoa(version))
	}
	return w
}

func (w *words) addPath(path string) {
	for segment := range strings.SplitSeq(path, "/") {
		if isWord(segment) {
			w.add(segment)
		}
	}
}

func (w *words) add(word string) {
	if _, ok := w.index[word]; !ok && len(w.list) <= math.MaxUint16 {
		w.index[word] = uint16(len(w.list))
		w.list = append(w.list, word)
	}
}

// told returns what can be told of a path: of those in a row that cannot, only that there are some.
func (w *words) told(path string) (t toldPath) {
	if path == "" || path == "/" {
		return t
	}
	path = strings.TrimPrefix(path, "/")
	for n, more := 0, true; more; {
		var segment string
		segment, path, more = strings.Cut(path, "/")
		word, ok := w.index[segment]
		if !ok {
			word = untold
		}
		switch {
		case n == len(t):
			t[n-1] = untold
			return t
		case n == 0 || word != untold || t[n-1] != untold:
			t[n] = word
			n++
		}
	}
	return t
}

// text writes what is told of a path.
func (w *words) text(t toldPath) string {
	var segments []string
	for _, word := range t {
		if word != noWord {
			segments = append(segments, w.list[word])
		}
	}
	return "/" + strings.Join(segments, "/")
}

// isWord tells whether a segment of the configuration's paths is a word: keys and tokens, as webhooks have them, are known
// by their digits, capitals or length.
func isWord(segment string) bool {
	return segment != "" && len(segment) <= 20 && !strings.ContainsFunc(segment, func(c rune) bool {
		return (c < 'a' || 'z' < c) && c != '-' && c != '_'
	})
}

// noteLine notes what a line with the label of these order endpoints and vendors is to them.
func (w *watch) noteLine(l *line, found *candidates) {
	l.asked.looks = true
	defer func() { l.asked.looks = false }()
	r := w.readiness
	for _, c := range found.endpoints {
		r.orders[logs][c.index].saw(sightOtherPath)
	}
	for _, c := range found.vendors {
		r.calls[logs][c.index].saw(sightLabel)
	}
	path, method := l.request()
	for _, c := range found.endpoints {
		e, sub := &w.endpoints[c.index], r.orders[logs][c.index]
		isOrder := l.isOrder(e, path, method)
		if !sub.isSeen() {
			if isOrder && !e.conditions.holdOf(l.asked) {
				sub.saw(sightNoCondition)
			} else if isOrder {
				sub.saw(w.sightOfOrder(l))
			} else {
				sub.saw(w.sightOfOther(l, e))
			}
		}
		if isOrder && e.conditions.holdOf(l.asked) {
			return
		}
	}
	v := w.calledBy(l, found.vendors)
	if v == noVendor {
		for _, c := range found.vendors {
			if !w.vendors[c.index].calls.holdOf(l.asked) {
				r.calls[logs][c.index].saw(sightNoCondition)
			}
		}
		return
	}
	if sub := r.calls[logs][v]; !sub.isSeen() {
		sub.saw(w.sightOfCall(l, v))
	}
}

// sightOfOrder tells what an order's line shows. Of one that was rejected the response is never looked at.
func (w *watch) sightOfOrder(l *line) sight {
	o, ok := w.judgeOrderLine(l)
	isWhole := l.isWhole(l.answer(w.endpoints))
	switch {
	case ok && !isWhole:
		return sightAnswerCut
	case ok && o.outcome == rejected:
		return sightTaken
	case ok:
		return sightSeen
	case isWhole:
		return sightNoStatus
	}
	return sightCut
}

// sightOfOther tells what a line shows that has the label of an endpoint's orders and is none.
func (w *watch) sightOfOther(l *line, e *endpoint) sight {
	path, method := l.request()
	if m := l.first(&methods); m.Exists() {
		method = m.String()
	}
	isRoot := path == "" || path == "/" && e.route != "/"
	switch {
	case !isRoot && !e.hasPath(path):
		return sightOtherPath
	case (isRoot || begins(e.method, method)) && !l.isWhole(l.answer(w.endpoints)):
		return sightCut
	case !isRoot:
		return sightOtherMethod
	case !e.hasMethod(method):
		return sightOtherPath
	case len(e.requestHas) == 0:
		return sightRoot
	}
	return sightOtherRequest
}

// begins tells whether a method is the beginning of another one, as one is that was cut off.
func begins(method, beginning string) bool {
	return len(beginning) < len(method) && strings.EqualFold(method[:len(beginning)], beginning)
}

// sightOfCall tells what a line shows that speaks of a vendor.
func (w *watch) sightOfCall(l *line, vendor int16) sight {
	_, ok := w.judgeCallLine(l, vendor)
	isWhole := l.isWhole(l.answer(w.endpoints))
	switch {
	case ok && isWhole:
		return sightSeen
	case ok:
		return sightAnswerCut
	case isWhole:
		return sightSilent
	}
	return sightCut
}

// missing returns why a subject has most likely not been seen, and what to do about it; "" where it has been.
func (s *subject) missing() (cause, why string) {
	nearest := sight(s.nearest.Load())
	switch nearest {
	case sightNone:
		switch {
		case s.signal == logs:
			return "no_label", fmt.Sprintf("no line has the label %s; set %s.logs.attributes to what the lines have", s.label, s.key)
		case s.isCall:
			return "no_host", fmt.Sprintf("no CLIENT span goes to %s; set %s.urls to where the calls go, and see that the client's requests are traced", s.what, s.key)
		}
		return "no_route", fmt.Sprintf("no SERVER span has the route or path %s; set %s.route to that of an order, and see that the server's requests are traced", s.what, s.key)
	case sightHost, sightHostPath:
		return "wrong_port", fmt.Sprintf("no CLIENT span goes to %s, but some go to another port of that host%s; set the port in %s.urls", s.what, s.seenAt(nearest), s.key)
	case sightHostPort:
		return "wrong_path", fmt.Sprintf("CLIENT spans go to %s, but to another path than %s.urls has%s; set the path there", s.what, s.key, s.seenAt(nearest))
	case sightLabel:
		return "no_url", fmt.Sprintf("lines with the label %s speak of other vendors that have it; give the lines of each vendor a label of its own and set %s.logs.attributes to it, or let the lines tell the URL that %s.urls has", s.label, s.key, s.key)
	case sightSilent:
		return "no_answer", fmt.Sprintf("lines with the label %s tell neither a status, nor an error, nor a response; set %s.logs.attributes to the label of those that do, or let the logger write one of them", s.label, s.key)
	case sightOtherPath:
		return "no_path", fmt.Sprintf("lines have the label %s, but none of them the path %s; set %s.route to the path that an order's line has, or let the logger write it", s.label, s.what, s.key)
	case sightOtherRequest:
		return "no_request_has", fmt.Sprintf("lines with the label %s have no path or \"/\", and none of their requests has what %s.logs.request_has names; set it to fields of an order's request, or let the logger write the whole path", s.label, s.key)
	case sightRoot:
		return "root_path", fmt.Sprintf("lines with the label %s have no path or \"/\", as loggers inside a router write it; set %s.logs.request_has to fields of an order's request, such as items, or let the logger write the whole path", s.label, s.key)
	case sightOtherMethod:
		return "no_method", fmt.Sprintf("requests to %s have been seen, but none with the method %s; set %s.method to that of an order, or leave it out for any", s.what, s.method, s.key)
	case sightNoCondition:
		return "no_condition", fmt.Sprintf("all that is looked for has been seen, but %s.conditions hold of none of it; mend the conditions", s.key)
	case sightNoStatus:
		return "no_status", fmt.Sprintf("lines that %s.logs finds have the path %s, but tell neither a status nor an error level; let the logger write the status, in a field such as statusCode", s.key, s.what)
	case sightCut, sightAnswerCut:
		return "unreadable", fmt.Sprintf("lines that %s.logs finds are cut off in the middle, so that their response cannot be read; let the logger, and what ships its lines, pass them whole", s.key)
	}
	return "", ""
}

// seenAt tells the places that were noted for a sight.
func (s *subject) seenAt(x sight) string {
	p := s.places.Load()
	if p == nil || p.of != x {
		return ""
	}
	var texts []string
	for i := range p.list {
		texts = append(texts, p.list[i].text(s.words))
	}
	return " (seen: " + strings.Join(texts, ", ") + ")"
}
