package vendorfailureprocessor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// sighting is one span or one line of a made-up shop, in few words: what the model reads, and what the processor's
// telemetry is made of.
type sighting struct {
	kind      sightingKind
	trace     int // 0: a line without trace id
	service   string
	vendor    int           // of a call
	at        time.Duration // end of a span, time of a line
	took      time.Duration // of a span
	status    int           // 0: none was answered
	errorType string        // of a call without an answer
	resend    int           // http.request.resend_count
	says      string        // exception message on a span, response in a line
	token     string        // of the response in a line, under the vendor's name
	level     string        // of a line
	url       string        // of a call to somebody else
	attrs     bool          // a line has its fields as attributes, not in a JSON body
}

type sightingKind int

const (
	orderSpans sightingKind = iota
	callSpans
	handlerSpans   // spans of ours within an order
	elsewhereSpans // CLIENT spans to hosts or paths that are no vendor's
	orderLines
	callLines
	otherLines
)

func (k sightingKind) signal() string {
	if k >= orderLines {
		return "logs"
	}
	return "traces"
}

func (t sighting) String() string {
	words := []string{[]string{"order span", "call span", "handler span", "span elsewhere", "order line", "call line", "other line"}[t.kind]}
	word := func(format string, v any, is bool) {
		if is {
			words = append(words, fmt.Sprintf(format, v))
		}
	}
	word("of trace %d", t.trace, true)
	word("by %s", t.service, true)
	word("to vendor %d", t.vendor, t.kind == callSpans || t.kind == callLines)
	word("to %s", t.url, t.url != "")
	word("at %s", t.at, true)
	word("took %s", t.took, t.took > 0)
	word("status %d", t.status, t.status > 0)
	word("error.type %s", t.errorType, t.errorType != "")
	word("resent %d", t.resend, t.resend > 0)
	word("says %q", t.says, t.says != "")
	word("with a good token%.0s", t.token, t.token == goodJWT)
	word("with a broken token%.0s", t.token, t.token == brokenJWT)
	word("level %s", t.level, t.level != "")
	return strings.Join(words, " ")
}

// delivery is one export request: sightings of one signal, by number, after a pause.
type delivery struct {
	after time.Duration
	what  []int
}

// blamed is what a failed call or a blamed order is tagged with.
type blamed struct {
	vendor string
	why    string
	chaos  bool
}

func (b blamed) String() string {
	if b.chaos {
		return b.vendor + "/" + b.why + "/chaos"
	}
	return strings.TrimSuffix(b.vendor+"/"+b.why, "/")
}

// attribution is the contract's text on calls, orders, blame and reasons, word for word: it keeps every sighting of a
// trace and looks at all of them anew each time.
type attribution struct {
	cfg    *Config
	known  map[int][]sighting  // by trace
	said   map[sighting]saying // of the lines of orders that are known
	waits  []waiting
	calls  []sighting // to hosts that will be vendors when an order is seen in their traces
	counts map[string]int
	tags   map[int]blamed // by the number of the sighting; absent where nothing may be written
}

// saying is what the line of an order said of a vendor when it came: what comes later of its order's own blame does not
// change what others were told.
type saying struct {
	blamed
	ok bool
}

type waiting struct {
	order   sighting
	outcome string // if nothing more is told
	blames  blamed
	until   time.Duration
}

// attributed returns what is counted, and what is tagged, of sightings that are delivered so.
func attributed(cfg *Config, all []sighting, how []delivery) (counts map[string]int, tags map[int]blamed) {
	m := &attribution{cfg: cfg, known: map[int][]sighting{}, said: map[sighting]saying{}, counts: map[string]int{}, tags: map[int]blamed{}}
	now := time.Duration(0)
	for _, d := range how {
		now += d.after
		m.settle(now)
		for _, i := range d.what {
			m.learn(all[i])
		}
		for _, i := range d.what {
			if all[i].kind == orderLines {
				b, ok := m.own(all[i])
				m.said[all[i]] = saying{b, ok}
			}
		}
		for _, i := range d.what {
			m.judge(i, all[i], now)
		}
		m.decide()
	}
	counted := m.counts
	m.counts = map[string]int{}
	m.settle(1 << 62) // Shutdown counts what still waits.
	return byShutdown(counted, m.counts), m.tags
}

// byShutdown puts together what was counted before Shutdown and by it.
func byShutdown(before, by map[string]int) map[string]int {
	all := maps.Clone(before)
	for key, n := range by {
		all[key+",by Shutdown"] = n
	}
	return all
}

