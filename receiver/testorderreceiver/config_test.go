package testorderreceiver

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
)

func TestDefaultConfig(t *testing.T) {
	require.NoError(t, componenttest.CheckConfigStruct(NewFactory().CreateDefaultConfig()))
	c := newDefaultConfig()
	assert.Equal(t, time.Minute, c.Interval)
	assert.Equal(t, 45*time.Second, c.Timeout)
	assert.Equal(t, 15*time.Second, c.CollectionInterval)
	assert.Equal(t, 1500, c.MaxOrdersPerDay)
	assert.ErrorContains(t, confmap.Validate(c), "steps: none given")
}

// load reads a configuration as the Collector does, environment included. Further YAML is put over it.
func load(t testing.TB, text string, over ...string) (*Config, error) {
	t.Helper()
	uris := []string{"yaml:" + text}
	for _, more := range over {
		uris = append(uris, "yaml:"+more)
	}
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs:              uris,
		ProviderFactories: []confmap.ProviderFactory{yamlprovider.NewFactory(), envprovider.NewFactory()},
		DefaultScheme:     "env",
	})
	require.NoError(t, err)
	conf, err := resolver.Resolve(context.Background())
	require.NoError(t, err)
	c := newDefaultConfig()
	if err := conf.Unmarshal(c); err != nil {
		return nil, err
	}
	return c, confmap.Validate(c)
}

// loadFile reads one of the configurations of testdata/config.yaml.
func loadFile(t testing.TB, id string) (*Config, error) {
	t.Helper()
	text, err := os.ReadFile("testdata/config.yaml")
	require.NoError(t, err)
	for part := range strings.SplitSeq(string(text), "\n\n") {
		if _, after, ok := strings.Cut(part, "\n"+id+":\n"); ok {
			return load(t, strings.ReplaceAll(after, "\n  ", "\n")[2:])
		}
	}
	t.Fatalf("no %s", id)
	return nil, nil
}

func TestLoad(t *testing.T) {
	t.Setenv("PIZZA_URL", "https://pizza.example.com")
	t.Setenv("PROBE_EMAIL", "probe@example.com")
	t.Setenv("PROBE_PASSWORD", "0123")

	t.Run("as in the example", func(t *testing.T) {
		c, err := loadFile(t, "test_order")
		require.NoError(t, err)
		require.Len(t, c.Steps, 4)
		assert.Equal(t, urlText("https://pizza.example.com/api/auth"), c.Steps[0].Request.URL)
		assert.Equal(t, `{"email":"probe@example.com","password":"0123"}`, string(c.Steps[0].Request.JSON),
			"a password of digits is text")
		assert.Equal(t, `{"franchiseId":1,"items":[{"description":"Veggie","menuId":1,"price":0.05}],"storeId":1}`, string(c.Steps[1].Request.JSON))
		assert.Equal(t, statusCodes{200}, c.Steps[1].Expect.Status)
		assert.Equal(t, 10*time.Second, c.Steps[1].Expect.MaxDuration)
		assert.Equal(t, time.Minute, c.Steps[2].JWT.Leeway)
		assert.True(t, c.Steps[3].Always)

		steps, faults := newSteps(c)
		require.Empty(t, faults)
		var speakFor []string
		for _, s := range steps {
			speakFor = append(speakFor, s.vendor)
		}
		assert.Equal(t, []string{"", "pizza-factory", "pizza-factory", ""}, speakFor,
			"the step that gets the bearer token and the one that always runs are ours")
	})
	t.Run("every key", func(t *testing.T) {
		c, err := loadFile(t, "test_order/all")
		require.NoError(t, err)
		assert.Equal(t, 2*time.Minute, c.Interval)
		assert.Equal(t, 30*time.Second, c.Timeout)
		assert.Equal(t, 30*time.Second, c.CollectionInterval)
		assert.Equal(t, 800, c.MaxOrdersPerDay)
		assert.Equal(t, 20*time.Second, c.HTTP.Timeout)
		assert.Equal(t, "http://proxy.example.com:3128", c.HTTP.ProxyURL)
		assert.False(t, c.Metrics.ProbeDuration.Enabled)
		assert.Equal(t, statusCodes{200, 201}, c.Steps[0].Expect.Status)
		assert.Equal(t, []string{"user.id"}, c.Steps[0].Expect.Has)
		assert.True(t, c.Steps[0].Request.FollowRedirects)
		assert.Equal(t, "GET", c.Steps[0].Request.method())
		assert.Equal(t, "POST", c.Steps[1].Request.method(), "it has a body")
		assert.Equal(t, map[string]jsonText{"ok": "true", "user": `"{{user}}"`, "count": "3", "note": "null"}, c.Steps[1].Expect.JSON)
		assert.Equal(t, []string{"RS256", "ES256"}, c.Steps[2].JWT.Algorithms)
		assert.Equal(t, 10*time.Second, c.Steps[2].JWT.Leeway)

		steps, faults := newSteps(c)
		require.Empty(t, faults)
		assert.Equal(t, "", steps[0].vendor)
		assert.Equal(t, "other-vendor", steps[1].vendor)
		assert.Equal(t, "pizza-factory", steps[2].vendor)
		assert.Equal(t, []capture{{name: "session", path: "id"}, {name: "user", path: "user", parts: []string{"id"}}}, steps[0].captures,
			"what later steps ask of a capture is known before the first run")
	})
}

