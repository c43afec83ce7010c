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
	value  float64
	named  bool
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
	top         []fieldName // of the rest, where a line may have the request's fields at its top
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
			has := func(names []fieldName) bool {
				return slices.ContainsFunc(names, func(n fieldName) bool { return n.name == f.first })
			}
			switch {
			case has(requestNames):
				f.names, f.top = slices.Concat(f.names, requestNames, eitherNames), fieldNames(f.rest)
			case has(responseNames):
				f.names = slices.Concat(f.names, responseNames, eitherNames)
			}
		}
		fields[i] = f
	}
	return fields
}

// telling is what may tell an order's impact: the attributes of a span, or a log record.
type telling struct {
	attributes pcommon.Map
	line       *line // nil for a span
}

// at returns the value at a path.
func (t telling) at(f *fieldPath) gjson.Result {
	if v, ok := t.attributes.Get(f.whole); ok {
		return unwrap(valueOf(v))
	}
	if f.rest != "" {
		if v, ok := t.attributes.Get(f.first); ok {
			if found := walk(valueOf(v), f.rest); found.Exists() {
				return found
			}
		}
	}
	switch {
	case t.line == nil:
		return gjson.Result{}
	case f.rest == "":
		return t.line.unwrapped(f.names)
	}
	if found := walk(t.line.unwrapped(f.names), f.rest); found.Exists() {
		return found
	}
	return t.line.unwrapped(f.top)
}

// readUser takes a customer's name in.
func (p *impactPaths) readUser(i *impact, from telling) {
	for n := range p.user {
		v := from.at(&p.user[n])
		if text := v.String(); v.Type == gjson.String && text != "" || v.Type == gjson.Number {
			i.user, i.named = maphash.String(p.seed, text), true
			return
		}
	}
}

// readValue takes an order's value in and tells whether it could be read: what is negative, absurd or no number could
// not, and is never added.
func (p *impactPaths) readValue(i *impact, from telling) (readable bool) {
	for n := range p.value {
		v := from.at(&p.value[n])
		if !v.Exists() {
			continue
		}
		if !v.IsArray() {
			x, ok := numberOf(v)
			i.value, i.valued = x, ok
			return ok
		}
		sum, parts := 0.0, 0
		v.ForEach(func(_, part gjson.Result) bool {
			var x float64
			x, readable = numberOf(part)
			sum += x
			parts++
			return readable
		})
		if parts == 0 {
			return true
		}
		if readable = readable && sum <= maxValue; readable {
			i.value, i.valued = sum, true
		}
		return readable
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