// learn keeps what is told of a trace. Calls join orders by trace id, never by parent id.
func (m *attribution) learn(t sighting) {
	if t.trace != 0 {
		m.known[t.trace] = append(m.known[t.trace], t)
	}
}

// settle counts the orders that have waited long enough: they are ours, or the first suspect's.
func (m *attribution) settle(now time.Duration) {
	m.waits = slices.DeleteFunc(m.waits, func(w waiting) bool {
		if w.until <= now {
			m.count(w.order, w.outcome, w.blames)
			return true
		}
		return false
	})
}

// decide counts the waiting orders of which it is known by now that a vendor is to blame, and the calls of which it is
// known by now that an order made them.
func (m *attribution) decide() {
	m.calls = slices.DeleteFunc(m.calls, func(t sighting) bool {
		isOrders := m.isOrder(t.trace)
		if isOrders {
			m.countCall(t)
		}
		return isOrders
	})
	m.waits = slices.DeleteFunc(m.waits, func(w waiting) bool {
		b, ok := m.blame(w.order)
		if ok = ok && m.isSure(w.order); ok {
			m.count(w.order, "vendor_failure", b)
		}
		return ok
	})
}

func (m *attribution) judge(i int, t sighting, now time.Duration) {
	role := "other"
	switch t.kind {
	case callSpans, callLines, elsewhereSpans:
		b, counts := m.call(t)
		if !counts {
			break
		}
		if t.kind == elsewhereSpans && !m.isOrder(t.trace) {
			m.calls = append(m.calls, t)
			break
		}
		role = "call"
		m.countCall(t)
		if b.why != "" {
			m.tags[i] = b
		}
	case orderSpans, orderLines:
		role = "order"
		switch b, ok := m.blame(t); {
		case ok && t.trace != 0 && !m.isSure(t):
			m.tags[i] = b
			m.waits = append(m.waits, waiting{t, "vendor_failure", b, now + m.cfg.Settle})
		case ok:
			m.tags[i] = b
			m.count(t, "vendor_failure", b)
		case t.status >= 500 && t.trace != 0:
			m.waits = append(m.waits, waiting{t, "own_failure", blamed{}, now + m.cfg.Settle})
		case t.status >= 500:
			m.count(t, "own_failure", blamed{})
		case t.status >= 400:
			m.count(t, "rejected", blamed{})
		default:
			m.count(t, "success", blamed{})
		}
	}
	m.counts[fmt.Sprintf("vendor.records vendor.role=%s,vendor.signal=%s", role, t.kind.signal())]++
}

// isOrder tells whether an order has been seen in a trace.
func (m *attribution) isOrder(trace int) bool {
	return slices.ContainsFunc(m.known[trace], func(k sighting) bool { return k.kind == orderSpans || k.kind == orderLines })
}

// discovered returns the name under which the host of a call to somebody else is a vendor: where discover is given, any
// other external host is.
func (m *attribution) discovered(t sighting) (name string, ok bool) {
	to, err := url.Parse(t.url)
	if err != nil || m.cfg.Discover == nil || to.Hostname() == "127.0.0.1" || to.Hostname() == "10.0.0.7" || slices.Contains(m.cfg.Discover.Exclude, to.Hostname()) {
		return "", false
	}
	for _, v := range m.cfg.Vendors {
		if u, err := url.Parse(v.Calls.URLs[0]); err != nil || u.Hostname() == to.Hostname() {
			return "", false
		}
	}
	return to.Hostname(), true
}

func (m *attribution) countCall(t sighting) {
	b, _ := m.call(t)
	outcome := "success"
	if b.why != "" {
		outcome = "failure"
	}
	b.vendor, _ = m.discovered(t)
	if t.kind != elsewhereSpans {
		b.vendor = m.cfg.Vendors[t.vendor].Name
	}
	m.add("vendor.calls", t, outcome, b)
	if t.kind != callLines {
		m.add("vendor.call.duration", t, outcome, blamed{vendor: b.vendor})
	}
}

// count counts an order. On outcomes that no vendor is to blame for it names the vendor if there can be one only.
func (m *attribution) count(t sighting, outcome string, b blamed) {
	if outcome != "vendor_failure" && len(m.cfg.Vendors) == 1 && m.cfg.Discover == nil {
		b.vendor = m.cfg.Vendors[0].Name
	}
	m.add("vendor.orders", t, outcome, b)
}

