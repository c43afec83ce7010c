package testorderreceiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// TestCalls: a run is at most one failed call of a vendor's, and no successful one beside it.
func TestCalls(t *testing.T) {
	failed, unblamed := &failure{reason: reason.Error}, &failure{reason: reason.Error, unblamed: true}
	type made = []madeStep
	of := func(vendor string, f *failure) madeStep { return madeStep{step: &step{vendor: vendor}, failure: f} }
	for _, tc := range []struct {
		name  string
		made  made
		calls []string
	}{
		{"all is well", made{of("", nil), of("a", nil), of("a", nil), of("", nil)}, []string{"", "a", "a", ""}},
		{"the order fails", made{of("", nil), of("a", failed), of("", nil)}, []string{"", "a", ""}},
		{"its token is worthless", made{of("a", nil), of("a", failed)}, []string{"", "a"}},
		{"two failures", made{of("a", failed), of("a", failed)}, []string{"a", ""}},
		{"of two vendors one fails", made{of("b", nil), of("a", nil), of("a", failed)}, []string{"b", "", "a"}},
		{"both fail", made{of("b", failed), of("a", failed)}, []string{"b", "a"}},
		{"we fail afterwards", made{of("a", nil), of("", failed)}, []string{"a", ""}},
		{"not to blame", made{of("a", unblamed)}, []string{""}},
		{"not to blame, later to blame", made{of("a", unblamed), of("a", failed)}, []string{"", "a"}},
	} {
		r := run{made: tc.made}
		assert.Equal(t, tc.calls, r.calls(), tc.name)
	}
	r := run{made: made{of("a", nil), of("a", failed)}, aborted: true}
	assert.Equal(t, []string{"a", ""}, r.calls(), "what the shutdown broke off is nobody's failure")
}

// perform makes one run of a configuration at a shop.
func perform(t *testing.T, cfg *Config) *run {
	t.Helper()
	require.NoError(t, cfg.Validate())
	p, err := newProbe(t.Context(), componenttest.NewNopHost(), receivertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	return p.perform(t.Context(), t.Context())
}

// steps tells what was made of a run, and how it went.
func (r *run) steps() (all []string) {
	for i := range r.made {
		text := r.made[i].name
		if f := r.made[i].failure; f != nil {
			text += ": " + f.reason.String() + ", " + f.detail
		}
		all = append(all, text)
	}
	return all
}

// TestAlways: steps that always run do so where they stand, whatever failed, if what they need was captured.
func TestAlways(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{
		"GET /login": answers(200, `{"token":"t","user":{"id":null,"name":""}}`), "GET /fails": answers(500, ""), "GET /ok": answers(200, ""), "GET /empty": answers(200, `{}`),
	})
	for _, tc := range []struct {
		name, steps string
		want        []string
	}{
		{"in the middle", `{name: a, request: {url: URL/fails}}, {name: b, always: true, request: {url: URL/ok}}, {name: c, request: {url: URL/ok}}, {name: d, always: true, request: {url: URL/ok}}`,
			[]string{"a: error, status 500 is not what was expected", "b", "d"}},
		{"itself fails", `{name: a, always: true, request: {url: URL/fails}}, {name: b, request: {url: URL/ok}}, {name: c, always: true, request: {url: URL/ok}}`,
			[]string{"a: error, status 500 is not what was expected", "c"}},
		{"nothing to undo", `{name: a, request: {url: URL/empty}, capture: {token: token}}, {name: b, always: true, request: {url: URL/ok, bearer: "{{token}}"}}`,
			[]string{"a: bad_response, the answer has no token"}},
		{"something to undo", `{name: a, request: {url: URL/login}, expect: {has: [expiry]}, capture: {token: token}}, {name: b, always: true, request: {url: URL/ok, bearer: "{{token}}"}}`,
			[]string{"a: bad_response, the answer has no expiry", "b"}},
		{"nothing to undo that is null", `{name: a, request: {url: URL/login}, capture: {user: user}}, {name: b, always: true, request: {url: "URL/ok?id={{user.id}}"}}`,
			[]string{"a: bad_response, the answer has no user.id"}},
		{"nothing to undo that is empty", `{name: a, request: {url: URL/login}, capture: {user: user}}, {name: b, always: true, request: {url: "URL/ok?id={{user.name}}"}}`,
			[]string{"a: bad_response, the answer has no user.name"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := load(t, replaceURL(`{vendor: v, steps: [`+tc.steps+`]}`, s))
			require.NoError(t, err)
			assert.Equal(t, tc.want, perform(t, cfg).steps())
		})
	}
}

