package vendorfailureprocessor

import (
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// synthetic tells whether somebody waits for an order: the values of user_agent.synthetic.type (semantic conventions,
// user agent), or none.
type synthetic uint8

const tagSynthetic = "user_agent.synthetic.type"

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
	agent, _ := fieldOf(from.attributes, userAgentNames)
	if from.line != nil && !agent.Exists() {
		agent = from.line.field(userAgentNames)
	}
	if s.byUserAgent(agent.String()) || s.byField(from) {
		return syntheticTest
	}
	return notSynthetic
}
