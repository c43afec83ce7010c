package testorderreceiver

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"golang.org/x/net/http/httpguts"
)

// A step of a run, ready to be made: either a request or a verification.
type step struct {
	name   string
	vendor string // whom it speaks for, "" for ourselves
	blame  []string
	always bool
	needs  []place

	request *request
	token   *verification

	captures []capture
}

// A capture takes what is at a path of an answer under a name.
type capture struct {
	name, path string
	// parts are the paths of it that later steps ask for. All must be there.
	parts []string
}

// A field is a path of a JSON text and the value that must be there.
type field struct {
	path string
	want template // a JSON text
}

// newSteps makes the steps, or says all that is wrong with their configuration.
func newSteps(c *Config) (steps []*step, faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Steps) == 0 {
		fault("steps: none given; write at least one, such as {name: order, request: {method: POST, url: https://shop.example.com/api/order}}")
	}
	if len(c.Steps) > maxSteps {
		fault("steps: %d are too many; write at most %d", len(c.Steps), maxSteps)
	}
	names, known := map[string]int{}, map[string]*capture{}
	tokens := map[string]bool{} // names of what is sent to authorize
	for i := range c.Steps {
		sc := &c.Steps[i]
		key := fmt.Sprintf("steps[%d]", i)
		if first, ok := names[sc.Name]; sc.Name == "" {
			fault("%s.name: \"\" is empty; write a name such as order", key)
		} else if ok {
			fault("%s.name: %q is already steps[%d]; give each step a name of its own", key, sc.Name, first)
		} else {
			names[sc.Name] = i
		}
		s := &step{name: sc.Name, blame: sc.Blame, always: sc.Always}
		if slices.Contains(sc.Blame, "") {
			fault("%s.blame: one text is \"\", which every answer has; write a text of the vendor's failures", key)
		}
		b := builder{step: s, known: known, faults: &faults}
		switch {
		case sc.Request != nil && sc.JWT != nil:
			fault("%s: it has both request and jwt; make two steps of it", key)
		case sc.Request != nil:
			b.request(key, sc)
			if s.request != nil {
				for _, p := range s.request.authorization().places() {
					tokens[p.name] = true
				}
			}
		case sc.JWT != nil:
			b.jwt(key, sc)
		default:
			fault("%s: it has neither request nor jwt; write what the step does, such as request: {url: https://shop.example.com}", key)
		}
		steps = append(steps, s)
		// After what the step itself needs: it cannot need what it captures.
		for _, name := range slices.Sorted(maps.Keys(sc.Capture)) {
			path := sc.Capture[name]
			switch {
			case sc.JWT != nil && sc.Request == nil:
				fault("%s.capture: only an answer to a request can be captured; remove it", key)
			case !namePattern.MatchString(name):
				fault("%s.capture: %q is no name; write letters, digits, _ and -, such as token", key, name)
			case path == "":
				fault("%s.capture.%s: \"\" is no path; write where the answer has it, such as %s", key, name, name)
			case known[name] != nil:
				fault("%s.capture.%s: an earlier step captures this name; choose another", key, name)
			default:
				s.captures = append(s.captures, capture{name: name, path: path})
			}
		}
		for j := range s.captures {
			known[s.captures[j].name] = &s.captures[j]
		}
	}
	atVendor := false
	for i, s := range steps {
		s.vendor = c.Vendor
		// A login comes before all that is the vendor's, and has no token to send yet. An order whose answer authorizes
		// the vendor's own check of it is none.
		isLogin := !atVendor && s.request != nil && len(s.request.authorization().places()) == 0 &&
			slices.ContainsFunc(s.captures, func(c capture) bool { return tokens[c.name] })
		if given := c.Steps[i].Vendor; given != nil {
			s.vendor = *given
		} else if s.always || isLogin {
			s.vendor = ""
		}
		atVendor = atVendor || s.vendor != ""
		if len(s.blame) > 0 && s.vendor == "" {
			fault("steps[%d].blame: the step speaks for ourselves; remove blame or write whom it speaks for as vendor", i)
		}
	}
	return steps, faults
}

// builder makes one step of its configuration.
type builder struct {
	*step
	known  map[string]*capture
	faults *[]error
}

func (b *builder) fault(format string, args ...any) {
	*b.faults = append(*b.faults, fmt.Errorf(format, args...))
}