func (m *attribution) add(metric string, t sighting, outcome string, b blamed) {
	key := metric + " vendor.caller=" + t.service
	if b.why != "" {
		key += ",vendor.failure.reason=" + b.why
	}
	if b.vendor != "" {
		key += ",vendor.name=" + b.vendor
	}
	m.counts[key+",vendor.outcome="+outcome+",vendor.signal="+t.kind.signal()]++
}

// call tells why a call failed and whether its answer shows chaos; why is "" where it succeeded, and counts is false where
// its line says nothing.
func (m *attribution) call(t sighting) (b blamed, counts bool) {
	if b, counts = m.failed(t); !counts || t.kind == elsewhereSpans {
		return b, counts
	}
	_, _, b.chaos = rules(m.cfg.Vendors[t.vendor], t.status, t.says)
	if b.why == "slow" { // its answer came as a success: lines tell what it said
		for _, k := range m.known[t.trace] {
			if k.kind.signal() == "logs" {
				shown, ok := m.shown(k)
				b.chaos = b.chaos || ok && shown.vendor == b.vendor
			}
		}
	}
	return b, true
}

// failed tells why a call failed.
func (m *attribution) failed(t sighting) (b blamed, counts bool) {
	if t.kind == elsewhereSpans {
		b.vendor, counts = m.discovered(t)
		if b.why = byStatus(t.status); b.why == "" {
			b.vendor = ""
		}
		return b, counts
	}
	v := m.cfg.Vendors[t.vendor]
	b.vendor = v.Name
	broken := t.token == brokenJWT && len(v.ValidResponse.JWT) > 0
	switch failed := t.status >= 400 || t.errorType != "" || t.level == "error"; {
	case t.kind == callLines && !failed && t.status == 0 && t.says == "" && t.token == "":
		return blamed{}, false
	case failed:
		b.why = "error"
		switch why := byStatus(t.status); {
		case why != "":
			b.why = why
		case t.errorType == "ETIMEDOUT":
			b.why = "timeout"
		case t.errorType == "ECONNREFUSED":
			b.why = "unreachable"
		}
		if _, why, _ := rules(v, t.status, t.says); why != "" {
			b.why = why
		}
	case broken:
		b.why = "bad_response"
	case t.kind == callSpans && v.SlowAfter > 0 && t.took > v.SlowAfter:
		b.why = "slow"
	}
	return b, true
}

// shown is the vendor whose chaos a line or span of it shows: what failed as well as what came as a success. The line of an
// order that succeeded may speak of several, and then tells nothing.
func (m *attribution) shown(t sighting) (b blamed, ok bool) {
	switch t.kind {
	case callSpans, callLines, elsewhereSpans:
		b, _ = m.call(t)
	case handlerSpans, orderSpans:
		b, _ = m.saying(t.says)
	case orderLines:
		if b = m.said[t].blamed; !m.said[t].ok && t.status < 400 {
			var of []blamed
			for _, v := range m.cfg.Vendors {
				if _, _, chaos := rules(v, 0, t.says); chaos {
					of = append(of, blamed{v.Name, "", true})
				}
			}
			if len(of) == 1 {
				b = of[0]
			}
		}
	}
	return b, b.chaos
}

// byStatus is the table of reasons, its column for HTTP.
func byStatus(status int) string {
	switch {
	case status < 400:
		return ""
	case status == 408 || status == 504:
		return "timeout"
	case status == 429:
		return "throttled"
	case status == 401 || status == 403:
		return "unauthorized"
	case status < 500:
		return "rejected"
	}
	return "error"
}

// rules holds an answer against a vendor's responses: whether one says that the vendor is to blame, the reason of the
// first that sets one, and whether one says chaos.
func rules(v VendorConfig, status int, text string) (blames bool, why string, chaos bool) {
	for _, r := range v.Responses {
		if r.Status != 0 && r.Status != status || r.Contains != "" && !strings.Contains(text, r.Contains) {
			continue
		}
		blames = true
		why = cmp.Or(why, r.Reason)
		chaos = chaos || r.Chaos
	}
	return blames, why, chaos
}

// saying is what a text blames: the first vendor of the configuration of which a rule holds. A text of ours has no
// status of the vendor's.
func (m *attribution) saying(text string) (b blamed, ok bool) {
	for _, v := range m.cfg.Vendors {
		if blames, why, chaos := rules(v, 0, text); blames {
			return blamed{v.Name, why, chaos}, true
		}
	}
	return blamed{}, false
}

