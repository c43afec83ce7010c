package vendorfailureprocessor

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// requestSpan is what a SERVER or CLIENT span says of its request, by the HTTP and RPC semantic conventions, old
// (v1.20 and before) and new; some SDKs mix them within a trace, or write both.
type requestSpan struct {
	method, route, path, url string
	host, scheme             string
	port                     int64
	status                   int // HTTP; 0: none told
	grpc                     int // -1: none told
	errorType                string
	rpc                      procedure
	peer                     string // the remote service's name
	isHTTP, isRPC            bool
	isStore                  bool // a database or a queue
	isAnswered               bool // with a status code of a protocol other than HTTP and gRPC
}

// readRequest reads a span's attributes in one walk.
func readRequest(attributes pcommon.Map) (r requestSpan) {
	r.grpc = -1
	for key, v := range attributes.All() {
		switch key {
		case "http.request.method":
			r.isHTTP = true
			if method := stringOf(v); method != "" {
				r.method = method
			}
		case "http.method":
			r.isHTTP = true
			if r.method == "" {
				r.method = stringOf(v)
			}
		case "http.route":
			r.route = stringOf(v)
		case "url.path":
			r.path = stringOf(v)
		case "http.target":
			if r.path == "" {
				r.path = stringOf(v)
			}
		case "url.full":
			r.url = stringOf(v)
		case "http.url":
			if r.url == "" {
				r.url = stringOf(v)
			}
		case "server.address":
			r.host = stringOf(v)
		case "net.peer.name":
			if r.host == "" {
				r.host = stringOf(v)
			}
		case "server.port":
			r.port = intOf(v)
		case "net.peer.port":
			if r.port == 0 {
				r.port = intOf(v)
			}
		case "url.scheme", "http.scheme":
			r.scheme = stringOf(v)
		case "http.response.status_code", "http.status_code":
			if status := intOf(v); 100 <= status && status <= 999 {
				r.status = int(status)
			}
		case "error.type":
			r.errorType = stringOf(v)
		case "rpc.grpc.status_code":
			r.readCode(stringOf(v))
		case "rpc.response.status_code":
			r.readCode(stringOf(v))
		case "rpc.system", "rpc.system.name":
			r.isRPC = true
		case "rpc.service":
			r.rpc.service = stringOf(v)
		case "rpc.method":
			r.rpc.method = stringOf(v)
		case "service.peer.name":
			r.peer = v.Str() // "" for what is no text: it may hold more than a name
		case "peer.service": // until semantic conventions v1.39
			if r.peer == "" {
				r.peer = v.Str()
			}
		case "db.system", "db.system.name", "messaging.system":
			r.isStore = true
		}
	}
	return r
}

// readCode reads the status code of a remote procedure call.
func (r *requestSpan) readCode(text string) {
	r.isRPC = true
	if code, ok := reason.GRPCCode(text); ok {
		r.grpc = code
	} else {
		r.isAnswered = true
	}
}

// glance returns what tells at first sight of most CLIENT spans that they are no call to a vendor: the URL to which the
// request went, where it is told whole, whether a vendor's name is there, and whether it went to a database. One walk
// that compares with constants takes half of what a look-up for each takes.
func glance(attributes pcommon.Map) (url string, isNamed, isStore bool) {
	for key, v := range attributes.All() {
		switch key {
		case "url.full":
			if v.Type() == pcommon.ValueTypeStr {
				url = v.Str()
			}
		case tagVendor:
			isNamed = true
		case "db.system", "db.system.name":
			isStore = true
		}
	}
	return url, isNamed, isStore
}

// addressOf returns where the request of a CLIENT span went that is no call to a database.
func addressOf(attributes pcommon.Map, url string) (address, bool) {
	if a, ok := splitURL(url); ok {
		return a, true
	}
	for _, name := range [...]string{"server.address", "net.peer.name", "http.url", "rpc.method"} {
		if _, ok := attributes.Get(name); ok {
			r := readRequest(attributes)
			return r.address()
		}
	}
	return address{}, false
}

// address returns where the request of a CLIENT span went, as far as its URL, or else its parts, tell.
func (r *requestSpan) address() (address, bool) {
	if a, ok := splitURL(r.url); ok {
		a.origin = 0 // that of another attribute
		return a, true
	}
	if r.host == "" && r.rpc.method != "" && !r.isStore {
		return address{rpc: r.rpc}, true // a call that never connected, as Go's otelgrpc tells of it
	}
	if r.host == "" || r.isStore || r.port < 0 || r.port > math.MaxUint16 {
		return address{}, false
	}
	a := address{host: r.host, port: uint16(r.port), path: trimPath(r.path), rpc: r.rpc}
	a.splitName()
	if a.port == 0 {
		a.port = portOf(r.scheme)
	}
	return a, true
}

// hasMethodOf tells whether a SERVER span has one of the order endpoints' methods. Most have not, and need no more reading.
func hasMethodOf(methods []string, attributes pcommon.Map) bool {
	method := ""
	for _, name := range [...]string{"http.request.method", "http.method", "rpc.method"} {
		v, ok := attributes.Get(name)
		if !ok {
			continue
		}
		if method = stringOf(v); method != "" {
			if name == "rpc.method" {
				method = rpcOverHTTP
			}
			break
		}
	}
	return slices.ContainsFunc(methods, func(m string) bool { return takes(m, method) })
}

// rpcOverHTTP is the HTTP method of every gRPC request (gRPC over HTTP2, "Requests"), which its RPC spans do not tell.
const rpcOverHTTP = "POST"

// procedure is what a remote procedure call called.
type procedure struct{ service, method string }

