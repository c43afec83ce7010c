package vendorfailureprocessor

import (
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxUsers bounds the customers that an outage keeps apart, by vendor and signal. Beyond, "at least" as many were hit.
const maxUsers = 10_000

// maxValue is what an order can be worth at most; more is taken for a mistake of its sender's.
const maxValue = 1e9

// impact is what an order was worth, and to whom.
type impact struct {
	user   uint64 // a keyed hash: who it was cannot be told from it
	named  bool
	value  float64
	valued bool
}

// impactPaths are the paths by which records tell it.
type impactPaths struct {
	user, value []fieldPath
	seed        maphash.Seed
}

// fieldPath is a path of the configuration: an attribute, or a path into a JSON body. Where its first step is a name
// that loggers have for the request or the response, the others stand for it too.
type fieldPath struct {
	whole       string
	first, rest string
	names       []fieldName // of the first step
}

func newImpactPaths(c ImpactConfig) impactPaths {
	return impactPaths{user: newFieldPaths(c.User), value: newFieldPaths(c.Value), seed: maphash.MakeSeed()}
}

func newFieldPaths(paths []string) []fieldPath {
	fields := make([]fieldPath, len(paths))
	for i, path := range paths {
		f := fieldPath{whole: path, names: fieldNames(path)}
		f.first, f.rest, _ = strings.Cut(path, ".")
		if f.rest != "" {
			f.names = fieldNames(f.first)
			for _, names := range [][]fieldName{requestNames, responseNames} {
				if slices.ContainsFunc(names, func(n fieldName) bool { return n.name == f.first }) {
					f.names = append(f.names, names...)
				}
			}
		}
		fields[i] = f
	}
	return fields
}

// of returns the value at this path on a span.
func (f *fieldPath) of(attributes pcommon.Map) gjson.Result {
	if v, ok := attributes.Get(f.whole); ok {
		return unwrap(valueOf(v))
	}
	if f.rest != "" {
		if v, ok := attributes.Get(f.first); ok {
			return walk(valueOf(v), f.rest)
		}
	}
	return gjson.Result{}
}

// in returns the value at this path in a log record.
func (f *fieldPath) in(l *line) gjson.Result {
	if found := f.of(l.record.Attributes()); found.Exists() {
		return found
	}
	if f.rest == "" {
		return unwrap(l.field(f.names))
	}
	if found := walk(l.field(f.names), f.rest); found.Exists() {
		return found
	}
	return walk(l.body, f.whole)
}

// readUser takes a customer's name in.
func (p *impactPaths) readUser(i *impact, at func(*fieldPath) gjson.Result) {
	for n := range p.user {
		v := at(&p.user[n])
		if text := v.String(); v.Type == gjson.String && text != "" || v.Type == gjson.Number {
			i.user, i.named = maphash.String(p.seed, text), true
			return
		}
	}
}

// readValue takes an order's value in and tells whether it could be read: what is negative, absurd or no number could
// not, and is never added.
func (p *impactPaths) readValue(i *impact, at func(*fieldPath) gjson.Result) (readable bool) {
	for n := range p.value {
		v := at(&p.value[n])
		if !v.Exists() {
			continue
		}
		parts := []gjson.Result{v}
		if v.IsArray() {
			parts = v.Array()
		}
		sum := 0.0
		for _, part := range parts {
			x, ok := numberOf(part)
			if !ok {
				return false
			}
			sum += x
		}
		if len(parts) == 0 || sum > maxValue {
			return len(parts) == 0
		}
		i.value, i.valued = sum, true
		return true
	}
	return true
}

// numberOf returns a number, also one written as a string.
func numberOf(v gjson.Result) (x float64, ok bool) {
	switch v.Type {
	case gjson.Number:
		x = v.Num
	case gjson.String:
		var err error
		if x, err = strconv.ParseFloat(strings.TrimSpace(v.Str), 64); err != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	return x, x >= 0 && x <= maxValue // NaN is neither
}

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
func (s *syntheticOrders) byField(at func(*fieldPath) gjson.Result) bool {
	for i := range s.fields {
		f := &s.fields[i]
		v := at(&f.path)
		parts := []gjson.Result{v}
		if v.IsArray() {
			parts = v.Array()
		}
		if slices.ContainsFunc(parts, func(part gjson.Result) bool { return part.Exists() && slices.Contains(f.values, part.String()) }) {
			return true
		}
	}
	return false
}

// ofSpan tells whether a SERVER or CLIENT span is a synthetic order's.
func (s *syntheticOrders) ofSpan(attributes, resource pcommon.Map) synthetic {
	for _, m := range [...]pcommon.Map{attributes, resource} {
		if v, ok := m.Get(tagSynthetic); ok {
			return syntheticOf(stringOf(v))
		}
	}
	for i := range userAgentNames[:2] {
		if v, ok := attributes.Get(userAgentNames[i].name); ok && s.byUserAgent(stringOf(v)) {
			return syntheticTest
		}
	}
	if s.byField(func(f *fieldPath) gjson.Result { return f.of(attributes) }) {
		return syntheticTest
	}
	return notSynthetic
}

// ofLine tells whether a record is a synthetic order's.
func (s *syntheticOrders) ofLine(l *line, resource pcommon.Map) synthetic {
	for _, m := range [...]pcommon.Map{l.record.Attributes(), resource} {
		if v, ok := m.Get(tagSynthetic); ok {
			return syntheticOf(stringOf(v))
		}
	}
	if s.byUserAgent(l.field(userAgentNames).String()) || s.byField(func(f *fieldPath) gjson.Result { return f.in(l) }) {
		return syntheticTest
	}
	return notSynthetic
}

// users is a set of customers, as hashes.
type users struct{ hashes map[uint64]struct{} }

func (u *users) add(hash uint64) {
	if u.hashes == nil {
		u.hashes = map[uint64]struct{}{}
	}
	if len(u.hashes) < maxUsers {
		u.hashes[hash] = struct{}{}
	}
}

func (u *users) addAll(more *users) {
	for hash := range maps.Keys(more.hashes) {
		u.add(hash)
	}
}

func (u *users) count() int    { return len(u.hashes) }
func (u *users) isExact() bool { return len(u.hashes) < maxUsers }
