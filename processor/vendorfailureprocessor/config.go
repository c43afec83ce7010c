package vendorfailureprocessor

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// Config says which requests are orders, which vendors they depend on and how a vendor's failure is recognised.
// Every key is described in docs/configuration.md.
type Config struct {
	// Orders are the order endpoints of the shop. At least one is required.
	Orders []OrderConfig `mapstructure:"orders"`
	// Vendors are the third parties that orders depend on. At least one is required, or Discover.
	Vendors []VendorConfig `mapstructure:"vendors"`
	// Discover lets other external hosts that orders call be vendors, by host. nil is off.
	Discover *DiscoverConfig `mapstructure:"discover"`
	// Outage says when a vendor is down, and when it is up again.
	Outage OutageConfig `mapstructure:"outage"`
	// Planned are announced chaos tests and maintenance.
	Planned []PlannedConfig `mapstructure:"planned"`
	// Impact says where an order tells whose it was and what it was worth.
	Impact ImpactConfig `mapstructure:"impact"`
	// Synthetic says which orders nobody waits for.
	Synthetic SyntheticConfig `mapstructure:"synthetic"`
	// ErrorMode says what becomes of a condition that cannot be evaluated: ignore (a line in the log), silent (none), or
	// propagate (the request is refused). With the first two it is taken as false.
	ErrorMode string `mapstructure:"error_mode"`
	// Settle is how long the count of a failed order that no vendor is to blame for waits for a vendor call that
	// arrives later. The record itself is never held. 0 counts at once.
	Settle time.Duration `mapstructure:"settle"`
	// Limits bound what is remembered and how many series are made.
	Limits LimitsConfig `mapstructure:"limits"`
}

// OrderConfig is one order endpoint.
type OrderConfig struct {
	// Method is the HTTP method of an order; empty means any.
	Method string `mapstructure:"method"`
	// Route is compared with http.route and with the path without query and trailing slash. A segment `{x}` or `:x`
	// stands for any one segment of a path.
	Route string `mapstructure:"route"`
	// Conditions are OTTL conditions that an order's span or log record must meet as well.
	Conditions []string `mapstructure:"conditions"`
	// Logs says which log records record served requests.
	Logs OrderLogsConfig `mapstructure:"logs"`
}

// OrderLogsConfig finds the log records of served requests and the orders among them.
type OrderLogsConfig struct {
	// Attributes of such a record: each must have one of its values.
	Attributes map[string][]string `mapstructure:"attributes"`
	// RequestHas are fields that an order's request has. They are asked for only where the path of a record is
	// missing or "/".
	RequestHas []string `mapstructure:"request_has"`
}

// VendorConfig is one vendor.
type VendorConfig struct {
	// Name is the value of vendor.name. Required and unique.
	Name string `mapstructure:"name"`
	// Calls says which spans and log records are calls to this vendor.
	Calls CallsConfig `mapstructure:"calls"`
	// SlowAfter makes a successful call that took longer a failed one, with reason slow. 0 is off.
	SlowAfter time.Duration `mapstructure:"slow_after"`
	// ValidResponse says what a successful response must hold.
	ValidResponse ValidResponseConfig `mapstructure:"valid_response"`
	// Responses are rules about what a failed answer says. The first that sets a reason wins.
	Responses []ResponseConfig `mapstructure:"responses"`
}

// CallsConfig finds the calls to a vendor.
type CallsConfig struct {
	// URLs are host[:port] with a path prefix, as in https://pizza.example.com/api/order. A URL without a port means
	// its scheme's; `*.example.com` stands for every host below example.com.
	URLs []string `mapstructure:"urls"`
	// Conditions are OTTL conditions that a call's span or log record must meet as well.
	Conditions []string `mapstructure:"conditions"`
	// Logs says which log records record calls to this vendor.
	Logs CallLogsConfig `mapstructure:"logs"`
}