// own is what an order's line says by itself: it failed and a rule blames a vendor, or it succeeded with a response that
// is not valid.
func (m *attribution) own(t sighting) (b blamed, ok bool) {
	switch {
	case t.kind != orderLines:
	case t.status >= 500:
		return m.saying(t.says)
	case len(m.suspects(t)) > 0:
		v, _ := m.broke(t)
		_, _, chaos := rules(v, 0, t.says)
		return blamed{v.Name, "bad_response", chaos}, true
	}
	return blamed{}, false
}

// tokenField is where the response of a vendor has its token.
func tokenField(v VendorConfig) string {
	return slices.Concat(v.ValidResponse.JWT, []string{v.Name})[0]
}

// suspects are the vendors that ask for the token that is broken in the line of an order which succeeded.
func (m *attribution) suspects(t sighting) (of []VendorConfig) {
	for _, v := range m.cfg.Vendors {
		if t.kind == orderLines && t.status < 400 && t.token == brokenJWT && slices.Contains(v.ValidResponse.JWT, tokenField(m.cfg.Vendors[t.vendor])) {
			of = append(of, v)
		}
	}
	return of
}

// broke is the suspect that the calls known of the trace tell: one that gave a broken answer, or else one whose call failed;
// as ever the order's signal before the other, and then the first. Where they tell nothing, it is the first suspect.
func (m *attribution) broke(t sighting) (v VendorConfig, told bool) {
	of := m.suspects(t)
	if len(of) == 1 {
		return of[0], true
	}
	known := slices.SortedFunc(slices.Values(m.known[t.trace]), func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	for _, why := range []string{"bad_response", ""} {
		for _, kind := range []sightingKind{callLines, callSpans} {
			for _, k := range known {
				if k.kind != kind {
					continue
				}
				call, _ := m.failed(k)
				i := slices.IndexFunc(of, func(v VendorConfig) bool { return v.Name == call.vendor })
				if i >= 0 && call.why != "" && (why == "" || call.why == why) {
					return of[i], true
				}
			}
		}
	}
	return of[0], false
}

// isSure tells whether nothing that may still come decides otherwise by which vendor an order was broken.
func (m *attribution) isSure(t sighting) bool {
	if len(m.suspects(t)) == 0 {
		return true
	}
	_, told := m.broke(t)
	return told
}

// blame tells whether an order failed because of a vendor, by what is known of its trace by now.
func (m *attribution) blame(t sighting) (b blamed, ok bool) {
	// Calls that failed, and texts that blame a vendor, each by time; of its own signal and of the other.
	var calls, texts [2][]blamed
	for _, k := range slices.SortedFunc(slices.Values(m.known[t.trace]), func(a, b sighting) int { return cmp.Compare(a.at, b.at) }) {
		from := 0
		if k.kind.signal() != t.kind.signal() {
			from = 1
		}
		switch k.kind {
		case callSpans, callLines, elsewhereSpans:
			if call, counts := m.call(k); counts && call.why != "" {
				calls[from] = append(calls[from], call)
			}
		case handlerSpans, orderSpans:
			if text, ok := m.saying(k.says); ok {
				texts[from] = append(texts[from], text)
			}
		case orderLines:
			if said := m.said[k]; said.ok {
				texts[from] = append(texts[from], said.blamed)
			}
		}
	}

	// Its own line first; else, where it failed, the first failed call of its trace; else the first text.
	b, ok = m.own(t)
	for _, signs := range [][]blamed{calls[0], calls[1], texts[0], texts[1]} {
		if !ok && t.status >= 500 && len(signs) > 0 {
			b, ok = signs[0], true
		}
	}
	if !ok {
		return blamed{}, false
	}
	for _, call := range slices.Concat(calls[0], calls[1]) {
		if call.vendor == b.vendor { // a rule that sets no reason leaves it to the call
			b.why = cmp.Or(b.why, call.why)
		}
	}
	b.why = cmp.Or(b.why, "error")
	for _, k := range m.known[t.trace] {
		shown, ok := m.shown(k)
		b.chaos = b.chaos || ok && shown.vendor == b.vendor
	}
	return b, true
}

// shopConfig makes up a shop of one to three vendors, the rules about their answers in any order.
func shopConfig(random *rand.Rand) *Config {
	cfg := newDefaultConfig()
	cfg.Orders = []OrderConfig{{Method: "POST", Route: "/api/order", Logs: OrderLogsConfig{Attributes: map[string][]string{"type": {"http"}}}}}
	for i, url := range []string{"http://127.0.0.1:4000/api/order", "https://pay.example.com/v1/charges", "https://tax.example.com:8443"}[:1+random.IntN(3)] {
		name := []string{"factory", "payment", "tax"}[i]
		v := VendorConfig{Name: name, Calls: CallsConfig{URLs: []string{url}, Logs: CallLogsConfig{Attributes: map[string][]string{"type": {name}}}}}
		if random.IntN(2) == 0 {
			v.SlowAfter = 10 * time.Second
		}
		v.ValidResponse.JWT = [][]string{nil, {name}, {"token"}, {"token", name}}[random.IntN(4)]
		for _, r := range []ResponseConfig{
			{Status: 503, Reason: "rejected"},
			{Status: 502, Chaos: true},
			{Contains: name + " is full", Reason: "rejected"},
			{Contains: name + " is late", Reason: "timeout", Chaos: true},
			{Contains: name + " failed"},
			{Contains: name + " report", Chaos: true},
			{Status: 500, Contains: name + " failed", Reason: "throttled"},
		} {
			if random.IntN(4) > 0 {
				v.Responses = append(v.Responses, r)
			}
		}
		random.Shuffle(len(v.Responses), func(a, b int) { v.Responses[a], v.Responses[b] = v.Responses[b], v.Responses[a] })
		cfg.Vendors = append(cfg.Vendors, v)
	}
	if random.IntN(3) == 0 {
		cfg.Discover = &DiscoverConfig{MaxVendors: 32, Exclude: []string{"logs.example.org"}}
	}
	return cfg
}

// together, alternately and retried are how the vendors of a run fail.
const (
	anyhow      = iota
	together    // every vendor fails each order
	alternately // one order the one vendor, the next the next
	retried     // each call once, then it ends well or not
	patterns
)

// tracesOfRun are told together, so that they come interleaved.
const tracesOfRun = 40

// shopping makes up the traces of a run.
func shopping(random *rand.Rand, cfg *Config) (all []sighting) {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	pattern := random.IntN(patterns)
	withLines, withSpans := random.IntN(2) == 0, true
	if withLines {
		withSpans = random.IntN(3) > 0
	}
	withTraceIDs := random.IntN(3) > 0
	text := func() string {
		words := []string{"boom"}
		for range 1 + random.IntN(2) {
			words = append(words, cfg.Vendors[random.IntN(len(cfg.Vendors))].Name+pick(" is full", " is late", " failed", " report", " is well"))
		}
		return strings.Join(words, ", ")
	}
	for trace := 1; trace <= tracesOfRun; trace++ {
		began := time.Duration(trace) * time.Minute
		taken := map[time.Duration]bool{}
		moment := func() time.Duration { // no two sightings of a trace have the same time
			for {
				at := began + time.Duration(random.IntN(30_000))*time.Millisecond
				if !taken[at] {
					taken[at] = true
					return at
				}
			}
		}
		add := func(t sighting) {
			t.trace, t.at = trace, moment()
			if t.service == "" {
				t.service = "shop"
			}
			if t.kind < orderLines {
				if withSpans {
					all = append(all, t)
				}
				return
			}
			t.attrs = random.IntN(2) == 0
			if !withTraceIDs || random.IntN(10) == 0 {
				t.trace = 0
			}
			if withLines {
				all = append(all, t)
			}
		}

		status := []int{200, 200, 500, 500, 500, 502, 503, 400, 401, 404}[random.IntN(10)]
		call := func(vendor int, fails bool, resend int) {
			span := sighting{kind: callSpans, service: pick("shop", "shop", "kitchen"), vendor: vendor, resend: resend, status: 200, took: time.Second}
			line := sighting{kind: callLines, service: span.service, vendor: vendor, status: 200, says: pick("well", text()), level: "info"}
			if random.IntN(4) == 0 {
				span.says = text()
			}
			if fails {
				if random.IntN(3) > 0 {
					span.status = []int{500, 500, 502, 503, 504, 429, 401, 403, 408, 404, 422}[random.IntN(11)]
					line.status, line.says, line.level = span.status, text(), pick("info", "error")
				} else {
					span.status, span.errorType = 0, pick("ECONNREFUSED", "ETIMEDOUT")
					line.status, line.errorType, line.says, line.level = 0, span.errorType, "", "error"
				}
			}
			switch random.IntN(12) {
			case 0:
				span.took = 11 * time.Second
			case 1, 3, 4:
				if line.status > 0 {
					line.token = pick(goodJWT, brokenJWT)
				}
			case 2:
				line = sighting{kind: callLines, service: span.service, vendor: vendor, level: "info"} // the request's own line
			}
			add(span)
			add(line)
		}
		for v := range cfg.Vendors {
			fails := random.IntN(3) == 0
			switch pattern {
			case together:
				fails = true
			case alternately:
				fails = trace%len(cfg.Vendors) == v
			case retried:
				call(v, true, 0)
				for resend := range random.IntN(3) {
					call(v, true, resend+1)
				}
				fails = random.IntN(3) == 0
			}
			if random.IntN(8) > 0 {
				call(v, fails, random.IntN(2))
			}
		}
		for range random.IntN(3) {
			handler := sighting{kind: handlerSpans, service: pick("shop", "kitchen")}
			if random.IntN(2) == 0 {
				handler.says = text()
			}
			add(handler)
		}
		for range random.IntN(3) {
			elsewhere := sighting{kind: elsewhereSpans, status: []int{200, 401, 500}[random.IntN(3)], url: pick("http://127.0.0.1:4000/api/log",
				"http://127.0.0.1:3306/", "https://pay.example.com/v1/refunds", "https://pay.example.com.evil.org/v1/charges", "http://tax.example.com/",
				"https://cards.example.org/", "https://logs.example.org/", "http://10.0.0.7/")}
			if random.IntN(3) == 0 {
				elsewhere.says = text()
			}
			add(elsewhere)
		}
		services := []string{"shop"}
		if random.IntN(6) == 0 {
			services = append(services, "gateway") // an order through a gateway is two requests to an order endpoint
		}
		for _, service := range services {
			if service == "gateway" && random.IntN(2) == 0 {
				status = []int{200, 500}[random.IntN(2)]
			}
			span := sighting{kind: orderSpans, service: service, status: status}
			line := sighting{kind: orderLines, service: service, status: status, says: pick("boom", text()), level: pick("info", "error")}
			if status >= 500 && random.IntN(6) == 0 {
				span.says = text()
			}
			if status < 400 {
				line.level = "info"
			}
			if random.IntN(3) == 0 {
				line.token, line.vendor = pick(goodJWT, brokenJWT), random.IntN(len(cfg.Vendors))
			}
			add(span)
			add(line)
		}
		if random.IntN(3) == 0 {
			add(sighting{kind: otherLines, says: text(), level: "error"})
		}
	}
	return all
}

// The ways of delivery, each in random order.
const (
	whole     = iota // all spans in one request, all lines in another
	eachAlone        // one span or line a request
	slowly           // requests of any size, with pauses in which orders settle
	ways
)

// deliveries puts sightings into requests.
func deliveries(random *rand.Rand, all []sighting, way int) (how []delivery) {
	rest := make([]int, len(all))
	for i := range all {
		rest[i] = i
	}
	random.Shuffle(len(rest), func(a, b int) { rest[a], rest[b] = rest[b], rest[a] })
	for len(rest) > 0 {
		n := map[int]int{whole: len(rest), eachAlone: 1, slowly: min(1+random.IntN(20), len(rest))}[way]
		var requests [2][]int
		for _, i := range rest[:n] {
			of := 0
			if all[i].kind.signal() == "logs" {
				of = 1
			}
			requests[of] = append(requests[of], i)
		}
		rest = rest[n:]
		first := random.IntN(2)
		for _, what := range [][]int{requests[first], requests[1-first]} {
			if len(what) > 0 {
				how = append(how, delivery{what: what})
			}
		}
	}
	if way == slowly {
		for range 8 { // together they are shorter than traces are remembered
			how[random.IntN(len(how))].after = time.Duration(random.Int64N(int64(8 * time.Second)))
		}
		how = append(how, delivery{after: time.Minute})
	}
	return how
}

// deliver sends sightings to a processor and returns what it counted and tagged.
func deliver(t *testing.T, cfg *Config, all []sighting, how []delivery) (counts map[string]int, tags map[int]blamed) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, cfg)
		written := make([]pcommon.Map, len(all))
		for _, d := range how {
			time.Sleep(d.after)
			td, ld := ptrace.NewTraces(), plog.NewLogs()
			for _, i := range d.what {
				if all[i].kind.signal() == "logs" {
					written[i] = all[i].line(ld, cfg)
				} else {
					written[i] = all[i].span(td, i, cfg)
				}
			}
			if td.SpanCount() > 0 {
				require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			}
			if ld.LogRecordCount() > 0 {
				require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			}
		}
		h.tell()
		before := h.counted(t)
		h.shutdown(t)
		by := h.counted(t)
		for key, n := range before {
			by[key] -= n
		}
		maps.DeleteFunc(by, func(_ string, n int) bool { return n == 0 })
		counts = byShutdown(before, by)

		tags = map[int]blamed{}
		for _, d := range how {
			for _, i := range d.what {
				if name, ok := written[i].Get(tagVendor); ok {
					_, chaos := written[i].Get(tagChaos)
					tags[i] = blamed{name.Str(), mustGet(t, written[i], tagReason), chaos}
				}
			}
		}
	})
	return counts, tags
}

