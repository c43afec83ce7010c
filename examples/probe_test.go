package examples

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

// pizzaShop takes the place of jwt-pizza-service and of the factory's keys. Of each order it sends a Collector, once it
// has one, what the service does: the order's span and that of its call to the factory, and a line of each.
type pizzaShop struct {
	*httptest.Server
	// forged makes the factory sign the tokens of its orders with a key of somebody else's. The service sees nothing
	// wrong: all answers are 200.
	forged atomic.Bool
	// down makes the factory fail, and so the service.
	down          atomic.Bool
	logins, ended atomic.Int64
	collector     atomic.Pointer[builtcollector.Collector]

	key, other ed25519.PrivateKey
}

func newPizzaShop(t *testing.T) *pizzaShop {
	seed := make([]byte, ed25519.SeedSize)
	s := &pizzaShop{key: ed25519.NewKeyFromSeed(seed)}
	seed[0] = 1
	s.other = ed25519.NewKeyFromSeed(seed)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *pizzaShop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "PUT /api/auth":
		s.logins.Add(1)
		fmt.Fprint(w, `{"token":"session-token"}`)
	case "DELETE /api/auth":
		s.ended.Add(1)
	case "POST /api/order":
		key := s.key
		if s.forged.Load() {
			key = s.other
		}
		token, err := jws.Sign([]byte(`{"order":{"id":7}}`), jws.WithKey(jwa.EdDSA(), key))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		status, made, answer := http.StatusOK, fmt.Sprintf(`{"jwt":%q}`, token), fmt.Sprintf(`{"order":{"id":7},"jwt":%q}`, token)
		if s.down.Load() {
			status, made, answer = http.StatusInternalServerError, `{"message":"chaos monkey"}`, `{"message":"Failed to fulfill order at factory"}`
		}
		if to := s.collector.Load(); to != nil {
			tellOrder(to, r, string(body), status, made, answer)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	case "GET /.well-known/jwks.json":
		key, err := jwk.Import(s.key.Public())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{key}})
	default:
		http.NotFound(w, r)
	}
}

// tellOrder sends what the service tells of an order and of its call to the factory. As the course's logger writes them,
// the lines have no user agent: all that shows whose order it was is what was ordered.
func tellOrder(to *builtcollector.Collector, r *http.Request, body string, status int, made, answer string) {
	parent := strings.Split(r.Header.Get("traceparent"), "-")
	end := time.Now()
	span := func(id, parent, name string, kind int, attributes ...string) string {
		return fmt.Sprintf(`{"traceId":%q,"spanId":%q,"parentSpanId":%q,"name":%q,"kind":%d,"startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[%s]}`,
			strings.Split(r.Header.Get("traceparent"), "-")[1], id, parent, name, kind, end.Add(-time.Millisecond).UnixNano(), end.UnixNano(),
			strings.Join(append(attributes, `{"key":"http.request.method","value":{"stringValue":"POST"}}`, fmt.Sprintf(`{"key":"http.response.status_code","value":{"intValue":%d}}`, status)), ","))
	}
	text := func(key, value string) string {
		return fmt.Sprintf(`{"key":%q,"value":{"stringValue":%q}}`, key, value)
	}
	spans := fmt.Sprintf(`{"resourceSpans":[{"resource":{"attributes":[%s]},"scopeSpans":[{"spans":[%s,%s]}]}]}`, text("service.name", "jwt-pizza-service"),
		span("00000000000000a1", parent[2], "POST /api/order", 2, text("http.route", "/api/order"), text("url.path", "/api/order"), text("user_agent.original", r.UserAgent()), text("user.id", "7")),
		span("00000000000000a2", "00000000000000a1", "POST", 3, text("url.full", "https://pizza-factory.cs329.click/api/order")))
	level := "info"
	if status >= 400 {
		level = "error"
	}
	line := func(kind, text string) string {
		return fmt.Sprintf(`{"stream":{"component":"jwt-pizza-service","level":%q,"type":%q},"values":[["%d",%q]]}`, level, kind, end.UnixNano(), text)
	}
	lines := fmt.Sprintf(`{"streams":[%s,%s]}`,
		line("factory", fmt.Sprintf(`{"reqBody":%q,"resBody":%q}`, `{"diner":{"id":7},"order":`+body+`}`, made)),
		line("http", fmt.Sprintf(`{"authorized":true,"path":"/api/order","method":"POST","statusCode":%d,"reqBody":%q,"resBody":%q}`, status, body, answer)))
	for url, body := range map[string]string{to.OTLP + "/v1/traces": spans, to.Loki + "/loki/api/v1/push": lines} {
		if response, err := http.Post(url, "application/json", strings.NewReader(body)); err == nil { // a Collector that ends takes nothing
			_ = response.Body.Close()
		}
	}
}

