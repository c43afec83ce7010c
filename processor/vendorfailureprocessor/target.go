package vendorfailureprocessor

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// target is where calls to a vendor go: a URL of the configuration, taken apart.
type target struct {
	host     string // lower case; for *.example.com what follows the asterisk
	wildcard bool
	port     uint16 // 0: any
	path     string // without trailing slash; "" is every path
	vendor   int16

	conditions *conditions // of the vendor's calls; nil for none
}

// parseTarget takes a URL of the configuration apart: host[:port] and a path prefix, with a scheme or without.
func parseTarget(raw string) (target, error) {
	const right = "write host[:port] and a path prefix, such as https://factory.example.com/api/order or *.example.com"
	// What stands before an @ may be a password, and a query may hold a key.
	shown := raw[strings.LastIndexByte(raw, '@')+1:]
	if i := strings.IndexAny(shown, "?#"); i >= 0 {
		shown = shown[:i]
	}
	text := raw
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		if strings.Contains(raw, "@") { // the error may quote a password
			if _, err = url.Parse("//" + shown); err == nil {
				return target{}, fmt.Errorf("%q has something before it that cannot be read; %s", shown, right)
			}
		}
		return target{}, fmt.Errorf("%q is not a URL: %w; %s", shown, err.(*url.Error).Err, right)
	}
	host, wildcard := strings.CutPrefix(strings.TrimSuffix(u.Hostname(), "."), "*.")
	switch {
	case host == "" || len(host) > maxHost || strings.ContainsAny(host, "*/ "):
		return target{}, fmt.Errorf("%q names no host; %s", shown, right)
	case u.Scheme == "" && strings.HasSuffix(u.Host, ":"): // http:/factory, with a slash too few
		return target{}, fmt.Errorf("%q has no port after its colon; %s", shown, right)
	case u.User != nil:
		return target{}, fmt.Errorf("%q has credentials before it; leave them out, they play no part", shown)
	case u.RawQuery != "" || u.Fragment != "":
		return target{}, fmt.Errorf("%q has a query or fragment after it; %s", shown, right)
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if strings.ContainsAny(segment, "*{}") || strings.HasPrefix(segment, ":") {
			return target{}, fmt.Errorf("%q has *, {x} or :x in its path, which would stand for itself; the path is a prefix, write what comes before it", shown)
		}
	}
	t := target{
		host:     lowerASCII(host),
		wildcard: wildcard,
		port:     portOf(u.Scheme),
		path:     strings.TrimRight(u.EscapedPath(), "/"), // as telemetry tells it
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return target{}, fmt.Errorf("%q has port %q; write one from 1 to 65535", shown, p)
		}
		t.port = uint16(n)
	}
	if u.Scheme != "" && t.port == 0 {
		return target{}, fmt.Errorf("%q has scheme %q, whose port is not known; write the port, or %s", shown, u.Scheme, right)
	}
	return t, nil
}

// portOf returns the port that a scheme means, 0 where it is not known.
func portOf(scheme string) uint16 {
	switch scheme {
	case "https", "HTTPS":
		return 443
	case "http", "HTTP":
		return 80
	}
	return 0
}

// address is where a request went, as telemetry tells it. A port of 0 is not told.
type address struct {
	host string
	port uint16
	path string
	rpc  procedure // whose path counts where there is none

	origin  int  // how long scheme, host and port are in url.full; 0 where it does not tell them
	anyPort bool // of a call that tells neither the host's name nor its port
}

// splitURL takes an absolute URL apart and allocates nothing. What is no such URL gives false.
func splitURL(raw string) (a address, ok bool) {
	i := strings.IndexByte(raw, ':')
	if i < 0 || len(raw) < i+3 || raw[i+1] != '/' || raw[i+2] != '/' {
		return address{}, false
	}
	a.port = portOf(raw[:i])
	rest := raw[i+3:]
	colon, end := -1, len(rest)
authority:
	for i := range len(rest) {
		switch rest[i] {
		case '/', '?', '#':
			end = i
			break authority
		case '@': // what stood before was user and password
			return splitHost(rest[i+1:], a.port)
		case ':':
			colon = i
		}
	}
	a.host = rest[:end]
	if end > 0 && rest[0] == '[' || colon >= 0 && !a.setPort(rest[:end], colon) {
		return splitHost(rest, a.port)
	}
	a.path, a.origin = trimPath(rest[end:]), i+3+end
	return a, a.host != ""
}