// TestSetAside: what each step that always runs gets of the timeout.
func TestSetAside(t *testing.T) {
	for _, tc := range []struct {
		timeout time.Duration
		always  int
		want    time.Duration
	}{
		{45 * time.Second, 0, 0},
		{45 * time.Second, 1, 5 * time.Second},
		{10 * time.Second, 1, 2 * time.Second},
		{45 * time.Second, 3, 5 * time.Second},
		{45 * time.Second, 9, 2500 * time.Millisecond},
	} {
		cfg := newDefaultConfig()
		cfg.Vendor, cfg.Timeout = "v", tc.timeout
		for i := range tc.always {
			cfg.Steps = append(cfg.Steps, StepConfig{Name: fmt.Sprint(i), Always: true, Request: &RequestConfig{URL: "http://shop"}})
		}
		cfg.Steps = append(cfg.Steps, StepConfig{Name: "order", Request: &RequestConfig{URL: "http://shop"}})
		p, err := newProbe(t.Context(), componenttest.NewNopHost(), receivertest.NewNopSettings(metadata.Type), cfg)
		require.NoError(t, err)
		assert.Equal(t, tc.want, p.alwaysWithin, "%d of %s", tc.always, tc.timeout)
	}
}

// TestExpect: what an answer must be.
func TestExpect(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{
		"GET /a":    answers(200, `{"id":7,"ok":true,"message":"valid","list":[{"x":1}],"none":null}`),
		"GET /201":  answers(201, ""),
		"GET /302":  answers(302, ""),
		"GET /long": answers(200, strings.Repeat(" ", maxAnswer+1)),
		"GET /full": answers(200, strings.Repeat(" ", maxAnswer)),
		"GET /404":  answers(404, `{"message":"gone"}`),
		"GET /late": late(answers(200, ""), 2*time.Millisecond),
	})
	const bad = "s: bad_response, "
	for _, tc := range []struct{ path, expect, want string }{
		{"a", `{}`, "s"},
		{"201", `{}`, "s"},
		{"full", `{}`, "s"},
		{"long", `{}`, bad + "the answer is longer than 1048576 bytes"},
		{"201", `{status: 200}`, bad + "status 201 is not what was expected"},
		{"201", `{status: [200, 201]}`, "s"},
		{"302", `{}`, bad + "status 302 is not what was expected"},
		{"302", `{status: 302}`, "s"},
		{"404", `{status: 404, json: {message: gone}}`, "s"},
		{"404", `{}`, "s: rejected, status 404 is not what was expected"},
		{"a", `{json: {message: valid, id: 7, ok: true, none: null}}`, "s"},
		{"a", `{json: {list: [{x: 1}]}}`, "s"},
		{"a", `{json: {id: "7"}}`, "s"},
		{"a", `{json: {message: invalid}}`, bad + "the answer's message is not what was expected"},
		{"a", `{json: {list.0.x: 2}}`, bad + "the answer's list.0.x is not what was expected"},
		{"a", `{json: {nowhere: null}}`, bad + "the answer's nowhere is not what was expected"},
		{"a", `{has: [id, list.0.x]}`, "s"},
		{"a", `{has: [jwt]}`, bad + "the answer has no jwt"},
		{"a", `{has: [none]}`, bad + "the answer has no none"},
		{"201", `{has: [id]}`, bad + "the answer is not JSON"},
		{"a", `{max_duration: 1m}`, "s"},
		{"late", `{max_duration: 1ms}`, "s: slow, it took longer than 1ms"},
	} {
		cfg, err := load(t, replaceURL(fmt.Sprintf(`{vendor: v, steps: [{name: s, request: {url: URL/%s}, expect: %s}]}`, tc.path, tc.expect), s))
		require.NoError(t, err)
		assert.Equal(t, []string{tc.want}, perform(t, cfg).steps(), "%s %s", tc.path, tc.expect)
	}
}

