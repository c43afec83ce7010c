package testorderreceiver

import (
	"compress/gzip"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const (
	factoryMessage = `{"message":"Failed to fulfill order at factory","reportUrl":"https://factory/report?apiKey=hunter2"}`
	html           = "<!DOCTYPE html><html><body>It works</body></html>"
	gibibyte       = 1 << 30
)

// answers is a handler that answers with a status and a text.
func answers(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// late answers after a time.
func late(does http.HandlerFunc, after time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(after):
			does(w, r)
		case <-r.Context().Done():
		}
	}
}

// never answers.
func never(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// byteBySecond answers one byte a second.
func byteBySecond(w http.ResponseWriter, r *http.Request) {
	for {
		_, _ = io.WriteString(w, " ")
		w.(http.Flusher).Flush()
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
			return
		}
	}
}

// breaksOff closes the connection in the middle of an answer.
func breaksOff(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// issues answers order 1 with a token.
func issues(token func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"order":{"id":1},"jwt":%q}`, token()) }
}

func good() string { return sign(claimsOf(1), nil) }

// brokenHeader is what the factory's chaos makes: a token whose header does not decode.
func brokenHeader() string { return "chaos" + good() }

func changedSignature() string {
	token := good()
	at := strings.LastIndex(token, ".") + 1
	signature, _ := base64.RawURLEncoding.DecodeString(token[at:])
	signature[100] ^= 1
	return token[:at] + base64.RawURLEncoding.EncodeToString(signature)
}

func unsigned() string {
	claims := strings.Split(good(), ".")[1]
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+keyID+`"}`)) + "." + claims + "."
}

// publicSecret is signed by HMAC with what everybody knows, the public key.
func publicSecret() string {
	der, _ := x509.MarshalPKIXPublicKey(vendorKey().Public())
	return signWith(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), jwa.HS256(), claimsOf(1), nil)
}

func with(name string, value any) func(jws.Headers) {
	return func(h jws.Headers) { _ = h.Set(name, value) }
}

// sent is how many bytes of a long answer its server got rid of.
var sent atomic.Int64