// counted are the points of all metrics of calls, orders and records, by all their attributes.
func (h *harness) counted(t *testing.T) map[string]int {
	counts := map[string]int{}
	add := func(metric string, of attribute.Set, n int) {
		if n != 0 {
			counts[metric+" "+of.Encoded(attribute.DefaultEncoder())] = n
		}
	}
	for _, metric := range []string{"vendor.calls", "vendor.orders", "vendor.records"} {
		for _, p := range h.points(t, metric) {
			add(metric, p.Attributes, int(p.Value))
		}
	}
	if m, err := h.tel.GetMetric("vendor.call.duration"); err == nil {
		for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
			add("vendor.call.duration", p.Attributes, int(p.Count))
		}
	}
	return counts
}

func (t sighting) span(td ptrace.Traces, number int, cfg *Config) pcommon.Map {
	all := td.ResourceSpans()
	if n := all.Len(); n == 0 || all.At(n - 1).Resource().Attributes().AsRaw()["service.name"] != t.service {
		rs := all.AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", t.service)
		rs.ScopeSpans().AppendEmpty()
	}
	s := all.At(all.Len() - 1).ScopeSpans().At(0).Spans().AppendEmpty()
	s.SetTraceID(pcommon.TraceID{1, 14: byte(t.trace >> 8), 15: byte(t.trace)})
	s.SetSpanID(pcommon.SpanID{1, 6: byte(number >> 8), 7: byte(number)})
	s.SetStartTimestamp(stamp(t.at - t.took))
	s.SetEndTimestamp(stamp(t.at))
	m := s.Attributes()
	fails := t.status >= 500
	switch t.kind {
	case orderSpans:
		s.SetKind(server)
		put(m, orderSpan(t.status))
	case callSpans, elsewhereSpans:
		s.SetKind(client)
		fails = t.status >= 400 || t.errorType != ""
		url := t.url
		if t.kind == callSpans {
			url = cfg.Vendors[t.vendor].Calls.URLs[0] + "/v2"
		}
		put(m, []any{"http.request.method", "POST", "url.full", url})
		if t.status > 0 {
			put(m, []any{"http.response.status_code", t.status})
		}
		if t.errorType != "" {
			put(m, []any{"error.type", t.errorType})
		}
		if t.resend > 0 {
			put(m, []any{"http.request.resend_count", t.resend})
		}
	case handlerSpans:
		s.SetKind(internal)
		fails = t.says != ""
	}
	if fails {
		failedWith("")(s)
	}
	if t.says != "" {
		threw("Error", t.says)(s)
		s.Events().At(0).SetTimestamp(stamp(t.at))
	}
	return m
}