// CallLogsConfig finds the log records of vendor calls.
type CallLogsConfig struct {
	// Attributes of such a record: each must have one of its values.
	Attributes map[string][]string `mapstructure:"attributes"`
}

// ValidResponseConfig says what a successful response must hold.
type ValidResponseConfig struct {
	// JWT are paths of a response's fields that, where present, must hold a well-formed JSON Web Token (RFC 7519).
	JWT []string `mapstructure:"jwt"`
}

// ResponseConfig is a rule about a failed answer. All of Status, Contains and Conditions that are given must hold.
type ResponseConfig struct {
	// Status is the vendor's HTTP status code.
	Status int `mapstructure:"status"`
	// Contains is a text in the unwrapped response, or in the message of an exception on a span of a failed order's
	// trace.
	Contains string `mapstructure:"contains"`
	// Conditions are OTTL conditions that hold of the span or log record that tells of the answer.
	Conditions []string `mapstructure:"conditions"`
	// Reason is the value of vendor.failure.reason that this answer means.
	Reason string `mapstructure:"reason"`
	// Chaos says that this answer shows a chaos test, also one that came as a success.
	Chaos bool `mapstructure:"chaos"`
}

// DiscoverConfig bounds the vendors that are discovered.
type DiscoverConfig struct {
	// MaxVendors is how many hosts at most become vendors; further ones are counted as _other.
	MaxVendors int `mapstructure:"max_vendors"`
	// Exclude are hosts and names that are no vendors; `*.example.com` stands for every host below example.com.
	Exclude []string `mapstructure:"exclude"`
}

// defaultMaxVendors is discover.max_vendors where discover is given without it.
const defaultMaxVendors = 32

// maxDiscovered bounds discover.max_vendors: beyond, their metrics would be under _other in any case.
const maxDiscovered = 1000

// OutageConfig says when a vendor is down: when at least MinFailures of what is looked at failed, and they are at least
// FailureRatio of it. What is looked at is the last Window, or the last MinCalls within MaxAge, whichever holds more.
type OutageConfig struct {
	// Window is how far back calls and orders are looked at, by the telemetry's own time.
	Window time.Duration `mapstructure:"window"`
	// MinCalls is how many calls or orders are looked at where the window holds fewer.
	MinCalls int `mapstructure:"min_calls"`
	// MaxAge is how old those may be, and how long a count may be silent and still have a say.
	MaxAge time.Duration `mapstructure:"max_age"`
	// MinFailures is how many must have failed.
	MinFailures int `mapstructure:"min_failures"`
	// FailureRatio is the share that must have failed, above 0 and up to 1.
	FailureRatio float64 `mapstructure:"failure_ratio"`
	// Recovery is how long a vendor must not have been down, with a success since, until its outage is over.
	Recovery time.Duration `mapstructure:"recovery"`
}

// PlannedConfig is an announced window.
type PlannedConfig struct {
	// Vendor is the name of a vendor.
	Vendor string `mapstructure:"vendor"`
	// From and To are the window's first and last moment, as in 2025-12-05T08:00:00-07:00.
	From time.Time `mapstructure:"from"`
	To   time.Time `mapstructure:"to"`
	// Note is told with an outage in this window.
	Note string `mapstructure:"note"`
}

// ImpactConfig says where an order tells whose it was and what it was worth: attributes, or paths into a JSON body. Of
// several the first that is there counts.
type ImpactConfig struct {
	// User are paths to what tells customers apart. What is there is never kept or shown.
	User []string `mapstructure:"user"`
	// Value are paths to the value of an order; the elements of a # path are added up.
	Value []string `mapstructure:"value"`
	// Unit is the unit of the value, such as BTC.
	Unit string `mapstructure:"unit"`
}

// SyntheticConfig says which orders nobody waits for. They are told apart in the metrics and are no customer's, but do
// open and close outages.
type SyntheticConfig struct {
	// UserAgents are what the user agent of such an order begins with.
	UserAgents []string `mapstructure:"user_agents"`
	// Fields of such an order: any that has one of its values will do.
	Fields map[string][]string `mapstructure:"fields"`
}

