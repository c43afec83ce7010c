package vendorfailureprocessor

import "strings"

// endpoint is an order endpoint of the configuration.
type endpoint struct {
	method     string
	route      string   // without trailing slash
	segments   []string // of a route with parameters, which are "" here; nil for a route without
	requestHas []string
	conditions conditions
}

func newEndpoint(c OrderConfig) endpoint {
	e := endpoint{method: c.Method, route: trimPath(c.Route), requestHas: c.Logs.RequestHas}
	parts := strings.Split(e.route, "/")
	parameters := false
	for i, s := range parts {
		if strings.HasPrefix(s, ":") || strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
			parts[i], parameters = "", true
		}
	}
	if parameters {
		e.segments = parts
	}
	return e
}

// hasMethod tells whether a request with this method can be an order. A record that names no method is one only where
// the configuration asks for none.
func (e *endpoint) hasMethod(method string) bool { return takes(e.method, method) }

// takes tells whether a method of the configuration, "" for any, takes that of a request.
func takes(configured, method string) bool {
	return configured == "" || strings.EqualFold(configured, method)
}

// hasPath tells whether a path, with or without query and trailing slash, or a route is this endpoint's.
func (e *endpoint) hasPath(path string) bool { return e.hasTrimmed(trimPath(path)) }

// hasTrimmed does it for a path that has neither.
func (e *endpoint) hasTrimmed(path string) bool {
	if path == e.route {
		return true
	}
	if e.segments == nil {
		return false
	}
	for i, want := range e.segments {
		got, rest, more := strings.Cut(path, "/")
		if want != "" && got != want || want == "" && i > 0 && got == "" || more != (i < len(e.segments)-1) {
			return false
		}
		path = rest
	}
	return true
}