func huge(w http.ResponseWriter, _ *http.Request) {
	block := make([]byte, 1<<16)
	for range gibibyte / len(block) {
		n, err := w.Write(block)
		sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// hugeUnpacked is small on the wire.
func hugeUnpacked(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	zip, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	block := make([]byte, 1<<16)
	for range 64 << 20 / len(block) {
		if _, err := zip.Write(block); err != nil {
			return
		}
	}
	_ = zip.Close()
}

func redirects(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/api/order", http.StatusTemporaryRedirect)
}

// redirectsTo sends on to whatever text.
func redirectsTo(location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

const (
	login  = "PUT /api/auth"
	order  = "POST /api/order"
	logout = "DELETE /api/auth"
	keys   = "GET /jwks.json"
)

// TestFaces: whatever a shop and its vendor do, a run ends in time, tells the step, the reason and the side that failed,
// and logs out once if it had logged in.
func TestFaces(t *testing.T) {
	now := time.Now()
	vendorKey()
	otherKey()
	// What takes as long as it is given is given little.
	quick := func(c *Config) { c.Timeout = 5 * time.Second }
	blameless := func(c *Config) { c.Steps[1].Blame = nil }
	strict := func(c *Config) { c.Steps[1].Expect.MaxDuration = 100 * time.Millisecond }
	type face struct {
		name    string
		at      string // the request that the face answers
		does    http.HandlerFunc
		ran     string // what probe.runs tells
		logouts int
		tune    func(*Config)
	}
	faces := []face{
		{"healthy", "", nil, "success", 1, nil},

		{"the factory failed", order, answers(500, factoryMessage), "vendor_failure order error", 1, nil},
		{"the factory's gateway timed out", order, answers(504, factoryMessage), "vendor_failure order timeout", 1, nil},
		{"the factory throttles us", order, answers(429, factoryMessage), "vendor_failure order throttled", 1, nil},
		{"our database failed", order, answers(500, `{"message":"ER_CON_COUNT_ERROR"}`), "own_failure order error", 1, nil},
		{"we refuse the order", order, answers(400, `{"message":"unknown menu item"}`), "own_failure order rejected", 1, nil},
		{"slower than max_duration", order, late(issues(good), 200*time.Millisecond), "vendor_failure order slow", 1, strict},
		{"accepts the order and never answers", order, never, "vendor_failure order timeout", 1, quick},
		{"answers one byte a second", order, byteBySecond, "vendor_failure order timeout", 1, quick},
		{"breaks off in the middle", order, breaksOff(200, `{"order":`), "own_failure order unreachable", 1, nil},
		{"fails, and breaks off", order, breaksOff(500, factoryMessage), "vendor_failure order error", 1, nil},
		{"HTML with status 200", order, answers(200, html), "vendor_failure order bad_response", 1, nil},
		{"no token", order, answers(200, `{"order":{"id":1}}`), "vendor_failure order bad_response", 1, nil},
		{"a token that is null", order, answers(200, `{"order":{"id":1},"jwt":null}`), "vendor_failure order bad_response", 1, nil},
		{"an order without its id", order, answers(200, `{"order":{},"jwt":"x"}`), "vendor_failure order bad_response", 1, nil},
		{"an order whose id is null", order, answers(200, `{"order":{"id":null},"jwt":"x"}`), "vendor_failure order bad_response", 1, nil},
		{"an order whose id is empty", order, answers(200, `{"order":{"id":""},"jwt":"x"}`), "vendor_failure order bad_response", 1, nil},
		{"a token that is empty", order, answers(200, `{"order":{"id":1},"jwt":""}`), "vendor_failure order bad_response", 1, nil},
		{"cut off JSON", order, answers(200, `{"order":{"id":1},"jwt":"x"`), "vendor_failure order bad_response", 1, nil},
		{"1 GiB", order, huge, "vendor_failure order bad_response", 1, nil},
		{"64 MiB, packed", order, hugeUnpacked, "vendor_failure order bad_response", 1, nil},
		{"redirect loop", order, redirects, "own_failure order bad_response", 1, nil},
		{"redirect that cannot be read", order, redirectsTo("http://[::1"), "own_failure order bad_response", 1, nil},
		{"another success", order, answers(202, "{}"), "own_failure order bad_response", 1, nil},

		{"token with a broken header", order, issues(brokenHeader), "vendor_failure verify bad_response", 1, nil},
		{"one byte of the signature changed", order, issues(changedSignature), "vendor_failure verify bad_response", 1, nil},
		{"another key under the same id", order, issues(func() string { return signWith(otherKey(), jwa.RS256(), claimsOf(1), nil) }), "vendor_failure verify bad_response", 1, nil},
		{"alg none", order, issues(unsigned), "vendor_failure verify bad_response", 1, nil},
		{"the public key as HMAC secret", order, issues(publicSecret), "vendor_failure verify bad_response", 1, nil},
		{"expired", order, issues(func() string { return sign(claimsOf(1), with("exp", now.Add(-2*time.Minute).Unix())) }), "vendor_failure verify bad_response", 1, nil},
		{"expired, in the claims", order, issues(func() string {
			return sign(fmt.Sprintf(`{"order":{"id":1},"exp":%d}`, now.Add(-2*time.Minute).Unix()), nil)
		}), "vendor_failure verify bad_response", 1, nil},
		{"expired within the leeway", order, issues(func() string { return sign(claimsOf(1), with("exp", now.Add(-30*time.Second).Unix())) }), "success", 1, nil},
		{"not valid yet", order, issues(func() string { return sign(claimsOf(1), with("nbf", now.Add(2*time.Minute).Unix())) }), "vendor_failure verify bad_response", 1, nil},
		{"not valid for longer than can be counted", order, issues(func() string {
			return sign(`{"order":{"id":1},"nbf":1e300}`, nil)
		}), "vendor_failure verify bad_response", 1, nil},
		{"issued in the future", order, issues(func() string { return sign(claimsOf(1), with("iat", now.Add(2*time.Minute).Unix())) }), "vendor_failure verify bad_response", 1, nil},
		{"expiry is a word", order, issues(func() string { return sign(`{"order":{"id":1},"exp":"soon"}`, nil) }), "vendor_failure verify bad_response", 1, nil},
		{"another order's id", order, issues(func() string { return sign(claimsOf(2), nil) }), "vendor_failure verify bad_response", 1, nil},
		{"no order in the token", order, issues(func() string { return sign(`{}`, nil) }), "vendor_failure verify bad_response", 1, nil},
		{"claims that are none", order, issues(func() string { return sign(`[1]`, nil) }), "vendor_failure verify bad_response", 1, nil},
		{"critical extension", order, issues(func() string {
			return sign(claimsOf(1), func(h jws.Headers) { _ = h.Set("must", true); _ = h.Set("crit", []string{"must"}) })
		}), "vendor_failure verify bad_response", 1, nil},
		{"no key id, one key", order, issues(func() string { return sign(claimsOf(1), func(h jws.Headers) { _ = h.Remove("kid") }) }), "success", 1, nil},
		{"unknown key id", order, issues(func() string { return sign(claimsOf(1), with("kid", "key-2")) }), "vendor_failure verify bad_response", 1, nil},
		{"the keys fail", keys, answers(503, ""), "vendor_failure verify error", 1, nil},
		{"the keys are HTML", keys, answers(200, html), "vendor_failure verify bad_response", 1, nil},
		{"the keys are nonsense", keys, answers(200, `{"keys":[{"kty":"RSA"}]}`), "vendor_failure verify bad_response", 1, nil},
		{"the keys move", keys, redirects, "vendor_failure verify bad_response", 1, nil},
		{"the keys never come", keys, never, "vendor_failure verify timeout", 1, quick},

		{"login refused", login, answers(401, `{"message":"unknown user"}`), "own_failure login unauthorized", 0, nil},
		{"login without a token", login, answers(200, `{}`), "own_failure login bad_response", 0, nil},
		{"login with an empty token", login, answers(200, `{"token":""}`), "own_failure login bad_response", 0, nil},
		{"login with another success", login, answers(201, `{"token":"`+session+`"}`), "own_failure login bad_response", 1, nil},
		{"login refused, with a token", login, answers(401, `{"token":"`+session+`"}`), "own_failure login unauthorized", 0, nil},
		{"login never answers", login, never, "own_failure login timeout", 0, quick},
		{"a token that no header can have", login, answers(200, `{"token":"a\nb"}`), "own_failure order bad_response", 0, nil},
		{"the same, without blame", login, answers(200, `{"token":"a\nb"}`), "own_failure order bad_response", 0, blameless},
		{"logout fails", logout, answers(500, ""), "own_failure logout error", 1, nil},
		{"logout never answers", logout, never, "own_failure logout timeout", 1, quick},
	}
	// All at once: most of the time is waited.
	shops, harnesses := make([]*shop, len(faces)), make([]*harness, len(faces))
	for i, face := range faces {
		shops[i] = newShop(t, map[string]http.HandlerFunc{face.at: face.does})
		cfg := pizzaConfig(t, shops[i].URL)
		if face.tune != nil {
			face.tune(cfg)
		}
		harnesses[i] = start(t, cfg)
	}
	for i, face := range faces {
		t.Run(face.name, func(t *testing.T) {
			harnesses[i].oneRun(t)
			harnesses[i].tells(t, face.ran)
			assert.Equal(t, face.logouts, shops[i].count(logout))
		})
	}
	assert.Less(t, sent.Load(), int64(64<<20), "of 1 GiB only the beginning is read")
	assert.GreaterOrEqual(t, sent.Load(), int64(maxAnswer))
}

// tells asserts that metrics, trace and record tell how one run ended.
func (h *harness) tells(t *testing.T, ran string) {
	t.Helper()
	assert.Equal(t, map[string]int{ran: 1}, h.ran())
	outcome, why, _ := strings.Cut(ran, " ")
	step, reason, _ := strings.Cut(why, " ")
	last := h.last()
	assert.Equal(t, outcome == "success", last["probe.success"] == 1)
	assert.Contains(t, last, "probe.success")
	assert.Equal(t, outcome == "success", last["probe.last_success_time"] > 0)

	spans := h.spans()
	root := spans["test order"]
	assert.Equal(t, outcome, attribute(root, "probe.outcome"))
	assert.Equal(t, step, attribute(root, "probe.step"))
	assert.Equal(t, reason, attribute(root, "vendor.failure.reason"))
	took := root.EndTimestamp().AsTime().Sub(root.StartTimestamp().AsTime())
	assert.LessOrEqual(t, took, h.cfg.Timeout+10*time.Second, "TestTimeout tells it to the second, where nothing else keeps the machine busy")
	for name, s := range spans {
		if name == "logout" && step != name {
			continue // it may fail after another
		}
		failed := name == step || name == "test order" && step != ""
		assert.Equal(t, failed, s.Status().Code() == ptrace.StatusCodeError, name)
		var vendor, why string
		switch {
		case name == step && outcome == "vendor_failure":
			vendor, why = "pizza-factory", reason
		case (name == "order" || name == "verify") && outcome != "vendor_failure" && name != step:
			vendor = "pizza-factory"
		}
		assert.Equal(t, vendor, attribute(s, "vendor.name"), name)
		if name != "test order" {
			assert.Equal(t, why, attribute(s, "vendor.failure.reason"), name)
		}
	}
	records := h.records()
	require.Len(t, records, 1)
	for name, value := range map[string]string{"probe.outcome": outcome, "probe.step": step, "vendor.failure.reason": reason} {
		assert.Equal(t, value, textOf(records[0].Attributes(), name), name)
	}
	assert.Equal(t, root.TraceID(), records[0].TraceID())
}

// TestRedirects: they are followed where asked, on the same host and not for ever.
func TestRedirects(t *testing.T) {
	elsewhere := newShop(t, nil)
	for _, tc := range []struct {
		name   string
		does   http.HandlerFunc
		ran    string
		orders int
	}{
		{"loop", redirects, "vendor_failure order bad_response", 1 + maxRedirects},
		{"to another host", redirectsTo(elsewhere.URL + "/api/order"), "vendor_failure order bad_response", 1},
		{"to nowhere that can be read", redirectsTo("http://[::1"), "vendor_failure order bad_response", 1},
		{"to the order", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "" {
				http.Redirect(w, r, "/api/order?again", http.StatusTemporaryRedirect)
				return
			}
			issues(good)(w, r)
		}, "success", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, map[string]http.HandlerFunc{order: tc.does})
			cfg := pizzaConfig(t, s.URL)
			cfg.Steps[1].Request.FollowRedirects, cfg.Steps[1].Blame = true, nil
			h := start(t, cfg)
			h.oneRun(t)
			h.tells(t, tc.ran)
			assert.Equal(t, tc.orders, s.count(order))
			assert.Empty(t, elsewhere.requests(), "nobody else gets the token")
		})
	}
}