// LimitsConfig bounds memory and series.
type LimitsConfig struct {
	// Traces is how many traces with a failed call or an undecided order are remembered.
	Traces int `mapstructure:"traces"`
	// Callers is how many services get series of their own; further ones are counted as _other.
	Callers int `mapstructure:"callers"`
}

// maxMinCalls bounds outage.min_calls: as many are looked at one by one for each call or order.
const maxMinCalls = 1000

// maxCallers bounds limits.callers: beyond, their metrics would be under _other in any case.
const maxCallers = seriesWithCallers

func newDefaultConfig() *Config {
	return &Config{
		Outage: OutageConfig{
			Window:       10 * time.Second,
			MinCalls:     6,
			MaxAge:       15 * time.Minute,
			MinFailures:  3,
			FailureRatio: 0.5,
			Recovery:     time.Minute,
		},
		Synthetic: SyntheticConfig{UserAgents: []string{"otelcol-test-order"}},
		ErrorMode: string(ottl.IgnoreError),
		Settle:    5 * time.Second,
		Limits:    LimitsConfig{Traces: 100_000, Callers: 50},
	}
}

// Unmarshal reads the configuration. Where a key is unknown or a value has the wrong type, it says what else is wrong
// as well, so that one run of `validate` tells all.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	errs := unknownKeys("", conf.ToStringMap(), reflect.TypeFor[Config]())
	if conf.IsSet("discover") && c.Discover == nil {
		c.Discover = &DiscoverConfig{MaxVendors: defaultMaxVendors}
	}
	if err := conf.Unmarshal(c, confmap.WithIgnoreUnused()); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		errs = append(errs, c.Validate())
	}
	return errors.Join(errs...)
}