func (t sighting) line(ld plog.Logs, cfg *Config) pcommon.Map {
	fields := []any{}
	field := func(name string, v any, is bool) {
		if is {
			fields = append(fields, name, v)
		}
	}
	kind := "db"
	switch t.kind {
	case orderLines:
		kind = "http"
		fields = append(fields, "method", "POST", "path", "/api/order")
	case callLines:
		kind = cfg.Vendors[t.vendor].Name
	}
	field("statusCode", t.status, t.status > 0)
	field("error", t.errorType, t.errorType != "")
	answer := map[string]any{}
	if t.says != "" {
		answer["message"] = t.says
	}
	if t.token != "" {
		answer[tokenField(cfg.Vendors[t.vendor])] = t.token
	}
	field("resBody", toJSON(answer), len(answer) > 0)

	var r plog.LogRecord
	labels := []any{"type", kind, "component", t.service, "level", t.level}
	if t.attrs {
		r = addRecord(ld, kind, append(labels, fields...)...)
	} else {
		body := map[string]any{}
		for i := 0; i < len(fields); i += 2 {
			body[fields[i].(string)] = fields[i+1]
		}
		r = addRecord(ld, toJSON(body), labels...)
	}
	r.SetTimestamp(stamp(t.at))
	if t.trace != 0 {
		r.SetTraceID(pcommon.TraceID{1, 14: byte(t.trace >> 8), 15: byte(t.trace)})
	}
	return r.Attributes()
}

