package testorderreceiver

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/publicsuffix"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes. A longer one is a bad response.
	maxAnswer    = 1 << 20
	maxRedirects = 5
)

// A request is what a step sends and what must come back.
type request struct {
	method  string
	url     template
	headers []header
	bearer  template
	body    template
	isJSON  bool
	follow  bool
	expect  expectation
}

type header struct {
	name  string
	value template
}

type expectation struct {
	status      []int
	json        []field
	has         []string
	maxDuration time.Duration
}

// A failure says why a step failed. Its detail is for people and holds nothing of an answer or of the configuration's
// values.
type failure struct {
	reason reason.Reason
	detail string
	// status of the answer, 0 where there was none.
	status int
	// unblamed says that it is ours whomever the step speaks for: nothing was sent, or the answer has none of the texts
	// that show the vendor's failure.
	unblamed bool
}

// authorization is what the request sends to authorize itself, or nothing.
func (r *request) authorization() template {
	for _, h := range r.headers {
		if strings.EqualFold(h.name, "Authorization") {
			return h.value
		}
	}
	return r.bearer
}

// clients are how requests are sent.
type clients struct {
	// steps has the authentication and headers that the configuration gives to all requests.
	steps *http.Client
	// keys has neither: the vendor's keys are public, and the vendor must not see the shop's credentials.
	keys *http.Client
}

// sender sends the requests of one run.
type sender struct {
	clients   clients
	userAgent string
	jar       http.CookieJar
}

// newSender returns a sender that knows no cookies.
func newSender(by clients, userAgent string) *sender {
	jar, _ := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List}) // it never fails
	return &sender{clients: by, userAgent: userAgent, jar: jar}
}

// An answer is what came back.
type answer struct {
	status int
	body   []byte
}

// step sends a step's request.
func (s *sender) step(ctx context.Context, r *request, c captured, traceparent string) (answer, *failure) {
	client := *s.clients.steps
	client.Jar = s.jar
	return s.send(ctx, client, r, c, traceparent)
}

// fetchKeys asks for a vendor's keys, without cookies.
func (s *sender) fetchKeys(ctx context.Context, r *request, traceparent string) (answer, *failure) {
	client := *s.clients.keys
	client.Jar = nil
	return s.send(ctx, client, r, nil, traceparent)
}

// send makes the request and reads the answer, up to a bound.
func (s *sender) send(ctx context.Context, client http.Client, r *request, c captured, traceparent string) (a answer, f *failure) {
	address, ok := r.address(c)
	req, err := http.NewRequestWithContext(ctx, r.method, address, strings.NewReader(r.content(c)))
	if err != nil || !ok {
		return a, &failure{reason: reason.BadResponse, detail: "what was captured makes no URL", unblamed: true}
	}
	if r.isJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	noHeader := &failure{reason: reason.BadResponse, detail: "what was captured makes no header", unblamed: true}
	for _, h := range r.headers {
		value := h.value.render(c, asIs)
		if strings.EqualFold(h.name, "Host") {
			if !httpguts.ValidHostHeader(value) {
				return a, noHeader
			}
			req.Host = value
		} else {
			req.Header.Set(h.name, value)
		}
	}
	if len(r.bearer) > 0 {
		req.Header.Set("Authorization", "Bearer "+r.bearer.render(c, asIs))
	}
	req.Header.Set("User-Agent", s.userAgent)
	req.Header.Set("traceparent", traceparent)

	for _, values := range req.Header {
		if !httpguts.ValidHeaderFieldValue(values[0]) {
			return a, noHeader
		}
	}

	client.Transport = redirecting{base: client.Transport, follow: r.follow}
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || !isSameHost(via[len(via)-1].URL, next.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	response, err := client.Do(req)
	if err != nil {
		return a, failureOf(err)
	}
	defer response.Body.Close()
	a.status = response.StatusCode
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		f = failureOf(err)
		f.status = a.status
	} else if len(a.body) > maxAnswer {
		a.body = a.body[:maxAnswer]
		f = &failure{reason: reason.BadResponse, detail: fmt.Sprintf("the answer is longer than %d bytes", maxAnswer), status: a.status}
	}
	return a, f
}

// redirecting makes a redirect that is not to be followed, or that leads nowhere, an answer like any other: a client makes
// an error of one that it cannot read.
type redirecting struct {
	base   http.RoundTripper
	follow bool
}

func (t redirecting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if _, unreadable := r.URL.Parse(response.Header.Get("Location")); unreadable != nil || !t.follow {
		response.Header.Del("Location")
	}
	return response, nil
}

// isSameHost tells whether a redirect stays at its host, so that what is sent along reaches nobody else, and nobody can
// read it on its way who could not before.
func isSameHost(from, to *url.URL) bool {
	return to.Host == from.Host && (to.Scheme == from.Scheme || to.Scheme == "https")
}