// unknownKeys finds the keys that a part of the configuration has and its type has not. It tells no value: the key may
// be a secret's.
func unknownKeys(path string, raw any, t reflect.Type) (errs []error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Slice:
		if list, ok := raw.([]any); ok {
			for i, element := range list {
				errs = append(errs, unknownKeys(fmt.Sprintf("%s[%d]", path, i), element, t.Elem())...)
			}
		}
	case reflect.Struct:
		fields, ok := raw.(map[string]any)
		if !ok {
			break
		}
		known := map[string]reflect.Type{}
		for i := range t.NumField() {
			known[t.Field(i).Tag.Get("mapstructure")] = t.Field(i).Type
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			at := strings.TrimPrefix(path+"."+key, ".")
			if t, ok := known[key]; ok {
				errs = append(errs, unknownKeys(at, fields[key], t)...)
			} else {
				errs = append(errs, fmt.Errorf("%s: there is no such key; write one of %s", at,
					strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
			}
		}
	}
	return errs
}

// Validate finds every fault of the configuration and says, for each, the key, the value and what would be right.
func (c *Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if len(c.Orders) == 0 {
		fault("orders: none given; name at least one order endpoint, such as {method: POST, route: /api/order}")
	}
	for i, o := range c.Orders {
		key := fmt.Sprintf("orders[%d]", i)
		if o.Method != "" && !isToken(o.Method) {
			fault("%s.method: %q is not an HTTP method; write one such as %s, or leave it out for any", key, o.Method, http.MethodPost)
		}
		if !strings.HasPrefix(o.Route, "/") {
			fault("%s.route: %q does not begin with a slash; write the route as the server knows it, such as /api/order", key, o.Route)
		} else if strings.ContainsAny(o.Route, "?# ") {
			fault("%s.route: %q has a query, fragment or blank; write the path alone, such as /api/order", key, o.Route)
		} else if strings.Contains(o.Route, "*") {
			fault("%s.route: %q has a *, which would stand for itself; write the path of an order, and {x} for a segment that differs, such as /shops/{id}/order", key, o.Route)
		}
		errs = append(errs, validateAttributes(key+".logs.attributes", o.Logs.Attributes)...)
		for j, field := range o.Logs.RequestHas {
			if field == "" {
				fault("%s.logs.request_has[%d]: \"\" names no field; write a field of an order's request, such as items", key, j)
			}
		}
	}

	if len(c.Vendors) == 0 && c.Discover == nil {
		fault("vendors: none given; name at least one vendor, such as {name: factory, calls: {urls: [https://factory.example.com/api/order]}}, or let them be discovered: discover: {}")
	}
	errs = append(errs, c.validateTargets()...)
	seen := map[string]int{}
	for i, v := range c.Vendors {
		key := fmt.Sprintf("vendors[%d]", i)
		if first, ok := seen[v.Name]; v.Name != "" && ok {
			fault("%s.name: %q is already vendors[%d]; give each vendor a name of its own, or one entry with all its urls", key, v.Name, first)
		} else {
			seen[v.Name] = i
		}
		errs = append(errs, v.validate(key)...)
	}

	if d := c.Discover; d != nil {
		if d.MaxVendors <= 0 || d.MaxVendors > maxDiscovered {
			fault("discover.max_vendors: %d is not from 1 to %d; write how many hosts may become vendors, such as %d", d.MaxVendors, maxDiscovered, defaultMaxVendors)
		}
		for i, host := range d.Exclude {
			if name := strings.TrimPrefix(host, "*."); name == "" || strings.Contains(name, "*") || strings.Contains(name, "://") {
				fault("discover.exclude[%d]: %q is no host and no peer's name; write one such as storage.example.com or *.example.com", i, host)
			}
		}
	}
	errs = append(errs, c.validateConditions())
	errs = append(errs, c.Outage.validate()...)
	for i, p := range c.Planned {
		key := fmt.Sprintf("planned[%d]", i)
		if _, ok := seen[p.Vendor]; !ok && c.Discover == nil || p.Vendor == "" {
			fault("%s.vendor: %q is no vendor of this configuration; write one of %s", key, p.Vendor, strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
		}
		if p.From.IsZero() || p.To.IsZero() {
			fault("%s: from or to is missing; write both, such as 2025-12-05T08:00:00-07:00", key)
		} else if !p.To.After(p.From) {
			fault("%s.to: %s is not after from, %s; swap them or mend the day", key, p.To.Format(time.RFC3339), p.From.Format(time.RFC3339))
		}
	}
	for _, paths := range []struct {
		key  string
		list []string
	}{{"impact.user", c.Impact.User}, {"impact.value", c.Impact.Value}} {
		for i, path := range paths.list {
			if path == "" || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") {
				fault("%s[%d]: %q is no path; write an attribute or a path such as reqBody.items.#.price", paths.key, i, path)
			}
		}
	}
	if len(c.Impact.Value) > 0 && c.Impact.Unit == "" {
		fault("impact.unit: \"\" is empty; write the unit of impact.value, such as USD")
	}
	for i, agent := range c.Synthetic.UserAgents {
		if agent == "" {
			fault("synthetic.user_agents[%d]: \"\" would be every user agent; write what it begins with, such as otelcol-test-order", i)
		}
	}
	errs = append(errs, validateAttributes("synthetic.fields", c.Synthetic.Fields)...)

	switch ottl.ErrorMode(c.ErrorMode) {
	case ottl.IgnoreError, ottl.SilentError, ottl.PropagateError:
	default:
		fault("error_mode: %q is not known; write ignore, silent or propagate", c.ErrorMode)
	}
	switch {
	case hasNoUnit(c.Settle):
		fault(noUnit, "settle", c.Settle, "5s")
	case c.Settle < 0:
		fault("settle: %s is negative; write how long to wait, such as 5s, or 0 to count at once", c.Settle)
	}
	if c.Limits.Traces <= 0 {
		fault("limits.traces: %d is not positive; write how many traces to remember, such as 100000", c.Limits.Traces)
	}
	if c.Limits.Callers <= 0 || c.Limits.Callers > maxCallers {
		fault("limits.callers: %d is not from 1 to %d; write how many services get series of their own, such as 50", c.Limits.Callers, maxCallers)
	}
	return errors.Join(errs...)
}

// validateTargets finds the URLs whose calls are all another vendor's: of those at one place that which is listed first
// takes what its conditions let it.
func (c *Config) validateTargets() (errs []error) {
	type entry struct {
		key    string
		vendor int
		port   uint16
	}
	first := map[target][]entry{} // those without conditions, whatever their port
	for i, v := range c.Vendors {
		for j, raw := range v.Calls.URLs {
			t, err := parseTarget(raw)
			if err != nil {
				continue
			}
			e := entry{key: fmt.Sprintf("vendors[%d].calls.urls[%d]", i, j), vendor: i, port: t.port}
			t.port = 0
			taken := slices.IndexFunc(first[t], func(f entry) bool { return f.vendor != i && (f.port == 0 || f.port == e.port) })
			switch hasConditions := len(v.Calls.Conditions) > 0; {
			case taken >= 0 && hasConditions:
				errs = append(errs, fmt.Errorf("%s: %s comes first and has no conditions, so it takes every call; list this vendor before that one", e.key, first[t][taken].key))
			case taken >= 0:
				errs = append(errs, fmt.Errorf("%s: it is %s as well; tell the two vendors apart by path, or by calls.conditions", e.key, first[t][taken].key))
			case !hasConditions:
				first[t] = append(first[t], e)
			}
		}
	}
	return errs
}

// validateConditions compiles the conditions as Start does.
func (c *Config) validateConditions() error {
	parsers, err := newConditionParsers(component.TelemetrySettings{Logger: zap.NewNop()}, c.ErrorMode, nil)
	errs := []error{err}
	parse := func(key string, texts []string) {
		_, err := parsers.parse(key, texts)
		errs = append(errs, err)
	}
	for i, o := range c.Orders {
		parse(fmt.Sprintf("orders[%d]", i), o.Conditions)
	}
	for i, v := range c.Vendors {
		parse(fmt.Sprintf("vendors[%d].calls", i), v.Calls.Conditions)
		if len(v.Calls.Conditions) > 0 && len(v.Calls.URLs) == 0 && len(v.Calls.Logs.Attributes) == 0 {
			errs = append(errs, fmt.Errorf("vendors[%d].calls.conditions: they stand alone; conditions are asked of what urls or logs match, so give one of these as well", i))
		}
		for j, r := range v.Responses {
			parse(fmt.Sprintf("vendors[%d].responses[%d]", i, j), r.Conditions)
		}
	}
	return errors.Join(errs...)
}

func (o *OutageConfig) validate() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case hasNoUnit(o.Window):
		fault(noUnit, "outage.window", o.Window, "10s")
	case o.Window <= 0:
		fault("outage.window: %s is not positive; write a duration such as 10s", o.Window)
	}
	switch {
	case hasNoUnit(o.MaxAge):
		fault(noUnit, "outage.max_age", o.MaxAge, "15m")
	case o.MaxAge < o.Window:
		fault("outage.max_age: %s is shorter than outage.window, %s; write a duration such as 15m", o.MaxAge, o.Window)
	}
	isCount := func(n int) bool { return 0 < n && n <= maxMinCalls }
	if !isCount(o.MinFailures) {
		fault("outage.min_failures: %d is not from 1 to %d; write how many must have failed, such as 3", o.MinFailures, maxMinCalls)
		if !isCount(o.MinCalls) {
			fault("outage.min_calls: %d is not from 1 to %d; write how many to look at, such as 6", o.MinCalls, maxMinCalls)
		}
	} else if o.MinCalls < o.MinFailures || o.MinCalls > maxMinCalls {
		fault("outage.min_calls: %d is not between outage.min_failures, %d, and %d; write how many to look at, such as %d", o.MinCalls, o.MinFailures, maxMinCalls, max(6, o.MinFailures))
	}
	if !(o.FailureRatio > 0 && o.FailureRatio <= 1) {
		fault("outage.failure_ratio: %v is not above 0 and up to 1; write a share such as 0.5", o.FailureRatio)
	}
	switch {
	case hasNoUnit(o.Recovery):
		fault(noUnit, "outage.recovery", o.Recovery, "1m")
	case o.Recovery <= 0:
		fault("outage.recovery: %s is not positive; write a duration such as 1m", o.Recovery)
	}
	return errs
}

