package vendorfailureprocessor

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxUnwrap bounds how often a string that holds JSON is taken apart, and how deep an answer is searched. Real loggers
// encode a body once or twice.
const maxUnwrap = 8

// valueOf returns an attribute or a body as the JSON it is: maps, slices and bytes as JSON text.
func valueOf(v pcommon.Value) gjson.Result {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return gjson.Result{Type: gjson.String, Str: v.Str()}
	case pcommon.ValueTypeInt:
		return gjson.Result{Type: gjson.Number, Num: float64(v.Int()), Raw: v.AsString()}
	case pcommon.ValueTypeDouble:
		return gjson.Result{Type: gjson.Number, Num: v.Double(), Raw: v.AsString()}
	case pcommon.ValueTypeBool:
		if v.Bool() {
			return gjson.Result{Type: gjson.True, Raw: "true"}
		}
		return gjson.Result{Type: gjson.False, Raw: "false"}
	case pcommon.ValueTypeMap, pcommon.ValueTypeSlice:
		return gjson.Result{Type: gjson.JSON, Raw: jsonOf(v)}
	case pcommon.ValueTypeBytes:
		return gjson.Result{Type: gjson.String, Str: string(v.Bytes().AsRaw())}
	}
	return gjson.Result{}
}

// jsonOf returns a map or slice as JSON. A number that JSON cannot write, such as the NaN of a price that was never set,
// becomes a text, or nothing at all could be read.
func jsonOf(v pcommon.Value) string {
	if text := v.AsString(); text != "" {
		return text
	}
	named := pcommon.NewValueEmpty()
	v.CopyTo(named)
	nameNumbers(named)
	return named.AsString()
}

func nameNumbers(v pcommon.Value) {
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		if x := v.Double(); math.IsNaN(x) || math.IsInf(x, 0) {
			v.SetStr(strconv.FormatFloat(x, 'g', -1, 64))
		}
	case pcommon.ValueTypeMap:
		for _, x := range v.Map().All() {
			nameNumbers(x)
		}
	case pcommon.ValueTypeSlice:
		for _, x := range v.Slice().All() {
			nameNumbers(x)
		}
	}
}

// unwrap takes a string that holds JSON apart, as often as needed.
func unwrap(v gjson.Result) gjson.Result {
	for range maxUnwrap {
		if v.Type != gjson.String || !holdsJSON(v.Str) {
			break
		}
		if v.Str[0] == '{' || v.Str[0] == '[' {
			return gjson.Result{Type: gjson.JSON, Raw: v.Str} // as gjson.Parse does
		}
		v = gjson.Parse(v.Str)
	}
	return v
}

// holdsJSON tells whether a string begins as a JSON object, array or string does.
func holdsJSON(s string) bool {
	if s != "" && s[0] <= ' ' {
		s = strings.TrimLeft(s, " \t\r\n")
	}
	return s != "" && (s[0] == '{' || s[0] == '[' || s[0] == '"')
}

// maxRecursion is the length up to which gjson may check a text: it calls itself for each level of nesting, and ten
// million levels would end the process, for Go cannot recover from a stack that is too large. encoding/json does not,
// and gives up beyond 10,000 levels.
const maxRecursion = 1 << 16

// isJSON tells whether a text is JSON, nested by no more than reason allows.
func isJSON(text []byte) bool {
	if len(text) > maxRecursion {
		return json.Valid(text)
	}
	return gjson.ValidBytes(text)
}

// walk follows a path (gjson syntax) into a value and unwraps strings that hold JSON on its way.
func walk(v gjson.Result, path string) gjson.Result {
	for {
		v = unwrap(v)
		if path == "" {
			return v
		}
		if v.Type != gjson.JSON {
			return gjson.Result{}
		}
		step, rest, more := strings.Cut(path, ".")
		if strings.HasPrefix(step, "#") {
			return unwrap(v.Get(path))
		}
		next := get(v, step)
		if !more {
			return unwrap(next)
		}
		if !next.Exists() {
			// A key may hold a dot of its own, as in {"http.request.method": "POST"}.
			return unwrap(v.Get(escapeDots(path)))
		}
		v, path = next, rest
	}
}

// get returns the member of an object under a step of a path. One that stands there as it is written is found by the
// quotes alone: an answer holds tokens of a thousand bytes, at each of which gjson would look.
func get(v gjson.Result, step string) gjson.Result {
	if strings.HasPrefix(v.Raw, "{") {
		for i := 1; ; {
			m, end, ok := nextMember(v.Raw, i)
			if !ok {
				break
			}
			if m.key == step {
				return m.value(nil)
			}
			i = end
		}
	}
	return v.Get(step)
}

// escapeDots returns the gjson path of a key that may hold dots.
func escapeDots(key string) string { return strings.ReplaceAll(key, ".", `\.`) }

