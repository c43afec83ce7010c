package testorderreceiver

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

const (
	keyID    = "key-1"
	email    = "probe@example.com"
	password = "hunter2"
	session  = "session-token"
)

// vendorKey signs the orders, otherKey is somebody else's.
var (
	vendorKey = sync.OnceValue(newKey)
	otherKey  = sync.OnceValue(newKey)
)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// A shop is a real server with a login, an order and a logout, and the vendor's keys. Handlers that a test gives stand
// in the place of its own.
type shop struct {
	*httptest.Server
	handlers map[string]http.HandlerFunc

	mu       sync.Mutex
	served   []*http.Request
	bodies   []string
	nextID   int
	loggedIn int
}

func newShop(t testing.TB, handlers map[string]http.HandlerFunc) *shop {
	s := unstartedShop(handlers)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func unstartedShop(handlers map[string]http.HandlerFunc) *shop {
	s := &shop{handlers: handlers}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = nil
	return s
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	s.mu.Lock()
	s.served = append(s.served, r)
	s.bodies = append(s.bodies, string(body))
	s.mu.Unlock()
	call := r.Method + " " + r.URL.Path
	if handler, ok := s.handlers[call]; ok {
		handler(w, r)
		return
	}
	switch call {
	case "PUT /api/auth":
		var login struct{ Email, Password string }
		if json.Unmarshal(body, &login) != nil || login.Email != email || login.Password != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		s.loggedIn++
		s.mu.Unlock()
		fmt.Fprintf(w, `{"user":{"email":%q},"token":%q}`, email, session)
	case "POST /api/order":
		if r.Header.Get("Authorization") != "Bearer "+session {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		id := s.newOrder()
		s.answer(w, id, sign(claimsOf(id), nil))
	case "DELETE /api/auth":
		fmt.Fprint(w, `{"message":"logout successful"}`)
	case "GET /jwks.json":
		fmt.Fprint(w, jwks(vendorKey()))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// replaceURL puts the shop's address into a configuration.
func replaceURL(text string, s *shop) string { return strings.ReplaceAll(text, "URL", s.URL) }

func (s *shop) newOrder() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	return s.nextID
}

func (s *shop) answer(w io.Writer, id int, token string) {
	fmt.Fprintf(w, `{"order":{"id":%d,"items":[]},"jwt":%q}`, id, token)
}

// count is how often something was asked for, such as "DELETE /api/auth".
func (s *shop) count(call string) (n int) {
	for _, r := range s.requests() {
		if r.Method+" "+r.URL.Path == call {
			n++
		}
	}
	return n
}

func (s *shop) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.served...)
}

func claimsOf(order int) string {
	return fmt.Sprintf(`{"vendor":{"name":"rig"},"order":{"id":%d}}`, order)
}

// sign makes a token as the pizza factory does, with its times in the header. Changes to the header are made before it
// is signed.
func sign(claims string, change func(header jws.Headers)) string {
	return signWith(vendorKey(), jwa.RS256(), claims, change)
}

func signWith(key any, algorithm jwa.SignatureAlgorithm, claims string, change func(header jws.Headers)) string {
	header := jws.NewHeaders()
	set := func(name string, value any) {
		if err := header.Set(name, value); err != nil {
			panic(err)
		}
	}
	set("kid", keyID)
	set("iat", time.Now().Unix())
	set("exp", time.Now().Add(24*time.Hour).Unix())
	if change != nil {
		change(header)
	}
	token, err := jws.Sign([]byte(claims), jws.WithKey(algorithm, key, jws.WithProtectedHeaders(header)))
	if err != nil {
		panic(err)
	}
	return string(token)
}

// jwks is the document of one public key.
func jwks(key *rsa.PrivateKey) string {
	public, err := jwk.Import(key.Public())
	if err != nil {
		panic(err)
	}
	if err := public.Set("kid", keyID); err != nil {
		panic(err)
	}
	text, err := json.Marshal(map[string]any{"keys": []any{public}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// pizzaConfig is the example's configuration at a server. Further YAML is put over it.
func pizzaConfig(t testing.TB, server string, over ...string) *Config {
	t.Helper()
	text := `{interval: 1h, timeout: 30s, vendor: pizza-factory, steps: [
		{name: login, request: {method: PUT, url: "URL/api/auth", json: {email: "EMAIL", password: "PASSWORD"}}, expect: {status: 200}, capture: {token: token}},
		{name: order, blame: [Failed to fulfill order at factory], request: {method: POST, url: "URL/api/order", bearer: "{{token}}", json: {items: [{menuId: 1, price: 0.05}]}},
			expect: {status: 200, max_duration: 20s}, capture: {jwt: jwt, order: order}},
		{name: verify, jwt: {token: "{{jwt}}", jwks: "URL/jwks.json", claims: {order.id: "{{order.id}}"}}},
		{name: logout, always: true, request: {method: DELETE, url: "URL/api/auth", bearer: "{{token}}"}}]}`
	text = strings.NewReplacer("URL", server, "EMAIL", email, "PASSWORD", password).Replace(text)
	c, err := load(t, text, over...)
	require.NoError(t, err)
	return c
}

// A harness is the receiver with what it told.
type harness struct {
	cfg      *Config
	metrics  consumertest.MetricsSink
	traces   consumertest.TracesSink
	logs     consumertest.LogsSink
	log      *observer.ObservedLogs
	sharing  *sharing
	receiver []component.Component
}

// create makes the receivers of the three signals, which are not started yet.
func create(t testing.TB, cfg *Config) *harness {
	t.Helper()
	h := &harness{cfg: cfg, sharing: &sharing{probes: map[*Config]*probe{}}}
	core, log := observer.New(zapcore.DebugLevel)
	h.log = log
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	set.Logger = zap.New(core)
	set.BuildInfo.Version = "1.2.3"
	set.Resource = pcommon.NewResource()
	set.Resource.Attributes().PutStr("service.instance.id", "instance-1")
	f := newFactory(h.sharing)
	metrics, err := f.CreateMetrics(t.Context(), set, cfg, &h.metrics)
	require.NoError(t, err)
	traces, err := f.CreateTraces(t.Context(), set, cfg, &h.traces)
	require.NoError(t, err)
	logs, err := f.CreateLogs(t.Context(), set, cfg, &h.logs)
	require.NoError(t, err)
	h.receiver = []component.Component{metrics, traces, logs}
	return h
}

// start makes and starts them.
func start(t testing.TB, cfg *Config) *harness {
	t.Helper()
	h := create(t, cfg)
	for _, r := range h.receiver {
		require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	}
	return h
}

func (h *harness) shutdown(t testing.TB) {
	t.Helper()
	for _, r := range h.receiver {
		assert.NoError(t, r.Shutdown(context.Background()))
	}
}

// oneRun waits until a run is told and ends the receiver.
func (h *harness) oneRun(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return h.traces.SpanCount() > 0 }, time.Minute, 5*time.Millisecond)
	h.shutdown(t)
}

// spans are those that were told, by name. Of several with a name it has the last.
func (h *harness) spans() map[string]ptrace.Span {
	all := map[string]ptrace.Span{}
	for _, td := range h.traces.AllTraces() {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					all[s.Name()] = s
				}
			}
		}
	}
	return all
}