// address is the URL with what was captured, escaped as its path or query asks. It is not ok where a whole segment of the
// path would be empty, "." or "..": these lead elsewhere, and cannot be escaped.
func (r *request) address(c captured) (address string, ok bool) {
	var out strings.Builder
	escape, inPath := url.PathEscape, true
	var ends []int // of places in the path
	for _, part := range r.url {
		out.WriteString(template{part}.render(c, escape))
		if strings.Contains(part.text, "?") {
			escape = url.QueryEscape
		}
		inPath = inPath && !strings.ContainsAny(part.text, "?#")
		if inPath && part.place.name != "" {
			ends = append(ends, out.Len())
		}
	}
	address = out.String()
	for _, end := range ends {
		start := strings.LastIndexByte(address[:end], '/') + 1
		segment, _, _ := strings.Cut(address[start:], "/")
		segment, _, _ = strings.Cut(segment, "?")
		segment, _, _ = strings.Cut(segment, "#")
		if plain, err := url.PathUnescape(segment); err != nil || plain == "" || plain == "." || plain == ".." {
			return "", false
		}
	}
	return address, true
}

func (r *request) content(c captured) string {
	if r.isJSON {
		return r.body.render(c, withinString)
	}
	return r.body.render(c, asIs)
}

// target is the URL for telemetry: as it is in the configuration, without query, fragment and captured values.
func (r *request) target() (full, host, port string) {
	var text strings.Builder
	for _, part := range r.url {
		if part.place.name == "" {
			text.WriteString(part.text)
		} else {
			text.WriteString("{{" + part.place.String() + "}}")
		}
	}
	full = text.String()
	if end := strings.IndexAny(full, "?#"); end >= 0 {
		full = full[:end]
	}
	scheme, rest, _ := strings.Cut(full, "://")
	authority, _, _ := strings.Cut(rest, "/")
	u, err := url.Parse(scheme + "://" + authority)
	if err != nil {
		return full, "", ""
	}
	host, port = u.Hostname(), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return full, host, port
}

// do makes the step's request and captures what came back.
func (s *step) do(ctx context.Context, by *sender, c captured, traceparent string) (status int, f *failure) {
	start := time.Now()
	a, f := by.step(ctx, s.request, c, traceparent)
	e := &s.request.expect
	if a.status != 0 && !e.allows(a.status) {
		// That the answer says it failed tells more than that it could not be read to its end.
		f = &failure{reason: reason.OfStatus(a.status), detail: fmt.Sprintf("status %d is not what was expected", a.status), status: a.status}
		if f.reason == reason.None {
			f.reason = reason.BadResponse
		}
	}
	// What can be captured is, even if the answer is bad: a login that was done otherwise than expected has to be undone.
	var missing string
	isJSON := json.Valid(a.body)
	if isJSON && (f == nil || a.status >= 200 && a.status < 300) {
		missing = s.take(gjson.ParseBytes(a.body), c)
	}
	if f == nil {
		f = s.check(a, isJSON, missing, c)
	}
	if took := time.Since(start); f == nil && e.maxDuration > 0 && took > e.maxDuration {
		f = &failure{reason: reason.Slow, detail: fmt.Sprintf("it took longer than %s", e.maxDuration), status: a.status}
	}
	if f != nil && len(s.blame) > 0 && (f.reason == reason.Unreachable || a.status != 0 && !e.allows(a.status)) {
		f.unblamed = !slices.ContainsFunc(s.blame, func(text string) bool { return strings.Contains(string(a.body), text) })
	}
	return a.status, f
}

func (e *expectation) allows(status int) bool {
	if len(e.status) == 0 {
		return status >= 200 && status < 300
	}
	return slices.Contains(e.status, status)
}

// check looks whether a successful answer holds what it must. Of what is captured, the path missing was not there.
func (s *step) check(a answer, isJSON bool, missing string, c captured) *failure {
	e := &s.request.expect
	if len(e.json) == 0 && len(e.has) == 0 && len(s.captures) == 0 {
		return nil
	}
	bad := func(format string, args ...any) *failure {
		return &failure{reason: reason.BadResponse, detail: fmt.Sprintf(format, args...), status: a.status}
	}
	if !isJSON {
		return bad("the answer is not JSON")
	}
	parsed := gjson.ParseBytes(a.body)
	for _, f := range e.json {
		if !f.holds(parsed, c) {
			return bad("the answer's %s is not what was expected", f.path)
		}
	}
	for _, path := range e.has {
		if value := parsed.Get(path); !value.Exists() || value.Type == gjson.Null {
			return bad("the answer has no %s", path)
		}
	}
	if missing != "" {
		return bad("the answer has no %s", missing)
	}
	return nil
}

// failureOf tells what a client's error means. Its text is not used: it holds the URL.
func failureOf(err error) *failure {
	var (
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		netError net.Error
	)
	f := &failure{reason: reason.Unreachable}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		f.reason, f.detail = reason.Timeout, "no whole answer in time"
	case errors.As(err, &dns):
		f.detail = "the host's name could not be resolved"
	case errors.As(err, &cert):
		f.detail = "the host's certificate is not trusted"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		f.detail = "the TLS handshake failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.detail = "the connection was refused"
	default:
		f.detail = "the connection broke off"
	}
	return f
}