// member is one member of a JSON object, as it stands.
type member struct {
	key, raw string
	text     string // of a string, unescaped and unwrapped; "" as long as nobody asked
	isJSON   bool   // the text
}

// value returns what stands there.
func (m *member) value(room *[]byte) gjson.Result {
	if !strings.HasPrefix(m.raw, `"`) {
		return gjson.Parse(m.raw)
	}
	return gjson.Result{Type: gjson.String, Str: unquote(m.raw, room)}
}

// unquote returns what a JSON string says. Those that hold JSON have no escapes but of quotes and backslashes, and are
// copied between them; gjson looks at each byte, and ends at a control character, which JSON does not allow. What is copied goes into room, where there is one, and lives as long.
func unquote(quoted string, room *[]byte) string {
	s := quoted[1 : len(quoted)-1]
	escape := strings.IndexByte(s, '\\')
	if escape < 0 {
		return s
	}
	if room == nil {
		room = &[]byte{}
	}
	*room = slices.Grow(*room, len(s))
	text := (*room)[len(*room):]
	for at := 0; escape >= 0; escape = strings.IndexByte(s[1:], '\\') {
		text = append(text, s[:at+escape]...)
		s, at = s[at+escape+1:], 1
		if s == "" || s[0] != '"' && s[0] != '\\' && s[0] != '/' {
			return gjson.Parse(quoted).Str
		}
	}
	text = append(text, s...)
	*room = (*room)[:len(*room)+len(text)]
	return unsafe.String(unsafe.SliceData(text), len(text))
}

// unwrapped returns the value, unwrapped.
func (m *member) unwrapped(room *[]byte) gjson.Result {
	if m.text == "" {
		v := unwrap(m.value(room))
		if !strings.HasPrefix(m.raw, `"`) || v.Type != gjson.String && v.Type != gjson.JSON {
			return v
		}
		m.text, m.isJSON = textOf(v), v.Type == gjson.JSON
	}
	if m.isJSON {
		return gjson.Result{Type: gjson.JSON, Raw: m.text}
	}
	return gjson.Result{Type: gjson.String, Str: m.text}
}

// beginObject returns the index at which the members of a JSON object begin.
func beginObject(object string) int { return strings.IndexByte(object, '{') + 1 }

// nextMember reads the member of a JSON object that begins at i, strings skipped by their quotes and not unescaped, and
// returns the index after it. To read all takes a tenth of the time of one look-up for each name. Of an object that is
// cut off or no JSON it gives what it can.
func nextMember(object string, i int) (m member, end int, ok bool) {
	for i < len(object) && object[i] != '"' {
		if object[i] == '}' {
			return member{}, len(object), false
		}
		i++
	}
	end = afterString(object, i)
	if end <= i+1 || end >= len(object) {
		return member{}, len(object), false
	}
	m.key = object[i+1 : end-1]
	for i = end; i < len(object) && (object[i] == ':' || object[i] <= ' '); i++ {
	}
	end = afterValue(object, i)
	if i < len(object) && object[i] == '"' && (end == i+1 || object[end-1] != '"') {
		return member{}, len(object), false // a string that is cut off is none
	}
	m.raw = object[i:end]
	return m, end, true
}

// afterString returns the index after the string that begins at i, or the end where it is cut off.
func afterString(s string, i int) int {
	for i++; i < len(s); i++ {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			break
		}
		i += n
		escapes := 0
		for s[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
	return len(s)
}

// afterValue returns the index after the value that begins at i.
func afterValue(s string, i int) int {
	for depth := 0; i < len(s); {
		switch s[i] {
		case '"':
			if i = afterString(s, i); depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
			if depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// textOf returns an unwrapped value as text.
func textOf(v gjson.Result) string {
	if v.Type == gjson.String {
		return v.Str
	}
	return v.Raw
}

// contains tells whether an unwrapped value has a text in it, as it stands or behind JSON's escapes: some encoders
// write < and ' as \u003c and \u0027.
func contains(v gjson.Result, text string) bool {
	raw := textOf(v)
	return strings.Contains(raw, text) ||
		v.Type == gjson.JSON && strings.IndexByte(raw, '\\') >= 0 && containsEscaped(v, text, maxUnwrap)
}

func containsEscaped(v gjson.Result, text string, depth int) (found bool) {
	if depth == 0 {
		return false
	}
	v.ForEach(func(key, value gjson.Result) bool {
		value = unwrap(value)
		switch value.Type {
		case gjson.String:
			found = strings.Contains(value.Str, text)
		case gjson.JSON:
			found = containsEscaped(value, text, depth-1)
		}
		found = found || strings.Contains(key.Str, text)
		return !found
	})
	return found
}