// differ tells how the processor differs from the model, "" where they agree, and what the model counts.
func differ(t *testing.T, cfg *Config, all []sighting, how []delivery) (difference string, wantCounts map[string]int) {
	wantCounts, wantTags := attributed(cfg, all, how)
	counts, tags := deliver(t, cfg, all, how)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(merged(wantCounts, counts))) {
		if wantCounts[key] != counts[key] {
			out = append(out, fmt.Sprintf("%s: the model says %d, the processor %d", key, wantCounts[key], counts[key]))
		}
	}
	for _, i := range slices.Sorted(maps.Keys(merged(wantTags, tags))) {
		if wantTags[i] != tags[i] {
			out = append(out, fmt.Sprintf("tags of the %s: the model says %q, the processor %q", all[i], wantTags[i], tags[i]))
		}
	}
	return strings.Join(out, "\n"), wantCounts
}

func merged[K comparable, V any](a, b map[K]V) map[K]V {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// smallest leaves out of what is delivered all without which the processor differs from the model as well.
func smallest(t *testing.T, cfg *Config, all []sighting, how []delivery) []delivery {
	without := func(drop func(i int) bool) []delivery {
		var less []delivery
		pause := time.Duration(0)
		for _, d := range how {
			pause += d.after
			if what := slices.DeleteFunc(slices.Clone(d.what), drop); len(what) > 0 {
				less = append(less, delivery{after: pause, what: what})
				pause = 0
			}
		}
		return append(less, delivery{after: pause})
	}
	try := func(less []delivery) (differs bool) {
		if difference, _ := differ(t, cfg, all, less); difference != "" {
			how, differs = less, true
		}
		return differs
	}
	for trace := range tracesOfRun + 1 {
		if try(without(func(i int) bool { return all[i].trace != trace })) {
			break
		}
	}
	for i := range all {
		try(without(func(j int) bool { return i == j }))
	}
	return how
}

// timeline lists what is delivered.
func timeline(all []sighting, how []delivery) string {
	var lines []string
	now := time.Duration(0)
	for n, d := range how {
		now += d.after
		for _, i := range d.what {
			lines = append(lines, fmt.Sprintf("request %d, after %s: %s", n+1, now, all[i]))
		}
	}
	return strings.Join(lines, "\n")
}

// TestAttributionByModel: of 10,000 random traces of shops with one to three vendors, and hosts that are discovered, that
// fail together, alternately and under retries, told by spans, by lines and by both, in one request, in one each and over time, the processor counts and
// tags what the contract's text says.
func TestAttributionByModel(t *testing.T) {
	const runs = 10_000 / tracesOfRun
	seen := map[string]int{}
	for seed := range uint64(runs) {
		random := rand.New(rand.NewPCG(seed, 4))
		cfg := shopConfig(random)
		all := shopping(random, cfg)
		for way := range ways {
			how := deliveries(random, all, way)
			difference, counts := differ(t, cfg, all, how)
			if difference != "" {
				how = smallest(t, cfg, all, how)
				difference, _ = differ(t, cfg, all, how)
				require.Fail(t, "the processor and the model differ", "seed %d:\n%s\n%s\nvendors: %+v", seed, timeline(all, how), difference, cfg.Vendors)
			}
			for key, n := range counts {
				metric, parts, _ := strings.Cut(key, " ")
				for _, part := range strings.Split(parts, ",") {
					seen[metric+" "+part] += n
				}
			}
		}
	}
	for _, part := range []string{
		"vendor.outcome=success", "vendor.outcome=own_failure", "vendor.outcome=rejected", "vendor.outcome=vendor_failure",
		"vendor.failure.reason=error", "vendor.failure.reason=timeout", "vendor.failure.reason=slow", "vendor.failure.reason=throttled",
		"vendor.failure.reason=unreachable", "vendor.failure.reason=unauthorized", "vendor.failure.reason=rejected",
		"vendor.failure.reason=bad_response", "vendor.signal=traces", "vendor.signal=logs", "vendor.name=cards.example.org",
	} {
		require.Greater(t, seen["vendor.orders "+part], 100, "orders of %s", part)
	}
}