// TestWhoseSide: whom steps speak for that do not say it.
func TestWhoseSide(t *testing.T) {
	const (
		login  = `{name: login, request: {url: "https://auth"}, capture: {token: token}}`
		order  = `{name: order, request: {url: "https://shop", bearer: "{{token}}"}, capture: {jwt: jwt}}`
		logout = `{name: logout, always: true, request: {url: "https://shop", bearer: "{{token}}"}}`
	)
	for _, tc := range []struct{ name, steps, ours string }{
		{"a login by bearer token", login + `, ` + order + `, ` + logout, "login logout"},
		{"a login by header", login + `, {name: order, request: {url: "https://shop", headers: {authorization: "Token {{token}}"}}}`, "login"},
		{"a login whose token goes elsewhere", login + `, {name: order, request: {url: "https://shop", headers: {X-Token: "{{token}}"}}}`, ""},
		{"the vendor verifies what authorizes it", login + `, ` + order + `, {name: verify, request: {url: "https://v", bearer: "{{jwt}}"}}`, "login"},
		{"the same without a login", `{name: menu, request: {url: "https://shop"}}, {name: order, request: {url: "https://shop"}, capture: {jwt: jwt}}, {name: verify, request: {url: "https://v", bearer: "{{jwt}}"}}`, ""},
		{"a login in two steps", `{name: first, vendor: "", request: {url: "https://auth"}, capture: {code: code}}, {name: login, request: {url: "https://auth/{{code}}"}, capture: {token: token}}, ` + order, "first login"},
		{"as it is said", `{name: login, vendor: a, request: {url: "https://auth"}, capture: {token: token}}, {name: order, vendor: "", request: {url: "https://shop", bearer: "{{token}}"}}, {name: undo, vendor: a, always: true, request: {url: "https://shop"}}`, "order"},
	} {
		c, err := load(t, `{vendor: v, steps: [`+tc.steps+`]}`)
		require.NoError(t, err, tc.name)
		steps, _ := newSteps(c)
		var ours []string
		for _, s := range steps {
			if s.vendor == "" {
				ours = append(ours, s.name)
			}
		}
		assert.Equal(t, tc.ours, strings.Join(ours, " "), tc.name)
	}
}

const (
	wrongLogin = `{name: login, request: {method: PUT, url: "https://shop/auth", json: {password: pw}}, capture: {token: token}}`
	wrongOrder = `{name: order, request: {method: POST, url: "https://shop/order", bearer: "{{token}}"}, capture: {jwt: jwt}}`
)