// template checks that all that the template needs is captured by an earlier step.
func (b *builder) template(key string, t template, err error) template {
	if err != nil {
		b.fault("%s: %w", key, err)
		return nil
	}
	for _, p := range t.places() {
		from := b.known[p.name]
		if from == nil {
			remedy := "capture it in an earlier step"
			if len(b.known) > 0 {
				remedy += ", or write one of " + strings.Join(slices.Sorted(maps.Keys(b.known)), ", ")
			}
			b.fault("%s: {{%s}} is captured by no earlier step; %s", key, p, remedy)
			continue
		}
		b.needs = append(b.needs, p)
		if p.path != "" && !slices.Contains(from.parts, p.path) {
			from.parts = append(from.parts, p.path)
		}
	}
	return t
}

func (b *builder) text(key, text string) template {
	t, err := parseTemplate(text)
	return b.template(key, t, err)
}

// header is a text that a header's value can have.
func (b *builder) header(key, text string) template {
	t := b.text(key, text)
	if slices.ContainsFunc(t, func(part templatePart) bool { return !httpguts.ValidHeaderFieldValue(part.text) }) {
		b.fault("%s: %w", key, errControl)
	}
	return t
}

func (b *builder) json(key string, text jsonText) template {
	t, err := parseJSONTemplate(text)
	return b.template(key, t, err)
}

func (b *builder) fields(key string, wanted map[string]jsonText) (fields []field) {
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		if path == "" {
			b.fault("%s: one path is \"\"; write where the value is, such as order.id", key)
			continue
		}
		fields = append(fields, field{path: path, want: b.json(key+"."+path, wanted[path])})
	}
	return fields
}

func (b *builder) request(key string, sc *StepConfig) {
	at, rc := key+".request", sc.Request
	r := &request{method: rc.method(), follow: rc.FollowRedirects, expect: expectation{status: sc.Expect.Status, has: sc.Expect.Has, maxDuration: sc.Expect.MaxDuration}}
	if !isMethod(r.method) {
		b.fault("%s.method: %q is not an HTTP method; write one such as POST", at, r.method)
	}
	if err := checkURL(string(rc.URL)); err != nil {
		b.fault("%s.url: %w", at, err)
	} else {
		r.url = b.text(at+".url", string(rc.URL))
	}
	for name, value := range rc.Headers.Iter {
		switch {
		case ours(name):
			b.fault("%s.headers: %s is the mark of a test order; remove it", at, name)
		case !httpguts.ValidHeaderFieldName(name):
			b.fault("%s.headers: %q is no header; write one such as Accept", at, name)
		case strings.EqualFold(name, "Host") && !httpguts.ValidHostHeader(inPlaces.ReplaceAllString(string(value), "x")):
			b.fault("%s.headers.Host: it is no host; write one such as shop.example.com", at)
		case strings.EqualFold(name, "Authorization") && rc.Bearer != "":
			b.fault("%s.headers: Authorization and bearer are both given; write one", at)
		default:
			r.headers = append(r.headers, header{name: name, value: b.header(at+".headers."+name, string(value))})
		}
	}
	r.bearer = b.header(at+".bearer", string(rc.Bearer))
	switch {
	case rc.hasJSON() && rc.Body != "":
		b.fault("%s: json and body are both given; write one", at)
	case rc.hasJSON() && rc.JSON[0] != '{' && rc.JSON[0] != '[':
		b.fault("%s.json: it is neither a map nor a list; write one, or use body", at)
	case rc.hasJSON():
		r.body, r.isJSON = b.json(at+".json", rc.JSON), true
	default:
		r.body = b.text(at+".body", string(rc.Body))
	}

	at = key + ".expect"
	for _, code := range sc.Expect.Status {
		if code < 100 || code > 599 {
			b.fault("%s.status: %d is not an HTTP status code; write one from 100 to 599", at, code)
		}
	}
	r.expect.json = b.fields(at+".json", sc.Expect.JSON)
	if slices.Contains(sc.Expect.Has, "") {
		b.fault("%s.has: one path is \"\"; write where the answer must have something, such as jwt", at)
	}
	switch {
	case hasNoUnit(sc.Expect.MaxDuration):
		b.fault(noUnit, at+".max_duration", sc.Expect.MaxDuration, "10s")
	case sc.Expect.MaxDuration < 0:
		b.fault("%s.max_duration: %s is negative; write a duration such as 10s, or 0 for off", at, sc.Expect.MaxDuration)
	}
	b.step.request = r
}