// split returns service and method. New conventions have the service in rpc.method already.
func (p procedure) split() (service, method string) {
	if service, method, ok := strings.Cut(strings.TrimPrefix(p.method, "/"), "/"); ok {
		return service, method
	}
	return p.service, p.method
}

// path returns the path of a call, /Service/Method, as gRPC sends it; "" where there is none.
func (p procedure) path() string {
	switch service, method := p.split(); {
	case p.method == "":
		return ""
	case service == "":
		return "/" + method
	default:
		return "/" + service + "/" + method
	}
}

// isAt tells whether this is the path of a call.
func (p procedure) isAt(path string) bool {
	service, method := p.split()
	return len(path) == len(service)+len(method)+2 && path[0] == '/' && path[1:1+len(service)] == service &&
		path[1+len(service)] == '/' && path[2+len(service):] == method
}

// isRequestOf tells whether the request of a SERVER span has an endpoint's method.
func (r *requestSpan) isRequestOf(e *endpoint) bool {
	if r.method == "" && r.rpc.method != "" {
		return e.hasMethod(rpcOverHTTP)
	}
	return e.hasMethod(r.method)
}

// isOrder tells whether the request of a SERVER span is one to an order endpoint.
func (r *requestSpan) isOrder(endpoints []endpoint, x *asked) bool {
	for i := range endpoints {
		if e := &endpoints[i]; r.isRequestOf(e) && r.isAt(e) && e.conditions.holdOf(x) {
			return true
		}
	}
	return false
}

// isAt tells whether the request of a SERVER span is at an endpoint's route, whatever its method.
func (r *requestSpan) isAt(e *endpoint) bool {
	if r.route != "" && e.hasPath(r.route) || r.path != "" && e.hasPath(r.path) {
		return true
	}
	if r.path == "" && r.url != "" {
		if a, ok := splitURL(r.url); ok && e.hasPath(a.path) {
			return true
		}
	}
	return r.rpc.method != "" && r.rpc.isAt(e.route)
}

// outcome tells how the request of a SERVER span ended, before any vendor is looked at: success, rejected, or
// ownFailure for one that failed.
func (r *requestSpan) outcome(span ptrace.Span) outcome {
	switch {
	case r.status >= 500:
		return ownFailure
	case r.status >= 400:
		return rejected
	case r.grpc > 0:
		switch reason.OfGRPC(r.grpc) {
		case reason.Rejected, reason.Unauthorized, reason.Throttled: // what HTTP says with a 4xx
			return rejected
		}
		return ownFailure
	case span.Status().Code() == ptrace.StatusCodeError:
		return ownFailure
	}
	return success
}

// failure returns why the call of a CLIENT span failed, reason.None for one that succeeded in time.
func (r *requestSpan) failure(span ptrace.Span, slowAfter time.Duration) reason.Reason {
	if why := reason.OfStatus(r.status); why != reason.None {
		return why
	}
	if r.grpc > 0 {
		return reason.OfGRPC(r.grpc)
	}
	if span.Status().Code() == ptrace.StatusCodeError || r.status == 0 && r.grpc < 0 && r.errorType != "" {
		return r.failureWithoutStatus(span)
	}
	if slowAfter > 0 && durationOf(span) > slowAfter {
		return reason.Slow
	}
	return reason.None
}

func (r *requestSpan) failureWithoutStatus(span ptrace.Span) reason.Reason {
	named := [reason.Count]bool{}
	look := func(text string) { named[reason.OfClientError(text)] = true }
	look(r.errorType)
	look(span.Status().Message())
	for kind, message := range exceptions(span) {
		look(kind)
		look(message)
	}
	switch {
	case named[reason.Timeout]:
		return reason.Timeout
	case named[reason.Unreachable], r.status == 0 && r.grpc < 0 && !r.isAnswered && (r.isHTTP || r.isRPC):
		return reason.Unreachable
	}
	return reason.Error
}

// longest is how long a call can take: of more than that, one of the span's times is wrong.
const longest = 24 * time.Hour

// durationOf returns how long a span took; it is negative where the span does not tell.
func durationOf(span ptrace.Span) time.Duration {
	if end, start := span.EndTimestamp(), span.StartTimestamp(); end >= start && start > 0 && end-start <= pcommon.Timestamp(longest) {
		return time.Duration(end - start)
	}
	return -1
}

// throws tells whether the message of an exception on a span contains a text.
func throws(span ptrace.Span, text string) bool {
	for _, message := range exceptions(span) {
		if strings.Contains(message, text) {
			return true
		}
	}
	return false
}

// exceptions yields type and message of each exception recorded on a span.
func exceptions(span ptrace.Span) iter.Seq2[string, string] {
	return func(yield func(kind, message string) bool) {
		events := span.Events()
		for i := range events.Len() {
			event := events.At(i)
			if event.Name() != "exception" {
				continue
			}
			var kind, message string
			if v, ok := event.Attributes().Get("exception.type"); ok {
				kind = stringOf(v)
			}
			if v, ok := event.Attributes().Get("exception.message"); ok {
				message = stringOf(v)
			}
			if !yield(kind, message) {
				return
			}
		}
	}
}

// stringOf returns a string attribute; other types, which no convention has here, as text.
func stringOf(v pcommon.Value) string {
	if v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return v.AsString()
}

// intOf returns an integer attribute; some SDKs write numbers as strings. What is no number is 0.
func intOf(v pcommon.Value) int64 {
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return v.Int()
	case pcommon.ValueTypeDouble:
		return int64(v.Double())
	case pcommon.ValueTypeStr:
		n, err := strconv.ParseInt(strings.TrimSpace(v.Str()), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
