package testorderreceiver

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// extensions is a host with extensions.
type extensions map[component.ID]component.Component

func (e extensions) GetExtensions() map[component.ID]component.Component { return e }

// signsIn is an authentication extension.
type signsIn struct {
	component.StartFunc
	component.ShutdownFunc
}

func (signsIn) RoundTripper(base http.RoundTripper) (http.RoundTripper, error) {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Basic hunter2")
		return base.RoundTrip(r)
	}), nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestHTTP: requests are sent as the configuration's http says, by way of its extension, proxy and headers.
func TestHTTP(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{"GET /order": answers(200, "")})
	one := func(http string) *Config {
		cfg, err := load(t, replaceURL(`{vendor: v, http: `+http+`, steps: [{name: order, request: {url: "http://shop.invalid/order"}}]}`, s))
		require.NoError(t, err)
		return cfg
	}
	t.Run("authenticator, proxy and headers", func(t *testing.T) {
		host := extensions{component.MustNewID("signs_in"): signsIn{}}
		p, err := newProbe(t.Context(), host, receivertest.NewNopSettings(metadata.Type), one(`{auth: {authenticator: signs_in}, proxy_url: URL, headers: {X-Key: "1"}}`))
		require.NoError(t, err)
		assert.Equal(t, success, p.perform(t.Context(), t.Context()).outcome(), "the proxy answers for a host that is none")
		got := s.requests()[0]
		assert.Equal(t, "shop.invalid", got.Host)
		assert.Equal(t, "Basic hunter2", got.Header.Get("Authorization"))
		assert.Equal(t, "1", got.Header.Get("X-Key"))
	})
	t.Run("the vendor's keys are asked for without the shop's credentials", func(t *testing.T) {
		shop := newShop(t, map[string]http.HandlerFunc{
			"GET /order": func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
				issues(good)(w, r)
			},
			"GET /again": answers(200, "{}"),
		})
		cfg, err := load(t, replaceURL(`{vendor: v, http: {auth: {authenticator: signs_in}, headers: {X-Key: "1"}}, steps: [
			{name: order, request: {url: URL/order}, capture: {jwt: jwt}}, {name: again, request: {url: URL/again}}, {name: verify, jwt: {token: "{{jwt}}", jwks: URL/jwks.json}}]}`, shop))
		require.NoError(t, err)
		p, err := newProbe(t.Context(), extensions{component.MustNewID("signs_in"): signsIn{}}, receivertest.NewNopSettings(metadata.Type), cfg)
		require.NoError(t, err)
		require.Equal(t, success, p.perform(t.Context(), t.Context()).outcome())
		got := map[string]string{}
		for _, r := range shop.requests() {
			got[r.URL.Path] = fmt.Sprintf("%q %q %q", r.Header.Get("Authorization"), r.Header.Get("X-Key"), r.Header.Get("Cookie"))
		}
		assert.Equal(t, map[string]string{"/order": `"Basic hunter2" "1" ""`, "/again": `"Basic hunter2" "1" "session=1"`, "/jwks.json": `"" "" ""`}, got)
	})
	t.Run("no such authenticator", func(t *testing.T) {
		_, err := newProbe(t.Context(), extensions{}, receivertest.NewNopSettings(metadata.Type), one(`{auth: {authenticator: signs_in}}`))
		require.ErrorContains(t, err, "signs_in")
	})
	t.Run("time-out of one request", func(t *testing.T) {
		s.handlers["GET /never"] = never
		cfg, err := load(t, replaceURL(`{vendor: v, http: {timeout: 50ms}, steps: [{name: order, request: {url: URL/never}}]}`, s))
		require.NoError(t, err)
		assert.Equal(t, []string{"order: timeout, no whole answer in time"}, perform(t, cfg).steps())
	})
	t.Run("no TLS", func(t *testing.T) {
		noTLS, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer noTLS.Close()
		go func() {
			if c, err := noTLS.Accept(); err == nil {
				_, _ = c.Write([]byte("SSH-2.0-server\r\n"))
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		}()
		for _, address := range []string{s.Listener.Addr().String(), noTLS.Addr().String()} {
			cfg, err := load(t, `{vendor: v, steps: [{name: order, request: {url: "https://`+address+`/"}}]}`)
			require.NoError(t, err)
			assert.Equal(t, []string{"order: unreachable, the TLS handshake failed"}, perform(t, cfg).steps())
		}
	})
}

func TestIsSameHost(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"http://shop/a", "http://shop/b", true},
		{"https://shop/a", "https://shop/b?c", true},
		{"http://shop/a", "https://shop/a", true},
		{"https://shop/a", "http://shop/a", false},
		{"https://shop/a", "https://shop.evil/a", false},
		{"https://shop/a", "https://shop:8443/a", false},
		{"https://shop/a", "ftp://shop/a", false},
	} {
		from, err := url.Parse(tc.from)
		require.NoError(t, err)
		to, err := url.Parse(tc.to)
		require.NoError(t, err)
		assert.Equal(t, tc.want, isSameHost(from, to), "%s %s", tc.from, tc.to)
	}
}

