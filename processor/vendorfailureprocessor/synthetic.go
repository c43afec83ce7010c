package vendorfailureprocessor

import (
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// synthetic tells whether somebody waits for an order: the values of user_agent.synthetic.type (semantic conventions,
// user agent), or none.
type synthetic uint8

const (
	tagSynthetic = "user_agent.synthetic.type"
	// tagStep is on the spans of a test order's steps.
	tagStep = "probe.step"
)

const (
	notSynthetic synthetic = iota
	syntheticTest
	syntheticBot
)

func (s synthetic) String() string { return [...]string{"", "test", "bot"}[s] }

func syntheticOf(text string) synthetic {
	switch text {
	case "":
		return notSynthetic
	case "bot":
		return syntheticBot
	}
	return syntheticTest
}

// syntheticOrders tells by what they carry which orders nobody waits for.
type syntheticOrders struct {
	userAgents []string
	fields     []syntheticField
}

type syntheticField struct {
	path   fieldPath
	values []string
}

// userAgentNames are the names that loggers have for the client's user agent, those of the semantic conventions first.
var userAgentNames = fieldNames("user_agent.original", "http.user_agent", "userAgent", "user_agent", "user-agent")

func newSyntheticOrders(c SyntheticConfig) syntheticOrders {
	s := syntheticOrders{userAgents: c.UserAgents}
	for _, path := range slices.Sorted(maps.Keys(c.Fields)) {
		s.fields = append(s.fields, syntheticField{path: newFieldPaths([]string{path})[0], values: c.Fields[path]})
	}
	return s
}

// byUserAgent tells whether a user agent is one of those that place synthetic orders.
func (s *syntheticOrders) byUserAgent(agent string) bool {
	return agent != "" && slices.ContainsFunc(s.userAgents, func(prefix string) bool { return strings.HasPrefix(agent, prefix) })
}

// byField tells whether any of the fields has one of its values.
func (s *syntheticOrders) byField(from telling) bool {
	for i := range s.fields {
		v, values := from.at(&s.fields[i].path), s.fields[i].values
		found := false
		if v.IsArray() {
			v.ForEach(func(_, part gjson.Result) bool {
				found = slices.Contains(values, part.String())
				return !found
			})
		} else {
			found = v.Exists() && slices.Contains(values, v.String())
		}
		if found {
			return true
		}
	}
	return false
}

// of tells whether a span's or a record's order is synthetic.
func (s *syntheticOrders) of(from telling, resource pcommon.Map) synthetic {
	for _, m := range [...]pcommon.Map{from.attributes, resource} {
		if v, ok := m.Get(tagSynthetic); ok {
			return syntheticOf(stringOf(v))
		}
	}
	var agent gjson.Result
	if from.line != nil {
		agent = from.line.field(userAgentNames)
	} else {
		agent, _ = fieldOf(from.attributes, anyInitial, userAgentNames)
	}
	if s.byUserAgent(agent.String()) || s.byField(from) {
		return syntheticTest
	}
	return notSynthetic
}

// testStep reads the CLIENT span of a test order's step that speaks for a vendor: it bears the vendor's name, what kind
// of test it is and, where the step failed, the reason. It is a call of that vendor, as the test order judged it, which
// knows more than the span: that the token it got is worthless, say. It holds nothing against the vendor in the shop's
// own order, whose spans tell of it themselves.
func (w *watch) testStep(span ptrace.Span) (call, bool) {
	name, ok := span.Attributes().Get(tagVendor)
	if !ok {
		return call{}, false
	}
	kind, ok := span.Attributes().Get(tagSynthetic)
	if !ok {
		return call{}, false
	}
	v, ok := w.names.find(stringOf(name))
	if !ok {
		return call{}, false
	}
	c := call{
		fault:     fault{at: span.EndTimestamp(), vendor: v},
		signal:    traces,
		trace:     span.TraceID(),
		span:      span.SpanID(),
		duration:  durationOf(span),
		synthetic: syntheticOf(stringOf(kind)),
	}
	if why, ok := span.Attributes().Get(tagReason); ok {
		if c.reason, ok = reason.Named(stringOf(why)); !ok {
			c.reason = reason.Error
		}
	} else if span.Status().Code() == ptrace.StatusCodeError {
		c.reason = reason.Error
	}
	if chaos, ok := span.Attributes().Get(tagChaos); ok && c.reason != reason.None {
		c.chaos = chaos.Bool()
	}
	return c, true
}

// markSynthetic makes the calls that were made for a synthetic order synthetic as well, as far as the batch tells.
func (b *batch) markSynthetic() {
	var of map[pcommon.TraceID]synthetic
	for i := range b.orders {
		if o := &b.orders[i]; o.synthetic != notSynthetic && !o.trace.IsEmpty() {
			if of == nil {
				of = map[pcommon.TraceID]synthetic{}
			}
			of[o.trace] = o.synthetic
		}
	}
	if of == nil {
		return
	}
	for i := range b.calls {
		if c := &b.calls[i]; c.synthetic == notSynthetic && of[c.trace] != notSynthetic {
			c.synthetic, c.repeats = of[c.trace], true
		}
	}
}
