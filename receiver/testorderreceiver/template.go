package testorderreceiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/confmap"
)

// captured is what a run has captured so far, by name.
type captured map[string]gjson.Result

// A template is a text with places, {{name}} or {{name.path}}, for what was captured.
type template []templatePart

type templatePart struct {
	text  string // where there is no place
	place place
	// value says that the place is the whole of a JSON string, quotes included: what was captured keeps its type.
	value bool
}

// A place stands for what was captured under a name, or for what is at a path of it.
type place struct{ name, path string }

func (p place) String() string {
	if p.path == "" {
		return p.name
	}
	return p.name + "." + p.path
}

// of returns what stands at the place. It exists: a capture checks the paths that are asked of it.
func (p place) of(c captured) gjson.Result {
	if p.path == "" {
		return c[p.name]
	}
	return c[p.name].Get(p.path)
}

var (
	placePattern = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_-]*)((?:\.[A-Za-z0-9_#-]+)*)\s*$`)
	namePattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
)

// parseTemplate reads a text. Its errors tell nothing of the text, which may be a secret.
func parseTemplate(text string) (template, error) { return parse(text, false) }

// parseJSONTemplate reads a JSON text whose strings may have places.
func parseJSONTemplate(text jsonText) (template, error) { return parse(string(text), true) }

func parse(text string, isJSON bool) (t template, err error) {
	for {
		before, rest, found := strings.Cut(text, "{{")
		inside, after, closed := strings.Cut(rest, "}}")
		match := placePattern.FindStringSubmatch(inside)
		if found && (!closed || match == nil) {
			return nil, errors.New("it has {{ without a name and }}; write {{name}} or {{name.path}} with the name of a capture")
		}
		if !found {
			return t.add(templatePart{text: before}), nil
		}
		part := templatePart{place: place{name: match[1], path: strings.TrimPrefix(match[2], ".")}}
		// In a JSON text a place can only be within a string, and so an unescaped quote before it opens that string.
		if isJSON && strings.HasSuffix(before, `"`) && !strings.HasSuffix(before, `\"`) && strings.HasPrefix(after, `"`) {
			part.value = true
			before, after = strings.TrimSuffix(before, `"`), strings.TrimPrefix(after, `"`)
		}
		t = t.add(templatePart{text: before}).add(part)
		text = after
	}
}

func (t template) add(p templatePart) template {
	if p == (templatePart{}) {
		return t
	}
	return append(t, p)
}

// places are what the template needs.
func (t template) places() (all []place) {
	for _, part := range t {
		if part.place.name != "" {
			all = append(all, part.place)
		}
	}
	return all
}

// render fills the places. What stands within a text goes through escape.
func (t template) render(c captured, escape func(string) string) string {
	var out strings.Builder
	for _, part := range t {
		switch {
		case part.place.name == "":
			out.WriteString(part.text)
		case part.value:
			out.WriteString(part.place.of(c).Raw)
		default:
			out.WriteString(escape(part.place.of(c).String()))
		}
	}
	return out.String()
}

func asIs(text string) string { return text }

// withinString escapes a text for a place within a JSON string.
func withinString(text string) string {
	quoted, _ := json.Marshal(text) // a string can always be written
	return string(quoted[1 : len(quoted)-1])
}

// jsonText is a value of the configuration as JSON text. It may hold a password: whatever prints or marshals a
// configuration sees [REDACTED].
type jsonText string

const redacted = "[REDACTED]"

func (jsonText) String() string               { return redacted }
func (jsonText) GoString() string             { return redacted }
func (jsonText) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalScalar takes a value that is no map. What comes whole from ${env:...} is a string, even if it looks like a
// number: it is a password more often than not.
func (j *jsonText) UnmarshalScalar(value confmap.ScalarValue) error {
	raw := value.GetRaw()
	if list, ok := raw.([]any); ok {
		elements := make([]jsonText, 0, len(list))
		if err := value.Unmarshal(&elements); err != nil {
			return err
		}
		texts := make([]string, len(elements))
		for i, element := range elements {
			texts[i] = string(element)
		}
		*j = jsonText("[" + strings.Join(texts, ",") + "]")
		return nil
	}
	if _, ok := raw.(jsonText); ok { // what confmap gives for null
		raw = nil
	}
	if _, ok := raw.(time.Time); ok { // YAML makes one of what looks like a date, and what was written is lost
		return errors.New("a date would be sent as a point in time; quote it, such as \"2025-12-05\"")
	}
	text, err := json.Marshal(raw)
	if err != nil {
		return errors.New("a value cannot be written as JSON; write a string, number, true, false, null, list or map")
	}
	*j = jsonText(text)
	return nil
}

// Unmarshal takes a map.
func (j *jsonText) Unmarshal(conf *confmap.Conf) error {
	members := map[string]jsonText{}
	if err := conf.Unmarshal(&members); err != nil {
		return err
	}
	texts := make([]string, 0, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if strings.Contains(name, "{{") {
			return fmt.Errorf("%q: a name cannot have {{; write what was captured into values", name)
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return err
		}
		texts = append(texts, string(quoted)+":"+string(members[name]))
	}
	*j = jsonText("{" + strings.Join(texts, ",") + "}")
	return nil
}
