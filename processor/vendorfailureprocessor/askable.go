package vendorfailureprocessor

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// OTTL takes bodies apart into values and writes them as JSON again, with each function anew. This takes time with the
// square of the depth and hundreds of bytes for each value, so no condition is asked of what goes beyond these: a few
// kilobytes would stall the Collector, and some megabytes take all of its memory.
const (
	maxAskedLevels = 100
	maxAskedValues = 10_000
)

// askable remembers of what conditions can be asked: several are asked of one span or record, and of its resource.
type askable struct{ resource, scope, item measured }

// measured is what was found of the last one, known by its attributes.
type measured struct {
	attributes pcommon.Map
	fits       bool
}

// isAskable tells whether a span or record, its scope and its resource are within what conditions are asked of.
func (x *asked) isAskable() bool {
	if x.signal == logs {
		return x.fits.item.within(x.record.Attributes(), func(s *size) bool { return s.takes(x.record.Body(), 0) }) &&
			x.fits.scope.within(x.scopeLogs.Scope().Attributes(), nil) &&
			x.fits.resource.within(x.resourceLogs.Resource().Attributes(), nil)
	}
	return x.fits.item.within(x.span.Attributes(), func(s *size) bool {
		fits := s.takesText(x.span.Name()) && s.takesText(x.span.Status().Message())
		for _, event := range x.span.Events().All() {
			fits = fits && s.takesMap(event.Attributes(), 0)
		}
		for _, link := range x.span.Links().All() {
			fits = fits && s.takesMap(link.Attributes(), 0)
		}
		return fits
	}) &&
		x.fits.scope.within(x.scopeSpans.Scope().Attributes(), nil) &&
		x.fits.resource.within(x.resourceSpans.Resource().Attributes(), nil)
}

// within tells whether attributes, and what else there is, fit.
func (m *measured) within(attributes pcommon.Map, rest func(*size) bool) bool {
	if m.attributes != attributes {
		var s size
		*m = measured{attributes: attributes, fits: s.takesMap(attributes, 0) && (rest == nil || rest(&s))}
	}
	return m.fits
}

// size is how many values were seen. Each of its methods tells whether what it was given fits with what was before, and
// ends where it does not: nothing is walked to its end that has none.
type size struct{ values int }

func (s *size) takesMap(m pcommon.Map, level int) bool {
	if level > maxAskedLevels {
		return false
	}
	for _, v := range m.All() {
		if !s.takes(v, level) {
			return false
		}
	}
	return true
}

func (s *size) takes(v pcommon.Value, level int) bool {
	s.values++
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return s.takesText(v.Str())
	case pcommon.ValueTypeBytes:
		return s.takesText(string(v.Bytes().AsRaw()))
	case pcommon.ValueTypeMap:
		return s.takesMap(v.Map(), level+1)
	case pcommon.ValueTypeSlice:
		if level >= maxAskedLevels {
			return false
		}
		for _, element := range v.Slice().All() {
			if !s.takes(element, level+1) {
				return false
			}
		}
	}
	return s.values <= maxAskedValues
}

// takesText counts what would be values if the text were JSON, and what JSON in its strings would come to, encoded
// however often: a bracket or comma that is written as an escape has at least one \u.
func (s *size) takesText(text string) bool {
	brackets := strings.Count(text, "{") + strings.Count(text, "[") + strings.Count(text, `\u`)
	s.values += brackets + strings.Count(text, ",")
	return s.values <= maxAskedValues && (brackets <= maxAskedLevels || !nestsTooDeep(text, maxUnwrap))
}

// nestsTooDeep tells whether a text, or one encoded in a string of it, nests deeper than maxAskedLevels, or has strings
// in strings deeper than there are unwraps. It takes what is no JSON as far as it looks like it.
func nestsTooDeep(text string, unwraps int) bool {
	for i, level := 0, 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			if level++; level > maxAskedLevels {
				return true
			}
		case '}', ']':
			level = max(level-1, 0)
		case '"':
			end := afterString(text, i)
			if within := text[i+1 : end]; strings.ContainsAny(within, `{[\`) {
				if unwraps == 0 || nestsTooDeep(unescape(within), unwraps-1) {
					return true
				}
			}
			i = end - 1
		}
	}
	return false
}

// unescape returns what a JSON string says, control characters as letters. It reads on behind what no JSON has, as some
// decoders do.
func unescape(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
			if text[i] == 'u' && i+4 < len(text) {
				if r, err := strconv.ParseUint(text[i+1:i+5], 16, 16); err == nil {
					plain = utf8.AppendRune(plain, rune(r))
					i += 4
					continue
				}
			}
		}
		plain = append(plain, text[i])
	}
	return string(plain)
}