// TestCaptured: what was captured is sent where it is asked for, and compared.
func TestCaptured(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{
		"GET /first":      answers(200, `{"id":7,"name":"a b","nested":{"list":[1,"x"]}}`),
		"POST /next/a b":  answers(200, `{"id":"7","nested":{"list":[1,"x"]}}`),
		"POST /verify":    answers(200, `{"message":"valid"}`),
		"DELETE /session": answers(204, ""),
	})
	cfg, err := load(t, replaceURL(`{vendor: v, steps: [
		{name: first, request: {url: URL/first, headers: {Host: shop.example.com, X-One: "1"}}, capture: {id: id, name: name, nested: nested}},
		{name: next, request: {url: "URL/next/{{name}}?q={{name}}", headers: {X-Id: "no. {{id}}"}, json: {id: "{{id}}", text: "no. {{id}}", deep: [{all: "{{nested}}"}]}},
			expect: {json: {id: "{{id}}", nested: "{{nested}}", nested.list.1: "{{nested.list.1}}"}}},
		{name: verify, request: {url: URL/verify, bearer: "{{nested.list.1}}", body: "id={{id}}"}, expect: {json: {message: valid}}},
		{name: end, request: {method: DELETE, url: URL/session}}]}`, s))
	require.NoError(t, err)
	assert.Equal(t, []string{"first", "next", "verify", "end"}, perform(t, cfg).steps())

	got := s.requests()
	assert.Equal(t, "shop.example.com", got[0].Host)
	assert.Equal(t, "1", got[0].Header.Get("X-One"))
	assert.Equal(t, "application/json, */*;q=0.5", got[0].Header.Get("Accept"))
	assert.Empty(t, got[0].Header.Get("Content-Type"))
	assert.Equal(t, "q=a+b", got[1].URL.RawQuery)
	assert.Equal(t, "no. 7", got[1].Header.Get("X-Id"))
	assert.Equal(t, "application/json", got[1].Header.Get("Content-Type"))
	assert.Equal(t, "Bearer x", got[2].Header.Get("Authorization"))
	assert.JSONEq(t, `{"id":7,"text":"no. 7","deep":[{"all":{"list":[1,"x"]}}]}`, s.bodies[1])
	assert.Equal(t, []string{"", "id=7", ""}, []string{s.bodies[0], s.bodies[2], s.bodies[3]})
	assert.Zero(t, got[3].ContentLength)
}

// TestCannotBeSent: what was captured may make no request; then none is made, and it is our own failure.
func TestCannotBeSent(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{"GET /first": answers(200, `{"lines":"a\nb","words":"a b","dots":".."}`)})
	for _, tc := range []struct{ request, detail string }{
		{`url: URL/next, bearer: "{{lines}}"`, "makes no header"},
		{`url: URL/next, headers: {X-Key: "a {{lines}}"}`, "makes no header"},
		{`url: URL/next, headers: {Host: "{{words}}"}`, "makes no header"},
		{`url: "URL/next/{{dots}}"`, "makes no URL"},
	} {
		cfg, err := load(t, replaceURL(`{vendor: v, steps: [{name: first, vendor: "", request: {url: URL/first}, capture: {lines: lines, words: words, dots: dots}},
			{name: next, request: {`+tc.request+`}}]}`, s))
		require.NoError(t, err)
		r := perform(t, cfg)
		assert.Equal(t, []string{"first", "next: bad_response, what was captured " + tc.detail}, r.steps(), tc.request)
		assert.Equal(t, ownFailure, r.outcome(), tc.request)
	}
	assert.Zero(t, s.count("GET /next"))
}

// TestCookies: a run keeps them from step to step, the next one begins without.
func TestCookies(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{
		"GET /login": func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		},
		"GET /order": answers(200, ""),
	})
	cfg, err := load(t, replaceURL(`{vendor: v, steps: [{name: login, request: {url: URL/login}}, {name: order, request: {url: URL/order}}]}`, s))
	require.NoError(t, err)
	p, err := newProbe(t.Context(), componenttest.NewNopHost(), receivertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	for range 2 {
		assert.Equal(t, success, p.perform(t.Context(), t.Context()).outcome())
	}
	var cookies []string
	for _, r := range s.requests() {
		cookies = append(cookies, r.Header.Get("Cookie"))
	}
	assert.Equal(t, []string{"", "session=1", "", "session=1"}, cookies)
}

// TestCookiesOfMany: a cookie is for the hosts of one owner, not for all under a name that many share.
func TestCookiesOfMany(t *testing.T) {
	s := newShop(t, map[string]http.HandlerFunc{
		"GET /login": func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "shop", Value: "1", Domain: "shop.co.uk"})
			http.SetCookie(w, &http.Cookie{Name: "all", Value: "1", Domain: "co.uk"})
		},
		"GET /order": answers(200, ""),
	})
	cfg, err := load(t, replaceURL(`{vendor: v, http: {proxy_url: URL}, steps: [{name: login, request: {url: "http://auth.shop.co.uk/login"}},
		{name: order, request: {url: "http://www.shop.co.uk/order"}}, {name: vendor, request: {url: "http://vendor.co.uk/order"}}]}`, s))
	require.NoError(t, err)
	require.Equal(t, success, perform(t, cfg).outcome())
	cookies := map[string]string{}
	for _, r := range s.requests() {
		cookies[r.Host] = r.Header.Get("Cookie")
	}
	assert.Equal(t, map[string]string{"auth.shop.co.uk": "", "www.shop.co.uk": "shop=1", "vendor.co.uk": ""}, cookies)
}

// TestFailureOf: an error nobody thought of is no answer, and its text is not told.
func TestFailureOf(t *testing.T) {
	f := failureOf(errors.New("hunter2"))
	assert.Equal(t, failure{reason: reason.Unreachable, detail: "the connection broke off"}, *f)
	assert.Equal(t, reason.Timeout, failureOf(fmt.Errorf("x: %w", context.DeadlineExceeded)).reason)
}