func TestWrong(t *testing.T) {
	one := func(step string) string { return "{vendor: v, steps: [" + wrongLogin + ", " + step + "]}" }
	request := func(keys string) string {
		return one(`{name: s, request: {url: "https://shop/", ` + keys + `}}`)
	}
	expect := func(keys string) string {
		return one(`{name: s, request: {url: "https://shop/"}, expect: {` + keys + `}}`)
	}
	jwt := func(keys string) string {
		return one(`{name: s, jwt: {token: "{{token}}", jwks: "https://v/jwks", ` + keys + `}}`)
	}
	url := func(url string) string { return one(fmt.Sprintf(`{name: s, request: {url: %q}}`, url)) }
	for _, wrong := range []struct{ name, config, says string }{
		{"no steps", `{vendor: v}`, "steps: none given; write at least one"},
		{"no vendor", `{steps: [` + wrongLogin + `]}`, `vendor: "" is empty; write the vendor's name`},
		{"interval", `{interval: 10ms}`, "interval: 10ms is shorter than a second; write a duration such as 1m"},
		{"timeout", `{timeout: 0s}`, "timeout: 0s is not positive; write a duration such as 45s"},
		{"collection interval", `{collection_interval: 0s}`, "collection_interval: 0s is not positive; write"},
		{"interval without a unit", `{interval: 60}`, "interval: 60ns is shorter than a millisecond; write the unit, such as 1m"},
		{"timeout without a unit", `{timeout: 45}`, "timeout: 45ns is shorter than a millisecond; write the unit, such as 45s"},
		{"collection interval without a unit", `{collection_interval: 15}`, "collection_interval: 15ns is shorter than a millisecond; write the unit, such as 15s"},
		{"a request's timeout without a unit", `{http: {timeout: 30}}`, "http.timeout: 30ns is shorter than a millisecond; write the unit, such as 30s"},
		{"stale", `{collection_interval: 6m}`, "collection_interval: 6m0s is too long, Prometheus forgets"},
		{"no orders", `{max_orders_per_day: 0}`, "max_orders_per_day: 0 is not positive; write how many"},
		{"endpoint", `{http: {endpoint: "http://a"}}`, "http.endpoint: each request has a URL of its own; remove"},
		{"cookies", `{http: {cookies: {}}}`, "http.cookies: each run keeps its own cookies"},
		{"line break for all", `{http: {headers: {X-Key: "hunter2\n"}}}`, "http.headers.X-Key: it has a line break or another control character"},
		{"authenticator beside a bearer", `{http: {auth: {authenticator: a}}, vendor: v, steps: [` + wrongLogin + `, ` + wrongOrder + `]}`,
			"http.auth: it would take the place of steps[1].request.bearer; remove one"},
		{"authorization for all beside a bearer", `{http: {headers: {authorization: hunter2}}, vendor: v, steps: [` + wrongLogin + `, ` + wrongOrder + `]}`,
			"http.headers: Authorization would take the place of steps[1].request.bearer; remove one"},
		{"authorization for all beside a step's", `{http: {headers: {authorization: hunter2}}, vendor: v, steps: [{name: s, request: {url: "https://shop", headers: {Authorization: hunter2}}}]}`,
			"http.headers: Authorization would take the place of steps[0].request.headers.Authorization; remove one"},
		{"header for all", `{http: {headers: {"X Y": z}}}`, `http.headers: "X Y" is no header; write one such as Accept`},
		{"user agent for all", `{http: {headers: {user-agent: me}}}`, "http.headers: user-agent is the mark of a test order; remove it"},
		{"unknown key", `{intervall: 1m}`, "intervall"},

		{"no name", one(`{request: {url: "https://shop"}}`), `steps[1].name: "" is empty`},
		{"same name", one(wrongLogin), `steps[1].name: "login" is already steps[0]; give each step a name of its own`},
		{"neither", one(`{name: s}`), "steps[1]: it has neither request nor jwt; write what the step does"},
		{"both", one(`{name: s, request: {url: "https://shop"}, jwt: {token: x, jwks: "https://v"}}`), "steps[1]: it has both request and jwt; make two steps of it"},
		{"too many", `{vendor: v, steps: [` + strings.Repeat(wrongLogin+",", 21) + `]}`, "steps: 21 are too many; write at most 20"},

		{"unknown name in bearer", request(`bearer: "{{tokn}}"`), "steps[1].request.bearer: {{tokn}} is captured by no earlier step; capture it in an earlier step, or write one of token"},
		{"unknown name in url", url("https://shop/{{order.id}}"), "steps[1].request.url: {{order.id}} is captured by no earlier step"},
		{"unknown name in header", request(`headers: {X-Id: "a {{id}}"}`), "steps[1].request.headers.X-Id: {{id}} is captured by no earlier step"},
		{"unknown name in json", request(`json: {a: {b: ["{{id}}"]}}`), "steps[1].request.json: {{id}} is captured by no earlier step"},
		{"unknown name in body", request(`body: "id={{id}}"`), "steps[1].request.body: {{id}} is captured by no earlier step"},
		{"unknown name in expect", expect(`json: {id: "{{id}}"}`), "steps[1].expect.json.id: {{id}} is captured by no earlier step"},
		{"unknown name in token", one(`{name: s, jwt: {token: "{{jwt}}", jwks: "https://v/jwks"}}`), "steps[1].jwt.token: {{jwt}} is captured by no earlier step"},
		{"unknown name in claim", jwt(`claims: {order.id: "{{order.id}}"}`), "steps[1].jwt.claims.order.id: {{order.id}} is captured by no earlier step"},
		{"captured later", "{vendor: v, steps: [" + wrongOrder + "," + wrongLogin + "]}", "steps[0].request.bearer: {{token}} is captured by no earlier step; capture it in an earlier step"},
		{"captured by itself", one(`{name: s, request: {url: "https://shop/{{id}}"}, capture: {id: id}}`), "steps[1].request.url: {{id}} is captured by no earlier step"},
		{"open place", request(`body: "a {{token"`), "steps[1].request.body: it has {{ without a name and }}; write {{name}}"},
		{"place without a name", request(`body: "a {{}}"`), "steps[1].request.body: it has {{ without a name and }}"},
		{"place with more", request(`body: "{{token | upper}}"`), "steps[1].request.body: it has {{ without a name and }}"},
		{"place in a member's name", request(`json: {"{{token}}": 1}`), `"{{token}}": a name cannot have {{; write`},

		{"no url", one(`{name: s, request: {}}`), "steps[1].request.url: it does not begin with http:// or https://; write"},
		{"not http", url("ftp://shop"), "steps[1].request.url: it does not begin with http://"},
		{"no host", url("https:///order"), "steps[1].request.url: its host cannot be read; write"},
		{"templated host", url("https://{{token}}/order"), "steps[1].request.url: its host has {{; write the host"},
		{"password in url", url("https://me:hunter2@shop"), "steps[1].request.url: it has a user or password; write them into a header"},
		{"blank in host", url("https://my shop"), "steps[1].request.url: its host cannot be read"},
		{"port", url("https://shop:0/"), "steps[1].request.url: its port is none; write one from 1 to 65535"},
		{"great port", url("https://shop:65536/"), "steps[1].request.url: its port is none; write one from 1 to 65535"},
		{"path", url("https://shop/a%zz"), "steps[1].request.url: its path or query cannot be read; write a % as %25"},
		{"path before a place", url("https://shop/a%{{token}}"), "steps[1].request.url: its path or query cannot be read"},
		{"line break in a url", url("https://shop/hunter2\n"), "steps[1].request.url: its path or query cannot be read"},
		{"method", request(`method: "GET IT"`), `steps[1].request.method: "GET IT" is not an HTTP method; write one such as POST`},
		{"date", request(`json: {a: [{b: 2025-12-05}]}`), `'[b]' a date would be sent as a point in time; quote it, such as "2025-12-05"`},
		{"time in expect", expect(`json: {a: 2025-12-05T08:00:00Z}`), "'steps[1].expect.json[a]' a date would be sent"},
		{"json and body", request(`json: {a: 1}, body: b`), "steps[1].request: json and body are both given; write one"},
		{"json of a word", request(`json: hunter2`), "steps[1].request.json: it is neither a map nor a list; write one, or use body"},
		{"header", request(`headers: {"X Y": z}`), `steps[1].request.headers: "X Y" is no header; write one such as Accept`},
		{"two authorizations", request(`bearer: a, headers: {authorization: b}`), "steps[1].request.headers: Authorization and bearer are both given; write one"},
		{"host header", request(`headers: {Host: "my shop"}`), "steps[1].request.headers.Host: it is no host; write one such as shop.example.com"},
		{"line break in a bearer", request(`bearer: "hunter2\n"`), "steps[1].request.bearer: it has a line break or another control character, which no header can have; remove it"},
		{"line break beside a place", request(`bearer: "{{token}}\n"`), "steps[1].request.bearer: it has a line break"},
		{"line break in a header", request(`headers: {X-Key: "hunter2\r\n"}`), "steps[1].request.headers.X-Key: it has a line break"},
		{"user agent", request(`headers: {User-Agent: me}`), "steps[1].request.headers: User-Agent is the mark of a test order"},
		{"traceparent", request(`headers: {Traceparent: x}`), "steps[1].request.headers: Traceparent is the mark of a test order"},

		{"status", expect("status: 20"), "steps[1].expect.status: 20 is not an HTTP status code; write one from 100 to 599"},
		{"status of many", expect("status: [200, 600]"), "steps[1].expect.status: 600 is not an HTTP status code"},
		{"status of a word", expect("status: ok"), "status"},
		{"max_duration", expect("max_duration: -1s"), "steps[1].expect.max_duration: -1s is negative; write a duration such as 10s"},
		{"max_duration without a unit", expect("max_duration: 10"), "steps[1].expect.max_duration: 10ns is shorter than a millisecond; write the unit, such as 10s"},
		{"has", expect(`has: [""]`), `steps[1].expect.has: one path is ""; write`},
		{"json path", expect(`json: {"": 1}`), `steps[1].expect.json: one path is ""; write`},
		{"capture path", one(`{name: s, request: {url: "https://shop"}, capture: {a: ""}}`), `steps[1].capture.a: "" is no path; write where the answer has it, such as a`},
		{"capture name", one(`{name: s, request: {url: "https://shop"}, capture: {a.b: a}}`), `steps[1].capture: "a.b" is no name; write letters`},
		{"captured twice", one(`{name: s, request: {url: "https://shop"}, capture: {token: t}}`), "steps[1].capture.token: an earlier step captures this name; choose another"},

		{"no token", one(`{name: s, jwt: {jwks: "https://v/jwks"}}`), `steps[1].jwt.token: "" is empty; write what was captured`},
		{"no jwks", one(`{name: s, jwt: {token: "{{token}}"}}`), "steps[1].jwt.jwks: it does not begin with http://"},
		{"templated jwks", one(`{name: s, jwt: {token: "{{token}}", jwks: "https://v/{{token}}"}}`), "steps[1].jwt.jwks: it has {{; write the URL of the vendor's keys, which no answer may choose"},
		{"alg none", jwt("algorithms: [none]"), `steps[1].jwt.algorithms: "none" does not prove that the vendor signed`},
		{"alg HMAC", jwt("algorithms: [RS256, HS256]"), `steps[1].jwt.algorithms: "HS256" does not prove that the vendor signed, anybody who knows the public keys could have; write some of RS256`},
		{"leeway", jwt("leeway: -1s"), "steps[1].jwt.leeway: -1s is negative; write a duration such as 1m"},
		{"leeway without a unit", jwt("leeway: 60"), "steps[1].jwt.leeway: 60ns is shorter than a millisecond; write the unit, such as 1m"},
		{"claim", jwt(`claims: {"": 1}`), `steps[1].jwt.claims: one path is ""`},
		{"capture of a token", one(`{name: s, jwt: {token: "{{token}}", jwks: "https://v/jwks"}, capture: {a: a}}`), "steps[1].capture: only an answer to a request can be captured; remove it"},
		{"expect of a token", one(`{name: s, jwt: {token: "{{token}}", jwks: "https://v/jwks"}, expect: {status: 200}}`), "steps[1].expect: it is for answers to requests; write what a token must hold as jwt.claims"},
		{"blame of a token", one(`{name: s, jwt: {token: "{{token}}", jwks: "https://v/jwks"}, blame: [x]}`), "steps[1].blame: it is for answers to requests; remove it"},
		{"blame nobody", one(`{name: s, vendor: "", blame: [x], request: {url: "https://shop"}}`), "steps[1].blame: the step speaks for ourselves; remove blame or write whom it speaks for"},
		{"blame with nothing", one(`{name: s, blame: [""], request: {url: "https://shop"}}`), `steps[1].blame: one text is "", which every answer has; write`},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			_, err := load(t, wrong.config)
			require.ErrorContains(t, err, wrong.says)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// TestAllFaultsAtOnce: one run of `validate` tells all.
func TestAllFaultsAtOnce(t *testing.T) {
	_, err := load(t, `{interval: 0s, timeout: -1s, steps: [{name: "", request: {url: nowhere, bearer: "{{a}}"}}]}`)
	for _, says := range []string{"interval: 0s", "timeout: -1s", "vendor: ", "steps[0].name: ", "steps[0].request.url: ", "steps[0].request.bearer: {{a}}"} {
		assert.ErrorContains(t, err, says)
	}
}

// TestNothingPrintsSecrets: whatever prints or marshals the configuration sees no body, token or header, and no query of a URL.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	c, err := load(t, `{vendor: v, http: {headers: {X-Key: "${env:SECRET}"}}, steps: [{name: s, request: {url: "https://shop/?key=${env:SECRET}", bearer: "${env:SECRET}",
		json: {a: [{b: "${env:SECRET}"}], "hunter2": 1}, headers: {X-Key: "a ${env:SECRET}"}}, expect: {json: {a: "${env:SECRET}"}}},
		{name: t, request: {url: "https://shop", body: "a=${env:SECRET}"}}, {name: u, jwt: {token: "${env:SECRET}", jwks: "https://v/jwks#?${env:SECRET}", claims: {a: "${env:SECRET}"}}}]}`)
	require.NoError(t, err)
	assert.Contains(t, string(c.Steps[0].Request.JSON), "hunter2")
	marshaled := confmap.New()
	require.NoError(t, marshaled.Marshal(c))
	for _, text := range []string{
		fmt.Sprint(*c, c.Steps, *c.Steps[0].Request, *c.Steps[1].Request, *c.Steps[2].JWT),
		fmt.Sprintf("%+v %+v %+v %+v", c.Steps, *c.Steps[0].Request, *c.Steps[1].Request, *c.Steps[2].JWT),
		fmt.Sprintf("%#v %#v %#v %#v", c.Steps, *c.Steps[0].Request, *c.Steps[1].Request, *c.Steps[2].JWT),
		fmt.Sprint(marshaled.ToStringMap()),
	} {
		assert.Contains(t, text, redacted)
		assert.NotContains(t, text, "hunter2")
		assert.Contains(t, text, "https://shop/?"+redacted)
		assert.Contains(t, text, "https://v/jwks#"+redacted)
	}
}