// setPort parts host and port at a colon. It gives false where what follows is no port.
func (a *address) setPort(authority string, colon int) bool {
	a.host = authority[:colon]
	if colon == len(authority)-1 {
		return true // a colon and nothing is the scheme's port
	}
	n, err := strconv.ParseUint(authority[colon+1:], 10, 16)
	if err != nil {
		return false
	}
	a.port = uint16(n)
	return true
}

// splitName takes apart what some gRPC clients give for a host: a name of gRPC's (grpc.github.io, "naming"), such as
// dns:///tax.example.com:443, or host and port.
func (a *address) splitName() {
	host := a.host
	for _, scheme := range [...]string{"dns:", "ipv4:", "passthrough:"} {
		if rest, ok := strings.CutPrefix(host, scheme); ok {
			host = rest[strings.LastIndexByte(rest, '/')+1:]
			break
		}
	}
	colon := strings.IndexByte(host, ':')
	if colon <= 0 || strings.IndexByte(host[colon+1:], ':') >= 0 {
		if colon < 0 {
			a.host = host
		}
		return // no port, or an IPv6 address
	}
	port, err := strconv.ParseUint(host[colon+1:], 10, 16)
	if err != nil {
		return
	}
	a.host = host[:colon]
	if a.port == 0 {
		a.port = uint16(port)
	}
}

// splitHost takes the rare forms apart: an IPv6 address in brackets, and what follows credentials.
func splitHost(rest string, port uint16) (a address, ok bool) {
	a.port = port
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	authority := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
	a.host = authority
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') && !a.setPort(authority, i) {
		return address{}, false
	}
	if n := len(a.host); n >= 2 && a.host[0] == '[' && a.host[n-1] == ']' {
		a.host = a.host[1 : n-1]
	}
	a.path = trimPath(rest[end:])
	return a, a.host != ""
}