// TestNobody: nothing listens, a name that is none, and one that accepts and says nothing.
func TestNobody(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for _, tc := range []struct{ name, url, ran string }{
		{"nothing listens", "http://" + closed.Addr().String(), "own_failure login unreachable"},
		{"no such host", "http://shop.invalid", "own_failure login unreachable"},
		{"accepts and says nothing", "http://" + silent.Addr().String(), "own_failure login timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig(t, tc.url, "timeout: 2s"))
			h.oneRun(t)
			h.tells(t, tc.ran)
		})
	}
}

// TestTLS: the certificates of the configuration are those that are trusted.
func TestTLS(t *testing.T) {
	s := unstartedShop(nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, text, 0o600))
	t.Run("trusted", func(t *testing.T) {
		h := start(t, pizzaConfig(t, s.URL, fmt.Sprintf("http: {tls: {ca_file: %q}}", ca)))
		h.oneRun(t)
		h.tells(t, "success")
		assert.Equal(t, 2, s.requests()[0].ProtoMajor)
	})
	t.Run("not trusted", func(t *testing.T) {
		h := start(t, pizzaConfig(t, s.URL))
		h.oneRun(t)
		h.tells(t, "own_failure login unreachable")
		assert.Equal(t, "the host's certificate is not trusted", h.spans()["login"].Status().Message())
	})
	t.Run("no such file", func(t *testing.T) {
		h := create(t, pizzaConfig(t, s.URL, `http: {tls: {ca_file: "none.pem"}}`))
		require.ErrorContains(t, h.receiver[0].Start(t.Context(), componenttest.NewNopHost()), "none.pem")
		h.shutdown(t)
	})
}
