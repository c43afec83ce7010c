package vendorfailureprocessor

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.yaml.in/yaml/v3"
)

func TestConfig(t *testing.T) {
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	load := func(id string) *Config {
		conf, err := all.Sub(id)
		require.NoError(t, err)
		cfg := newDefaultConfig()
		require.NoError(t, conf.Unmarshal(cfg))
		require.NoError(t, cfg.Validate())
		return cfg
	}

	discovering := load("vendor_failure/discover")
	assert.Equal(t, &DiscoverConfig{MaxVendors: 32}, discovering.Discover)
	assert.Equal(t, &DiscoverConfig{MaxVendors: 32}, load("vendor_failure/discover_nothing_said").Discover)

	assert.Equal(t, &Config{
		Orders: []OrderConfig{{
			Method:     "POST",
			Route:      "/api/order",
			Conditions: []string{`span.attributes["tenant"] == "pizza"`},
			Logs: OrderLogsConfig{
				Attributes: map[string][]string{"type": {"http", "http-req", "http_request", "httpRequest"}},
				RequestHas: []string{"items"},
			},
		}},
		Vendors: []VendorConfig{{
			Name: "pizza-factory",
			Calls: CallsConfig{
				URLs:       []string{"https://pizza-factory.cs329.click/api/order"},
				Conditions: []string{`attributes["store"] != "test"`},
				Logs:       CallLogsConfig{Attributes: map[string][]string{"type": {"factory", "factory-req", "factory_request"}}},
			},
			SlowAfter:     10 * time.Second,
			ValidResponse: ValidResponseConfig{JWT: []string{"jwt"}},
			Responses: []ResponseConfig{
				{Status: 503, Reason: "rejected"},
				{Contains: "The oven is full", Reason: "rejected"},
				{Contains: "Failed to fulfill order at factory", Conditions: []string{`log.severity_number >= SEVERITY_NUMBER_ERROR`}},
				{Contains: "reportUrl", Chaos: true},
			},
		}},
		Outage: OutageConfig{
			Window: 20 * time.Second, MinCalls: 8, MaxAge: 10 * time.Minute, MinFailures: 4, FailureRatio: 0.25, Recovery: 2 * time.Minute,
		},
		Discover:  &DiscoverConfig{MaxVendors: 8, Exclude: []string{"*.googleapis.com"}},
		ErrorMode: "silent",
		Planned: []PlannedConfig{{
			Vendor: "pizza-factory",
			From:   time.Date(2025, 12, 5, 8, 0, 0, 0, time.FixedZone("", -7*3600)),
			To:     time.Date(2025, 12, 5, 14, 0, 0, 0, time.FixedZone("", -7*3600)),
			Note:   "chaos test",
		}},
		Impact: ImpactConfig{User: []string{"enduser.id", "reqBody.diner.id"}, Value: []string{"reqBody.items.#.price"}, Unit: "BTC"},
		Synthetic: SyntheticConfig{
			UserAgents: []string{"otelcol-test-order", "k6/"},
			Fields:     map[string][]string{"reqBody.diner.email": {"synthetic@jwt.com"}},
		},
		Settle: 3 * time.Second,
		Limits: LimitsConfig{Traces: 1000, Callers: 10},
	}, load("vendor_failure"))

	defaults := load("vendor_failure/defaults")
	assert.Equal(t, 5*time.Second, defaults.Settle)
	assert.Equal(t, OutageConfig{
		Window: 10 * time.Second, MinCalls: 6, MaxAge: 15 * time.Minute, MinFailures: 3, FailureRatio: 0.5, Recovery: time.Minute,
	}, defaults.Outage)
	assert.Equal(t, []string{"otelcol-test-order"}, defaults.Synthetic.UserAgents)
	assert.Equal(t, LimitsConfig{Traces: 100_000, Callers: 50}, defaults.Limits)
}