func (h *harness) records() (all []plog.LogRecord) {
	for _, ld := range h.logs.AllLogs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					all = append(all, r)
				}
			}
		}
	}
	return all
}

// last are the metrics as told last: series, as text, and value.
func (h *harness) last() map[string]float64 {
	told := h.metrics.AllMetrics()
	if len(told) == 0 {
		return nil
	}
	return series(told[len(told)-1])
}

func series(md pmetric.Metrics) map[string]float64 {
	all := map[string]float64{}
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				var points pmetric.NumberDataPointSlice
				if m.Type() == pmetric.MetricTypeSum {
					points = m.Sum().DataPoints()
				} else {
					points = m.Gauge().DataPoints()
				}
				for _, p := range points.All() {
					name := m.Name()
					for _, key := range []string{"probe.outcome", "probe.step", "vendor.failure.reason"} {
						if v, ok := p.Attributes().Get(key); ok {
							name += " " + v.Str()
						}
					}
					if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
						all[name] = float64(p.IntValue())
					} else {
						all[name] = p.DoubleValue()
					}
				}
			}
		}
	}
	return all
}

// ran are the series of probe.runs that are not 0.
func (h *harness) ran() map[string]int {
	all := map[string]int{}
	for name, value := range h.last() {
		if how, ok := strings.CutPrefix(name, "probe.runs "); ok && value != 0 {
			all[how] = int(value)
		}
	}
	return all
}

func attribute(s ptrace.Span, name string) string { return textOf(s.Attributes(), name) }

func textOf(attributes pcommon.Map, name string) string {
	if v, ok := attributes.Get(name); ok {
		return v.AsString()
	}
	return ""
}