// withAndWithoutTLS is a listener whose connections may begin with a TLS handshake.
type withAndWithoutTLS struct {
	net.Listener
	config *tls.Config
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	io.Reader
}

func (b begun) Read(to []byte) (int, error) { return b.Reader.Read(to) }

func (l withAndWithoutTLS) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	n, _ := io.ReadFull(c, first) // what is wrong with it, the server finds out
	whole := begun{Conn: c, Reader: io.MultiReader(bytes.NewReader(first[:n]), c)}
	if first[0] == 0x16 { // a handshake (RFC 8446, section 5.1)
		return tls.Server(whole, l.config), nil
	}
	return whole, nil
}

// TestRedirectDown: what went up from http to https does not go down again.
func TestRedirectDown(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	s := unstartedShop(nil)
	s.handlers = map[string]http.HandlerFunc{order: func(w http.ResponseWriter, r *http.Request) {
		scheme := "https"
		if r.TLS != nil {
			scheme = "http"
		}
		redirectsTo(scheme+"://"+r.Host+"/api/order")(w, r)
	}}
	s.Listener = withAndWithoutTLS{s.Listener, certified.TLS}
	s.Start()
	defer s.Close()
	cfg := pizzaConfig(t, s.URL, "http: {tls: {insecure_skip_verify: true}}")
	cfg.Steps[1].Request.FollowRedirects = true
	assert.Equal(t, []string{"login", "order: bad_response, status 307 is not what was expected", "logout"}, perform(t, cfg).steps())
	var encrypted []bool
	for _, r := range s.requests() {
		if r.Method == http.MethodPost {
			encrypted = append(encrypted, r.TLS != nil)
		}
	}
	assert.Equal(t, []bool{false, true}, encrypted)
}

// TestOwnTracing: the Collector's own tracing neither takes the place of the run's trace nor tells of its requests.
func TestOwnTracing(t *testing.T) {
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagation.TraceContext{}) // as the Collector does
	defer otel.SetTextMapPropagator(before)
	telemetry := componenttest.NewTelemetry()
	defer func() { assert.NoError(t, telemetry.Shutdown(context.Background())) }()
	s := newShop(t, nil)
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	p, err := newProbe(t.Context(), componenttest.NewNopHost(), set, pizzaConfig(t, s.URL))
	require.NoError(t, err)
	r := p.perform(t.Context(), t.Context())
	require.Equal(t, success, r.outcome())
	assert.Equal(t, traceparent(r.trace, r.made[0].span), s.requests()[0].Header.Get("traceparent"))
	assert.Empty(t, telemetry.SpanRecorder.Ended())
}

// connections counts those of a server.
type connections struct{ made, closed atomic.Int32 }

func (c *connections) state(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.made.Add(1)
	case http.StateClosed:
		c.closed.Add(1)
	}
}

// TestConnections: each request has a connection of its own, also one that a redirect leads to, and none is left.
func TestConnections(t *testing.T) {
	for _, tc := range []struct {
		name, proto string
		begin       func(*httptest.Server)
	}{
		{"HTTP", "HTTP/1.1", (*httptest.Server).Start},
		{"HTTPS", "HTTP/1.1", (*httptest.Server).StartTLS},
		{"HTTP/2", "HTTP/2.0", func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var of connections
			s := unstartedShop(nil)
			s.handlers = map[string]http.HandlerFunc{
				login:            redirects,
				"PUT /api/order": func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"token":%q}`, session) },
			}
			s.Config.ConnState = of.state
			tc.begin(s.Server)
			defer s.Close()
			cfg := pizzaConfig(t, s.URL, "http: {tls: {insecure_skip_verify: true}}")
			cfg.Steps[0].Request.FollowRedirects = true
			h := start(t, cfg)
			h.oneRun(t)
			require.Equal(t, map[string]int{"success": 1}, h.ran())
			require.Len(t, s.requests(), 5, "the login's redirect, login, order, keys and logout")
			assert.Equal(t, tc.proto, s.requests()[0].Proto)
			assert.EqualValues(t, 5, of.made.Load())
			assert.Eventually(t, func() bool { return of.closed.Load() == 5 }, time.Minute, time.Millisecond)
		})
	}
}

// TestGivenUp: a connection that is made only after its request was given up is not kept for another one.
func TestGivenUp(t *testing.T) {
	var of connections
	ready := make(chan struct{})
	s := unstartedShop(map[string]http.HandlerFunc{"GET /": answers(200, "")})
	s.Config.ConnState = of.state
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		<-ready
		return nil, nil
	}}
	s.StartTLS()
	defer s.Close()
	cfg, err := load(t, replaceURL(`{vendor: v, http: {timeout: 50ms, tls: {insecure_skip_verify: true}}, steps: [{name: order, request: {url: URL/}}]}`, s))
	require.NoError(t, err)
	p, err := newProbe(t.Context(), componenttest.NewNopHost(), receivertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	require.Equal(t, vendorFailure, p.perform(t.Context(), t.Context()).outcome())
	close(ready)
	assert.Eventually(t, func() bool { return of.made.Load() == 1 && of.closed.Load() == 1 }, time.Minute, time.Millisecond)
}