// TestConfigFaults: each fault is told with its key, its value and what would be right, all of them at once.
func TestConfigFaults(t *testing.T) {
	const order, vendor = "orders: [{method: POST, route: /o}]\n", "vendors: [{name: a, calls: {urls: [https://a.example.com]}}]\n"
	for _, tc := range []struct {
		name, yaml string
		want       []string
	}{
		{"nothing at all", "{}", []string{
			"orders: none given; name at least one order endpoint, such as {method: POST, route: /api/order}",
			"vendors: none given; name at least one vendor, such as {name: factory, calls: {urls: [https://factory.example.com/api/order]}}",
		}},
		{"two vendors of one name", order + "vendors: [{name: a, calls: {urls: [a.example.com]}}, {name: a, calls: {urls: [b.example.com]}}]", []string{
			`vendors[1].name: "a" is already vendors[0]; give each vendor a name of its own, or one entry with all its urls`,
		}},
		{"two vendors at one place", order + `vendors: [{name: a, calls: {urls: [https://x.example.com/v1, https://x.example.com/v1/]}}, {name: b, calls: {urls: ["https://X.example.com:443/v1"]}}, {name: c, calls: {urls: [https://x.example.com/v1], conditions: ['attributes["c"] == 1']}}, {name: d, calls: {urls: [y.example.com], conditions: ['attributes["d"] == 1']}}, {name: the rest, calls: {urls: [y.example.com]}}]`, []string{
			"vendors[1].calls.urls[0]: it is vendors[0].calls.urls[0] as well; tell the two vendors apart by path, or by calls.conditions",
			"vendors[2].calls.urls[0]: vendors[0].calls.urls[0] comes first and has no conditions, so it takes every call; list this vendor before that one",
		}},
		{"a vendor whose calls another takes, at any port", order + `vendors: [{name: a, calls: {urls: [x.example.com/v1, x.example.com:80/v2]}}, {name: b, calls: {urls: ["https://x.example.com/v1", "https://x.example.com/v2"]}}]`, []string{
			"vendors[1].calls.urls[0]: it is vendors[0].calls.urls[0] as well; tell the two vendors apart by path, or by calls.conditions",
		}},
		{"a vendor without name or calls", order + "vendors: [{slow_after: 1s}]", []string{
			`vendors[0].name: "" is empty; give the name that tags, metrics and alerts will carry`,
			"vendors[0].calls: neither urls nor logs given; say how to recognise a call to this vendor, such as urls: [https://factory.example.com/api/order]",
		}},
		{"the name that stands for the rest", order + "vendors: [{name: _other, calls: {urls: [a.example.com]}}]", []string{
			`vendors[0].name: "_other" stands for what is beyond a limit; choose another name`,
		}},
		{"urls", order + `vendors: [{name: a, calls: {urls: ["http://[::1", "https://", "https://u:secret@a.example.com", "https://a.example.com/x?y=secret", "https://a.example.com:0/", "ftp://a.example.com", "https://a.*.com", "https://u:secret@[::1", "https://u:secret/@a.example.com", "https://:secret@", "http:/a.example.com"]}}]`, []string{
			`vendors[0].calls.urls[0]: "http://[::1" is not a URL: missing ']' in host; write host[:port] and a path prefix, such as https://factory.example.com/api/order or *.example.com`,
			`vendors[0].calls.urls[1]: "https://" names no host; write`,
			`vendors[0].calls.urls[2]: "a.example.com" has credentials before it; leave them out, they play no part`,
			`vendors[0].calls.urls[3]: "https://a.example.com/x" has a query or fragment after it; write`,
			`vendors[0].calls.urls[4]: "https://a.example.com:0/" has port "0"; write one from 1 to 65535`,
			`vendors[0].calls.urls[5]: "ftp://a.example.com" has scheme "ftp", whose port is not known; write the port`,
			`vendors[0].calls.urls[6]: "https://a.*.com" names no host; write`,
			`vendors[0].calls.urls[7]: "[::1" is not a URL: missing ']' in host; write`,
			`vendors[0].calls.urls[8]: "a.example.com" has something before it that cannot be read; write`,
			`vendors[0].calls.urls[9]: "" names no host; write`,
			`vendors[0].calls.urls[10]: "http:/a.example.com" has no port after its colon; write`,
		}},
		{"paths that match nothing", order + `vendors: [{name: a, calls: {urls: ["https://a.example.com/v1/*", "a.example.com/users/{id}/orders", "a.example.com/users/:id", "a.example.com/%7Bid%7D", "a.example.com/v1/orders:search"]}}]`, []string{
			`vendors[0].calls.urls[0]: "https://a.example.com/v1/*" has *, {x} or :x in its path, which would stand for itself; the path is a prefix, write what comes before it`,
			`vendors[0].calls.urls[1]: "a.example.com/users/{id}/orders" has *, {x} or :x in its path, which would stand for itself; the path is a prefix, write what comes before it`,
			`vendors[0].calls.urls[2]: "a.example.com/users/:id" has *, {x} or :x in its path, which would stand for itself; the path is a prefix, write what comes before it`,
			`vendors[0].calls.urls[3]: "a.example.com/%7Bid%7D" has *, {x} or :x in its path, which would stand for itself; the path is a prefix, write what comes before it`,
		}},
		{"endpoints", `orders: [{method: "PO ST", route: /o}, {route: api/order}, {route: "/o?x=1"}, {route: /o, logs: {request_has: [""]}}, {route: /shops/*/order}]` + "\n" + vendor, []string{
			`orders[0].method: "PO ST" is not an HTTP method; write one such as POST, or leave it out for any`,
			`orders[1].route: "api/order" does not begin with a slash; write the route as the server knows it, such as /api/order`,
			`orders[2].route: "/o?x=1" has a query, fragment or blank; write the path alone, such as /api/order`,
			`orders[3].logs.request_has[0]: "" names no field; write a field of an order's request, such as items`,
			`orders[4].route: "/shops/*/order" has a *, which would stand for itself; write the path of an order, and {x} for a segment that differs, such as /shops/{id}/order`,
		}},
		{"attributes", `orders: [{route: /o, logs: {attributes: {type: []}}}]` + "\n" + `vendors: [{name: a, calls: {logs: {attributes: {type: [""]}}}}]`, []string{
			"orders[0].logs.attributes.type: no value given; write those it may have, such as [http]",
			`vendors[0].calls.logs.attributes.type: one value is ""; write those it may have, such as [http]`,
		}},
		{"responses", order + `vendors: [{name: a, calls: {urls: [a.example.com]}, responses: [{reason: borken, status: 503}, {chaos: true}, {status: 5030}], valid_response: {jwt: [""]}}]`, []string{
			`vendors[0].responses[0].reason: "borken" is not known; write one of error, timeout, slow, throttled, unreachable, unauthorized, rejected, bad_response`,
			"vendors[0].responses[1]: neither status, contains nor conditions given; a rule without any would hold for every answer",
			"vendors[0].responses[2].status: 5030 is not an HTTP status code; write one from 100 to 599",
			`vendors[0].valid_response.jwt[0]: "" names no field; write a field of the response, such as jwt`,
		}},
		{"durations and limits", order + "vendors: [{name: a, slow_after: -1s, calls: {urls: [a.example.com]}}]\nsettle: -5s\nlimits: {traces: 0, callers: -1}", []string{
			"vendors[0].slow_after: -1s is negative; write a duration such as 10s, or 0 for off",
			"settle: -5s is negative; write how long to wait, such as 5s, or 0 to count at once",
			"limits.traces: 0 is not positive; write how many traces to remember, such as 100000",
			"limits.callers: -1 is not from 1 to 1600; write how many services get series of their own, such as 50",
		}},
		{"more callers than there can be series", order + vendor + "limits: {callers: 100000}", []string{
			"limits.callers: 100000 is not from 1 to 1600; write how many services get series of their own, such as 50",
		}},
		{"durations without a unit, which are nanoseconds", order + "vendors: [{name: a, slow_after: 10, calls: {urls: [a.example.com]}}]\nsettle: 5\noutage: {window: 10, max_age: 900, recovery: 60}", []string{
			"vendors[0].slow_after: 10ns is shorter than a millisecond; write the unit, such as 10s",
			"settle: 5ns is shorter than a millisecond; write the unit, such as 5s",
			"outage.window: 10ns is shorter than a millisecond; write the unit, such as 10s",
			"outage.max_age: 900ns is shorter than a millisecond; write the unit, such as 15m",
			"outage.recovery: 60ns is shorter than a millisecond; write the unit, such as 1m",
		}},
		{"milliseconds without a unit", order + vendor + "settle: 999999", []string{
			"settle: 999.999µs is shorter than a millisecond; write the unit, such as 5s",
		}},
		{"outages", order + vendor + "outage: {window: 0s, min_calls: 2, max_age: -1s, min_failures: 3, failure_ratio: 1.5, recovery: 0s}", []string{
			"outage.window: 0s is not positive; write a duration such as 10s",
			"outage.max_age: -1s is shorter than outage.window, 0s; write a duration such as 15m",
			"outage.min_calls: 2 is not between outage.min_failures, 3, and 1000; write how many to look at, such as 6",
			"outage.failure_ratio: 1.5 is not above 0 and up to 1; write a share such as 0.5",
			"outage.recovery: 0s is not positive; write a duration such as 1m",
		}},
		{"more failures than calls are looked at", order + vendor + "outage: {min_failures: 10}", []string{
			"outage.min_calls: 6 is not between outage.min_failures, 10, and 1000; write how many to look at, such as 10",
		}},
		{"more failures than calls can be looked at", order + vendor + "outage: {min_failures: 2000, min_calls: 2000}", []string{
			"outage.min_failures: 2000 is not from 1 to 1000; write how many must have failed, such as 3",
			"outage.min_calls: 2000 is not from 1 to 1000; write how many to look at, such as 6",
		}},
		{"more of outages", order + vendor + "outage: {min_failures: 0, min_calls: 5000, failure_ratio: 0}", []string{
			"outage.min_failures: 0 is not from 1 to 1000; write how many must have failed, such as 3",
			"outage.min_calls: 5000 is not from 1 to 1000; write how many to look at, such as 6",
			"outage.failure_ratio: 0 is not above 0 and up to 1; write a share such as 0.5",
		}},
		{"planned", order + vendor + "planned: [{vendor: b, from: 2025-12-05T08:00:00-07:00, to: 2025-12-05T14:00:00-07:00}, {vendor: a, from: 2025-12-05T08:00:00-07:00}, {vendor: a, from: 2025-12-05T14:00:00-07:00, to: 2025-12-05T08:00:00-07:00}]", []string{
			`planned[0].vendor: "b" is no vendor of this configuration; write one of a`,
			"planned[1]: from or to is missing; write both, such as 2025-12-05T08:00:00-07:00",
			"planned[2].to: 2025-12-05T08:00:00-07:00 is not after from, 2025-12-05T14:00:00-07:00; swap them or mend the day",
		}},
		{"impact and synthetic", order + vendor + `impact: {user: ["", ".a"], value: [price]}` + "\n" + `synthetic: {user_agents: [""], fields: {x: []}}`, []string{
			`impact.user[0]: "" is no path; write an attribute or a path such as reqBody.items.#.price`,
			`impact.user[1]: ".a" is no path; write an attribute or a path such as reqBody.items.#.price`,
			`impact.unit: "" is empty; write the unit of impact.value, such as USD`,
			`synthetic.user_agents[0]: "" would be every user agent; write what it begins with, such as otelcol-test-order`,
			"synthetic.fields.x: no value given; write those it may have, such as [http]",
		}},
		{"discovery", order + `discover: {max_vendors: 0, exclude: ["", "https://a.example.com", "*.b.example.com", "Log Shipper", "team/logs", "2606:4700::1111"]}`, []string{
			"discover.max_vendors: 0 is not from 1 to 1000; write how many hosts may become vendors, such as 32",
			`discover.exclude[0]: "" is no host and no peer's name; write one such as storage.example.com or *.example.com`,
			`discover.exclude[1]: "https://a.example.com" is no host and no peer's name; write`,
		}},
		{"unknown keys of discovery", order + "discover: {maximum: 3}", []string{
			"discover.maximum: there is no such key; write one of exclude, max_vendors",
		}},
		{"conditions", `orders: [{route: /o, conditions: ['span.kind ==']}]` + "\n" +
			`vendors: [{name: a, calls: {urls: [a.example.com], conditions: ['span.colour == 1', 'attributes["x"] == 1']}, responses: [{conditions: ['span.kind == SPAN_KIND_CLIENT and log.body == "x"']}]}, {name: b, calls: {conditions: ['true']}, responses: [{status: 500}]}]` + "\nerror_mode: sometimes", []string{
			`orders[0].conditions[0]: "span.kind ==" is no condition for spans nor for log records: condition has invalid syntax at 1:13`,
			`vendors[0].calls.conditions[0]: "span.colour == 1" is no condition for spans nor for log records: segment "colour" from path "span.colour" is not a valid path`,
			`vendors[0].responses[0].conditions[0]: "span.kind == SPAN_KIND_CLIENT and log.body == \"x\"" is no condition for spans nor for log records: `,
			"vendors[1].calls.conditions: they stand alone; conditions are asked of what urls or logs match, so give one of these as well",
			`error_mode: "sometimes" is not known; write ignore, silent or propagate`,
		}},
		{"unknown keys, and what else is wrong", "orders: [{rout: /o}]\nvndors: {api_key: secret}\nvendors: [{name: a, calls: {url: [a]}, slow_after: soon}]", []string{
			"orders[0].rout: there is no such key; write one of conditions, logs, method, route",
			"vendors[0].calls.url: there is no such key; write one of conditions, logs, urls",
			"vndors: there is no such key; write one of discover, error_mode, impact, limits, orders, outage, planned, settle, synthetic, vendors",
			"'vendors[0].slow_after' time: invalid duration",
			`orders[0].route: "" does not begin with a slash`,
			"vendors[0].calls: neither urls nor logs given",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var raw map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(tc.yaml), &raw))
			cfg := newDefaultConfig()
			err := confmap.NewFromStringMap(raw).Unmarshal(cfg)
			if err == nil {
				err = cfg.Validate()
			}
			require.Error(t, err)
			for _, want := range tc.want {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "secret")
			faults := 0
			for line := range strings.Lines(err.Error()) {
				if strings.TrimSpace(line) != "" && !strings.Contains(line, "decoding failed") {
					faults++
				}
			}
			assert.Equal(t, len(tc.want), faults, "faults told in %q", err)
		})
	}
}
