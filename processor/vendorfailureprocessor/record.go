package vendorfailureprocessor

import (
	"strings"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// The names that loggers have for the fields of a request. Those of the semantic conventions come first, new and old;
// the others are from the loggers of public JWT Pizza forks, the most frequent first. A name with a dot is a field's
// own name or a path to it.
var (
	kindNames    = fieldNames("type", "event", "kind")
	serviceNames = fieldNames("service.name", "component", "source", "service_name", "service", "job")
	methodNames  = fieldNames("http.request.method", "http.method", "method", "meta.req.method", "req.method")
	statusNames  = fieldNames("http.response.status_code", "http.status_code", "statusCode", "status", "meta.res.statusCode", "res.statusCode")
	pathNames    = fieldNames("http.route", "url.path", "http.target", "url.full", "http.url", "path", "url", "endpoint",
		"meta.req.originalUrl", "meta.req.url", "req.originalUrl", "req.url")
	requestNames  = fieldNames("http.request.body", "reqBody", "requestBody", "request", "requestData", "factoryRequest")
	responseNames = fieldNames("http.response.body", "resBody", "responseBody", "response", "responseData", "factoryResponse")
	// Some loggers of vendor calls have the request under these names, others the response.
	eitherNames = fieldNames("data", "body")
	levelNames  = fieldNames("level", "severity", "severity_text", "detected_level", "log.level", "lvl")
	errorNames  = fieldNames("error.type", "exception.type", "exception.message", "error", "err", "message", "msg")
)

// fieldName is one name of a field.
type fieldName struct {
	name, quoted string
	first, rest  string // of a path: its first step and what follows; "" where the name has no dot
}

func fieldNames(names ...string) []fieldName {
	fields := make([]fieldName, len(names))
	for i, name := range names {
		fields[i] = fieldName{name: name, quoted: `"` + name + `"`}
		if first, rest, ok := strings.Cut(name, "."); ok {
			fields[i].first, fields[i].rest = first, rest
		}
	}
	return fields
}

// initials is a set of first bytes, two bits taken off: of a name whose first byte is not in it, there is none. Most fields
// that are asked for are not there, and so cost next to nothing.
type initials uint64

const anyInitial = ^initials(0)

func (i *initials) add(name string) {
	if name != "" {
		*i |= 1 << (name[0] & 63)
	}
}

func (i initials) has(name string) bool { return name != "" && i>>(name[0]&63)&1 != 0 }

// line is a log record as its fields are read: attributes first, then the JSON of its body.
type line struct {
	record     plog.LogRecord
	asked      *asked   // the same record, for conditions
	body       string   // JSON, unwrapped; "" where it is no JSON object
	members    []member // of the body, as far as it has been read
	read       int      // the index in the body up to which it has been read
	keys       initials // of the members
	attributes initials // of the record's attributes
	room       *[]byte  // for what is unescaped: it lives until the next line is read
}

// ordinary is how many members the bodies of most loggers have at most.
const ordinary = 16

// readLine begins to read a record. The members of its body go into room while there is some.
func readLine(x *asked, room []member) line {
	x.text = x.text[:0]
	l := line{record: x.record, asked: x, members: room, room: &x.text}
	for name := range x.record.Attributes().All() {
		l.attributes.add(name)
	}
	if body := unwrap(valueOf(x.record.Body())); body.IsObject() {
		l.body, l.read = body.Raw, beginObject(body.Raw)
	}
	return l
}

// next reads one more member of the body, and tells whether there was one.
func (l *line) next() bool {
	m, end, ok := nextMember(l.body, l.read)
	l.read = end
	if ok {
		l.members = append(l.members, m)
		l.keys.add(m.key)
	}
	return ok
}

// field returns the first field that has one of these names.
func (l *line) field(names []fieldName) gjson.Result {
	v, m := l.find(names)
	if m != nil {
		return m.value(l.room)
	}
	return v
}

// unwrapped returns the first field that has one of these names, unwrapped. A string in the body is taken apart only once.
func (l *line) unwrapped(names []fieldName) gjson.Result {
	v, m := l.find(names)
	if m == nil {
		return unwrap(v)
	}
	return m.unwrapped(l.room)
}

// find returns the first field that has one of these names, and the member of the body where it is one: then the field
// itself is not read yet.
func (l *line) find(names []fieldName) (gjson.Result, *member) {
	if v, ok := fieldOf(l.record.Attributes(), l.attributes, names); ok {
		return v, nil
	}
	return l.findInBody(names)
}

// findInBody does it for the body alone.
func (l *line) findInBody(names []fieldName) (gjson.Result, *member) {
	for l.next() {
	}
	for i := range names {
		n := &names[i]
		if !l.keys.has(n.name) {
			continue
		}
		entered := n.first == "" // of members with the same key the first counts: a line may have a million
		for j := range l.members {
			if m := &l.members[j]; m.key == n.name {
				return gjson.Result{}, m
			} else if !entered && m.key == n.first {
				entered = true
				if found := walk(m.unwrapped(l.room), n.rest); found.Exists() {
					return found, nil
				}
			}
		}
	}
	return gjson.Result{}, nil
}

// aliases are the names of a field that is looked for in every line: of those in the body the one counts that stands
// first, so that nothing after it is read. Loggers write path and method before the answer, which is most of a line.
type aliases struct {
	names []fieldName
	begin initials
}

var paths, methods = newAliases(pathNames), newAliases(methodNames)

func newAliases(names []fieldName) aliases {
	a := aliases{names: names}
	for i := range names {
		a.begin.add(names[i].name)
	}
	return a
}

// first returns the first field that has one of these names.
func (l *line) first(a *aliases) gjson.Result {
	if l.attributes&a.begin != 0 {
		if v, ok := fieldOf(l.record.Attributes(), l.attributes, a.names); ok {
			return v
		}
	}
	for i := 0; i < len(l.members) || l.next(); i++ {
		m := &l.members[i]
		if !a.begin.has(m.key) {
			continue
		}
		for j := range a.names {
			n := &a.names[j]
			if n.name == m.key && !strings.HasPrefix(m.raw, "{") { // such as "url": {"query": …}, which is no path
				return m.value(l.room)
			}
			if n.first == m.key {
				if found := walk(m.unwrapped(l.room), n.rest); found.Exists() {
					return found
				}
			}
		}
	}
	return gjson.Result{}
}

// fieldOf returns the first attribute that has one of these names, or is on the way to it.
func fieldOf(attributes pcommon.Map, begin initials, names []fieldName) (gjson.Result, bool) {
	for i := range names {
		n := &names[i]
		if !begin.has(n.name) {
			continue
		}
		if v, ok := attributes.Get(n.name); ok {
			return valueOf(v), true
		}
		if n.first == "" {
			continue
		}
		if v, ok := attributes.Get(n.first); ok {
			if found := walk(valueOf(v), n.rest); found.Exists() {
				return found, true
			}
		}
	}
	return gjson.Result{}, false
}

// hostNames are the names that lines have for the host of a request where they tell no URL.
var hostNames = fieldNames("server.address", "net.peer.name", "host", "hostname")

// address returns where a line says that a request went: the first URL that it tells, or host and path.
func (l *line) address() (address, bool) {
	path := ""
	for i := range pathNames {
		text := l.field(pathNames[i : i+1]).String()
		if a, ok := splitURL(text); ok {
			return a, true
		}
		if path == "" {
			path = text
		}
	}
	a := address{host: l.field(hostNames).String(), path: trimPath(path)}
	a.splitName()
	return a, a.host != ""
}

// isOrder tells whether a line that records a served request with this request line records one to this endpoint.
func (l *line) isOrder(e *endpoint, path, method string) bool {
	if path != "" && path != "/" || e.route == "/" && path == "/" {
		if !e.hasTrimmed(path) {
			return false
		}
	} else if !l.requestHas(e.requestHas) {
		return false
	}
	if m := l.first(&methods); m.Exists() {
		method = m.String()
	}
	return e.hasMethod(method)
}

// request returns the path that a line tells, and the method where it stands before the path.
func (l *line) request() (path, method string) { return requestLine(l.first(&paths).String()) }

// requestLine takes the path out of a path, a URL, or a method with either.
func requestLine(text string) (path, method string) {
	if m, rest, ok := strings.Cut(text, " "); ok && isToken(m) {
		method, text = m, rest
	}
	if a, ok := splitURL(text); ok {
		return a.path, method
	}
	return trimPath(text), method
}

// requestHas tells whether the request of a line has all of these fields. It asks for none where there are none: then
// nothing tells an order from other requests.
func (l *line) requestHas(fields []string) bool {
	if len(fields) == 0 {
		return false
	}
	request := l.unwrapped(requestNames)
	if !request.Exists() {
		request = l.unwrapped(eitherNames)
	}
	return hasFields(request, fields)
}

func hasFields(v gjson.Result, fields []string) bool {
	for _, field := range fields {
		if !walk(v, field).Exists() {
			return false
		}
	}
	return v.Exists()
}

// status returns the HTTP status code that a line tells, 0 for none.
func (l *line) status() int {
	v := l.field(statusNames)
	if status := v.Int(); 100 <= status && status <= 999 {
		return int(status)
	}
	return 0
}

// isError tells whether severity or level of a line is an error.
func (l *line) isError() bool {
	if l.record.SeverityNumber() >= plog.SeverityNumberError {
		return true
	}
	if text := l.record.SeverityText(); text != "" {
		return isErrorLevel(text)
	}
	v := l.field(levelNames)
	if v.Type == gjson.Number {
		return v.Num >= 50 // pino and bunyan: 50 is error, 60 fatal
	}
	return isErrorLevel(v.String())
}

func isErrorLevel(level string) bool {
	switch lowerASCII(level) {
	case "error", "err", "fatal", "critical", "crit", "alert", "emergency", "emerg", "panic", "severe":
		return true
	}
	return false
}

// answer returns the unwrapped response that a line records: none where its field is null or empty, as loggers write it
// before there is one. Under a name that some loggers have for the request, a value with the fields of an order's request
// is one.
func (l *line) answer(endpoints []endpoint) gjson.Result {
	if v := l.unwrapped(responseNames); !isNothing(v) {
		return v
	} else if v.Exists() {
		return gjson.Result{}
	}
	for i := range eitherNames {
		if v := l.unwrapped(eitherNames[i : i+1]); !isNothing(v) && !isRequest(v, endpoints) {
			return v
		}
	}
	return gjson.Result{}
}

// isNothing tells whether an unwrapped value is not there, null, also as a text, or an empty text.
func isNothing(v gjson.Result) bool {
	return v.Type == gjson.Null || v.Type == gjson.String && (v.Str == "" || v.Str == "null")
}

// isRequest tells whether a value has the fields of an order's request.
func isRequest(v gjson.Result, endpoints []endpoint) bool {
	for i := range endpoints {
		if fields := endpoints[i].requestHas; len(fields) > 0 && (hasFields(v, fields) || nestedHas(v, fields)) {
			return true
		}
	}
	return false
}

// nestedHas tells whether one of an object's values has all of these fields: a vendor gets an order along with the
// customer who placed it.
func nestedHas(v gjson.Result, fields []string) (has bool) {
	if v.IsObject() {
		v.ForEach(func(_, value gjson.Result) bool {
			has = value.IsObject() && hasFields(value, fields)
			return !has
		})
	}
	return has
}

// isWhole tells whether nothing is cut off from a line's body and its answer: a field of a truncated answer says
// nothing of the vendor.
func (l *line) isWhole(answer gjson.Result) bool {
	return (l.body == "" || isJSON([]byte(l.body))) && (answer.Type != gjson.JSON || isJSON([]byte(answer.Raw)))
}

// at returns when a record happened; one without a timestamp has its observed one.
func (l *line) at() pcommon.Timestamp {
	if t := l.record.Timestamp(); t != 0 {
		return t
	}
	return l.record.ObservedTimestamp()
}

// service returns the name of the service that wrote a record without service.name on its resource: the first of its
// labels that is a text. What has parts is none, and may hold what a customer sent: of the Elastic Common Schema source is
// the client, with address and user.
func (l *line) service() string {
	for i := range serviceNames {
		if v, ok := fieldOf(l.record.Attributes(), l.attributes, serviceNames[i:i+1]); ok {
			if name := nameIn(v); name != "" {
				return name
			}
		}
	}
	for i := range serviceNames {
		v, m := l.findInBody(serviceNames[i : i+1])
		if m != nil {
			v = m.value(l.room)
		}
		if name := nameIn(v); name != "" {
			return name
		}
	}
	return ""
}

// nameIn returns the name that a value is, "" for one that is no text or holds JSON.
func nameIn(v gjson.Result) string {
	if v = unwrap(v); v.Type != gjson.String || holdsJSON(v.Str) {
		return ""
	}
	return v.Str
}