// trimPath returns a path without query, fragment and trailing slashes; "/" for the root.
func trimPath(path string) string {
	for i := range len(path) {
		if path[i] == '?' || path[i] == '#' {
			path = path[:i]
			break
		}
	}
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

// maxHost is how long a host's name can be (RFC 1035, section 2.3.4). Parents of a longer one are not looked for: that
// would take time with the square of its length.
const maxHost = 253

// elsewhere is a few origins (RFC 6454: scheme, host and port) of URLs, as they stand, where no vendor lives. Most
// requests go to the same few places.
type elsewhere struct {
	origins [4]string
	oldest  int
}

func (e *elsewhere) add(origin string) {
	e.origins[e.oldest] = origin
	e.oldest = (e.oldest + 1) % len(e.origins)
}

// has tells whether a URL surely is of one of these origins.
func (e *elsewhere) has(url string) bool {
	for _, o := range e.origins {
		if o != "" && len(url) > len(o) && url[len(o)] == '/' && url[:len(o)] == o {
			return true
		}
	}
	return false
}

// targets finds the vendor that a request went to.
type targets struct {
	hosts, below map[string][]target // by host, and by what follows "*."
	services     map[string][]target // by the first segment of the path, which of gRPC is the service
}

func newTargets(configs []VendorConfig, vendors []vendor) (targets, error) {
	ts := targets{hosts: map[string][]target{}, below: map[string][]target{}, services: map[string][]target{}}
	for i, v := range configs {
		for _, raw := range v.Calls.URLs {
			t, err := parseTarget(raw)
			if err != nil {
				return targets{}, err
			}
			t.vendor = int16(i)
			if len(v.Calls.Conditions) > 0 {
				t.conditions = &vendors[i].calls
			}
			m := ts.hosts
			if t.wildcard {
				m = ts.below
			}
			m[t.host] = append(m[t.host], t)
			if service := firstSegment(t.path); service != "" {
				ts.services[service] = append(ts.services[service], t)
			}
		}
	}
	for _, m := range []map[string][]target{ts.hosts, ts.below, ts.services} {
		for _, list := range m {
			// The longest path tells most: of two vendors behind one gateway it is theirs.
			slices.SortStableFunc(list, func(a, b target) int { return len(b.path) - len(a.path) })
		}
	}
	return ts, nil
}

// nearness tells how near a request that went to no vendor came to one.
type nearness uint8

const (
	atNone   nearness = iota
	atHost            // a vendor lives at its host
	atOrigin          // at its host and port
)

// find returns the vendor that lives at the address to which a span or record says that a request went, or noVendor, and
// how near to any it came.
func (ts *targets) find(a address, x *asked) (v int16, near nearness) {
	if a.host == "" {
		return ts.ofService(a, x)
	}
	host := hostName(a.host)
	v, near = among(ts.hosts[host], a, x)
	if v != noVendor {
		return v, near
	}
	if near == atNone && a.rpc.method != "" && isPublicAddress(host) {
		// Go's otelgrpc tells the connection's address where others tell the host.
		return ts.ofService(a, x)
	}
	if len(ts.below) > 0 {
		for {
			_, rest, ok := strings.Cut(host, ".")
			if !ok {
				break
			}
			v, below := among(ts.below[rest], a, x)
			if near = max(near, below); v != noVendor {
				return v, near
			}
			host = rest
		}
	}
	return noVendor, near
}

// ofService returns the vendor that has a procedure's service, wherever it lives.
func (ts *targets) ofService(a address, x *asked) (v int16, near nearness) {
	service, _ := a.rpc.split()
	list := ts.services[service]
	if len(list) == 0 {
		return noVendor, atNone
	}
	a.path, a.anyPort = a.rpc.path(), true
	return among(list, a, x)
}

// at calls do with each target of a host, whatever its port and path.
func (ts *targets) at(host string, do func(*target)) {
	host = hostName(host)
	list := ts.hosts[host]
	for below := len(ts.below) > 0; ; list = ts.below[host] {
		for i := range list {
			do(&list[i])
		}
		if !below {
			return
		}
		if _, host, below = strings.Cut(host, "."); !below {
			return
		}
	}
}

// hostName returns a host as the configuration's are kept, "" for what can be none.
func hostName(host string) string {
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxHost {
		return ""
	}
	return lowerASCII(host)
}

func among(list []target, a address, x *asked) (v int16, near nearness) {
	if len(list) == 0 {
		return noVendor, atNone
	}
	if a.path == "" {
		a.path = a.rpc.path()
	}
	near = atHost
	for i := range list {
		t := &list[i]
		if !t.hasPort(a) {
			continue
		}
		if near = atOrigin; t.hasPath(a) && (t.conditions == nil || t.conditions.holdOf(x)) {
			return t.vendor, near
		}
	}
	return noVendor, near
}

// firstSegment returns the first segment of a path.
func firstSegment(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment
}

// takes tells whether a request to this host went to this target. A port that telemetry does not tell is the default of
// one of the two schemes.
func (t *target) takes(a address) bool {
	return t.hasPort(a) && t.hasPath(a)
}

func (t *target) hasPort(a address) bool {
	return t.port == 0 || a.anyPort || t.port == a.port || a.port == 0 && (t.port == 443 || t.port == 80)
}

func (t *target) hasPath(a address) bool {
	return strings.HasPrefix(a.path, t.path) && (len(a.path) == len(t.path) || t.path == "" || a.path[len(t.path)] == '/')
}

// lowerASCII returns s in lower case, and s itself where it is so already.
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}