// TestProbe: with no customer at all, the test order of jwt-pizza.yaml shows in Prometheus that the factory's tokens are
// worthless, though every answer is 200 and all that the service tells is well, opens the outage after min_failures runs,
// and closes it. When the factory fails, the service tells of failed orders too, and none is a customer's.
func TestProbe(t *testing.T) {
	t.Parallel()
	shop := newPizzaShop(t)
	out := t.TempDir()
	prometheus, err := monitoring.StartPrometheus(t.Context(), root, out, monitoring.PrometheusConfig{})
	require.NoError(t, err)
	defer prometheus.Kill()

	// Only times are shorter, and the metrics go to Prometheus. The window holds nothing but what min_calls looks at.
	config := filepath.Join(out, "probe.yaml")
	merge(t, config, "jwt-pizza.yaml", `
receivers: {test_order: {interval: 1s, collection_interval: 1s, max_orders_per_day: 86400}}
processors: {vendor_failure: {outage: {window: 1s, recovery: 2s}}}
exporters: {otlp_http/prometheus: {metrics_endpoint: "`+prometheus.PushURL()+`", tls: {insecure: true}}}
service: {pipelines: {metrics: {exporters: [otlp_http/prometheus]}}}
`)
	config, err = prometheus.PushFrom(config, out, time.Second)
	require.NoError(t, err)
	collector, err := builtcollector.Start(t.Context(), root, config, out,
		"PIZZA_URL="+shop.URL, "PIZZA_FACTORY_URL="+shop.URL, "PROBE_EMAIL=probe@example.com", "PROBE_PASSWORD=0123")
	require.NoError(t, err)
	defer collector.Kill()
	shop.collector.Store(collector)

	value := func(expression string) float64 {
		series, err := prometheus.Query(t.Context(), expression)
		if err != nil || len(series) != 1 || len(series[0].Points) != 1 {
			return -1
		}
		return series[0].Points[0].Value
	}
	eventually := func(expression string, want float64) {
		t.Helper()
		require.Eventually(t, func() bool { return value(expression) == want }, time.Minute, 50*time.Millisecond, "%s == %v", expression, want)
	}
	const success = `probe_success{probe_name="test_order", vendor_name="pizza-factory", job="otelcol-test-order", instance!=""}`
	const outage = `vendor_outage{vendor_name="pizza-factory"}`
	const failed = `probe_runs_total{probe_outcome="vendor_failure", probe_step="verify", vendor_failure_reason="bad_response"}`
	eventually(success, 1)
	eventually(failed, 0)
	eventually(outage, 0)

	shop.forged.Store(true)
	eventually(success, 0)
	eventually(outage, 1)
	opened := value(failed)
	assert.GreaterOrEqual(t, opened, 3., "min_failures runs, and no customer")
	eventually(`sum(increase(`+failed+`[5m])) >= bool 3`, 1)

	shop.forged.Store(false)
	eventually(success, 1)
	eventually(outage, 0)

	shop.down.Store(true)
	eventually(outage, 1)
	eventually(`count(vendor_calls_total{vendor_caller="jwt-pizza-service", vendor_outcome="failure"} > 1)`, 2) // in both signals
	shop.down.Store(false)
	eventually(outage, 0)

	// The first worthless token showed at once: when probe_success fell, one run had failed.
	stored := func(expression string) []monitoring.Point {
		series, err := prometheus.Query(t.Context(), expression+"[5m]")
		require.NoError(t, err)
		require.Len(t, series, 1, expression)
		return series[0].Points
	}
	succeeded, failures := stored(success), map[time.Time]float64{}
	for _, p := range stored(failed) {
		failures[p.At] = p.Value
	}
	fell := slices.IndexFunc(succeeded, func(p monitoring.Point) bool { return p.Value == 0 })
	require.Positive(t, fell)
	assert.Equal(t, 1., failures[succeeded[fell].At])

	// By pull the outage is the same, and nobody was hit by it: all orders are synthetic, in both signals.
	samples, err := collector.Scrape(t.Context())
	require.NoError(t, err)
	pulled, counted := map[string]float64{}, map[string]bool{}
	for _, sample := range samples {
		pulled[sample.Name] += sample.Value
		if kind, ok := map[string]string{"vendor_orders_total": "order", "vendor_calls_total": "call"}[sample.Name]; ok && sample.Value > 0 {
			l := sample.Labels
			counted[strings.Join([]string{kind, l["vendor_caller"], l["vendor_signal"], l["vendor_outcome"], l["user_agent_synthetic_type"]}, " ")] = true
		}
	}
	assert.Equal(t, []string{
		"call jwt-pizza-service logs failure test",
		"call jwt-pizza-service logs success test",
		"call jwt-pizza-service traces failure test",
		"call jwt-pizza-service traces success test",
		"call otelcol-test-order traces failure test",
		"call otelcol-test-order traces success test",
		"order jwt-pizza-service logs success test",
		"order jwt-pizza-service logs vendor_failure test",
		"order jwt-pizza-service traces success test",
		"order jwt-pizza-service traces vendor_failure test",
	}, slices.Sorted(maps.Keys(counted)))
	assert.Contains(t, pulled, "vendor_order_value_total")
	assert.Equal(t, 0., pulled["vendor_order_value_total"])
	for _, impact := range []string{"vendor_outage_orders", "vendor_outage_users", "vendor_outage_value"} {
		assert.Equal(t, 0., value("max(max_over_time("+impact+"[5m]))"), impact)
	}
	assert.Equal(t, 0., pulled["vendor_outage"])
	assert.Equal(t, 2., pulled["vendor_outages_total"])

	series, err := prometheus.Query(t.Context(), `count by (__name__) ({__name__=~"probe_.*"})`)
	require.NoError(t, err)
	var names []string
	for _, s := range series {
		names = append(names, s.Labels["__name__"])
	}
	slices.Sort(names)
	assert.Equal(t, []string{"probe_duration_seconds", "probe_last_success_time_seconds", "probe_runs_total", "probe_step_duration_seconds", "probe_success"}, names)
	assert.InDelta(t, time.Now().Unix(), value("probe_last_success_time_seconds"), 30)

	require.NoError(t, collector.Stop())
	assert.InDelta(t, shop.logins.Load(), shop.ended.Load(), 1, "each login has its logout, unless the end cut off its answer")
	log, err := os.ReadFile(collector.Log)
	require.NoError(t, err)
	assert.Contains(t, string(log), "The test order failed at step verify: bad_response")
	assert.Contains(t, string(log), "vendor.outage.start")
	for _, secret := range []string{"session-token", "probe@example.com", "eyJ"} {
		assert.NotContains(t, string(log), secret)
	}
}

// merge writes a configuration of this folder with changes laid over it.
func merge(t *testing.T, to, config, changes string) {
	t.Helper()
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	merged := confmap.New()
	for _, layer := range []string{string(text), changes} {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(layer))
		require.NoError(t, err)
		conf, err := retrieved.AsConf()
		require.NoError(t, err)
		require.NoError(t, merged.Merge(conf))
	}
	text, err = yaml.Marshal(merged.ToStringMap())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o600))
}