func (v *VendorConfig) validate(key string) (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch v.Name {
	case "":
		fault("%s.name: \"\" is empty; give the name that tags, metrics and alerts will carry", key)
	case other:
		fault("%s.name: %q stands for what is beyond a limit; choose another name", key, v.Name)
	}
	if len(v.Calls.URLs) == 0 && len(v.Calls.Logs.Attributes) == 0 && len(v.Responses) == 0 && len(v.ValidResponse.JWT) == 0 {
		fault("%s.calls: neither urls nor logs given; say how to recognise a call to this vendor, such as urls: [https://factory.example.com/api/order]", key)
	}
	for j, raw := range v.Calls.URLs {
		if _, err := parseTarget(raw); err != nil {
			fault("%s.calls.urls[%d]: %w", key, j, err)
		}
	}
	errs = append(errs, validateAttributes(key+".calls.logs.attributes", v.Calls.Logs.Attributes)...)
	switch {
	case hasNoUnit(v.SlowAfter):
		fault(noUnit, key+".slow_after", v.SlowAfter, "10s")
	case v.SlowAfter < 0:
		fault("%s.slow_after: %s is negative; write a duration such as 10s, or 0 for off", key, v.SlowAfter)
	}
	for j, field := range v.ValidResponse.JWT {
		if field == "" {
			fault("%s.valid_response.jwt[%d]: \"\" names no field; write a field of the response, such as jwt", key, j)
		}
	}
	for j, r := range v.Responses {
		key := fmt.Sprintf("%s.responses[%d]", key, j)
		if r.Status == 0 && r.Contains == "" && len(r.Conditions) == 0 {
			fault("%s: neither status, contains nor conditions given; a rule without any would hold for every answer", key)
		}
		if r.Status != 0 && (r.Status < 100 || r.Status > 599) {
			fault("%s.status: %d is not an HTTP status code; write one from 100 to 599", key, r.Status)
		}
		if _, ok := reason.Named(r.Reason); !ok && r.Reason != "" {
			fault("%s.reason: %q is not known; write one of %s", key, r.Reason, strings.Join(reason.Names(), ", "))
		}
	}
	return errs
}

// noUnit is the fault of a duration that has no unit: key, value, and one that has.
const noUnit = "%s: %s is shorter than a millisecond; write the unit, such as %s"

// hasNoUnit tells whether a duration was surely written without a unit: a plain number is nanoseconds.
func hasNoUnit(d time.Duration) bool { return 0 < d && d < time.Millisecond }

func validateAttributes(key string, attributes map[string][]string) (errs []error) {
	for name, values := range attributes {
		if name == "" {
			errs = append(errs, fmt.Errorf("%s: an attribute has no name; write the record's label, such as type", key))
		}
		if len(values) == 0 {
			errs = append(errs, fmt.Errorf("%s.%s: no value given; write those it may have, such as [http]", key, name))
		} else if slices.Contains(values, "") {
			errs = append(errs, fmt.Errorf("%s.%s: one value is \"\"; write those it may have, such as [http]", key, name))
		}
	}
	return errs
}

// isToken tells whether s can be an HTTP method (RFC 9110, section 9.1).
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