func (b *builder) jwt(key string, sc *StepConfig) {
	at, jc := key+".jwt", sc.JWT
	v := &verification{leeway: jc.Leeway, algorithms: jc.Algorithms}
	if jc.Token == "" {
		b.fault("%s.token: \"\" is empty; write what was captured, such as \"{{jwt}}\"", at)
	}
	v.token = b.text(at+".token", string(jc.Token))
	if err := checkURL(string(jc.JWKS)); err != nil {
		b.fault("%s.jwks: %w", at, err)
	} else if strings.Contains(string(jc.JWKS), "{{") {
		b.fault("%s.jwks: it has {{; write the URL of the vendor's keys, which no answer may choose", at)
	}
	v.keys = &keySet{from: request{method: "GET", url: template{{text: string(jc.JWKS)}}}}
	if len(v.algorithms) == 0 {
		v.algorithms = publicKeyAlgorithms
	}
	for _, name := range v.algorithms {
		if !slices.Contains(publicKeyAlgorithms, name) {
			b.fault("%s.algorithms: %q does not prove that the vendor signed, anybody who knows the public keys could have; write some of %s",
				at, name, strings.Join(publicKeyAlgorithms, ", "))
		}
	}
	switch {
	case hasNoUnit(jc.Leeway):
		b.fault(noUnit, at+".leeway", jc.Leeway, "1m")
	case jc.Leeway < 0:
		b.fault("%s.leeway: %s is negative; write a duration such as 1m", at, jc.Leeway)
	}
	v.claims = b.fields(at+".claims", jc.Claims)
	if e := sc.Expect; e.Status != nil || e.JSON != nil || e.Has != nil || e.MaxDuration != 0 {
		b.fault("%s.expect: it is for answers to requests; write what a token must hold as jwt.claims", key)
	}
	if sc.Blame != nil {
		b.fault("%s.blame: it is for answers to requests; remove it", key)
	}
	b.step.token = v
}

// ready tells whether everything that the step needs was captured.
func (s *step) ready(c captured) bool {
	return !slices.ContainsFunc(s.needs, func(p place) bool { return isMissing(p.of(c)) })
}

// isMissing tells whether a value is none: a service that has no token may well answer with null, or with "".
func isMissing(v gjson.Result) bool {
	return !v.Exists() || v.Type == gjson.Null || v.Type == gjson.String && v.Str == ""
}

// take captures from an answer what is there, and returns the first path at which something is missing.
func (s *step) take(answer gjson.Result, into captured) (missing string) {
	missed := func(path string) {
		if missing == "" {
			missing = path
		}
	}
	for _, c := range s.captures {
		value := answer.Get(c.path)
		if isMissing(value) {
			missed(c.path)
			continue
		}
		into[c.name] = value
		for _, part := range c.parts {
			if isMissing(value.Get(part)) {
				missed(c.path + "." + part)
			}
		}
	}
	return missing
}

// holds tells whether a JSON text has the value that the field wants.
func (f field) holds(in gjson.Result, c captured) bool {
	got := in.Get(f.path)
	return got.Exists() && same(gjson.Parse(f.want.render(c, withinString)), got)
}

// same compares two JSON values. A number is the same as its text, for what is a number here may be a string there; the
// members of an object have no order.
func same(a, b gjson.Result) bool {
	left, ok := decode(a.Raw)
	right, ok2 := decode(b.Raw)
	return ok && ok2 && sameValue(left, right)
}

func decode(text string) (value any, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(&value)
	return value, err == nil
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, value := range a {
			if other, ok := b[name]; !ok || !sameValue(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	case nil:
		return b == nil
	}
	left, ok := scalar(a)
	right, ok2 := scalar(b)
	return ok && ok2 && left == right
}

func scalar(value any) (text string, ok bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case bool:
		return strconv.FormatBool(value), true
	case json.Number:
		if strings.ContainsAny(value.String(), ".eE") {
			if number, err := value.Float64(); err == nil {
				return strconv.FormatFloat(number, 'f', -1, 64), true
			}
		}
		return value.String(), true
	}
	return "", false
}
