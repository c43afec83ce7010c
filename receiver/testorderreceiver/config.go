package testorderreceiver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"golang.org/x/net/http/httpguts"

	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// Config is the configuration of the test_order receiver.
type Config struct {
	// Interval is the time from one run to the next, plus up to a tenth of it.
	Interval time.Duration `mapstructure:"interval"`
	// Timeout is how long a whole run may take, steps that always run included.
	Timeout time.Duration `mapstructure:"timeout"`
	// CollectionInterval is how often the metrics are told again.
	CollectionInterval time.Duration `mapstructure:"collection_interval"`
	// MaxOrdersPerDay is how many runs may start on one day (UTC) from the Collector's start on.
	MaxOrdersPerDay int `mapstructure:"max_orders_per_day"`
	// Vendor is the value of vendor.name. Required.
	Vendor string `mapstructure:"vendor"`
	// HTTP is how requests are sent: TLS, proxy, authentication, time-out of one request.
	HTTP confighttp.ClientConfig `mapstructure:"http"`
	// Steps of a run, in order. Required.
	Steps []StepConfig `mapstructure:"steps"`
	// Each metric can be turned off.
	metadata.MetricsBuilderConfig `mapstructure:",squash"`
}

// StepConfig is one step: a request, or the verification of a token.
type StepConfig struct {
	// Name is the value of probe.step. Required and unique.
	Name string `mapstructure:"name"`
	// Vendor is whom the step speaks for; "" is ourselves. Not given, it is the receiver's vendor, but ourselves for a
	// step that always runs and for one that captures what another sends as its bearer token or Authorization header, if it
	// comes before all steps of a vendor's and sends no such token itself: a login.
	Vendor *string `mapstructure:"vendor"`
	// Blame are texts of answers that show a vendor's failure. Where given, an unexpected status speaks for the vendor
	// only if the answer has one of them, and no answer at all speaks for ourselves.
	Blame []string `mapstructure:"blame"`
	// Always makes the step run whatever failed before, if what it needs was captured.
	Always bool `mapstructure:"always"`
	// Request is sent.
	Request *RequestConfig `mapstructure:"request"`
	// JWT is verified.
	JWT *JWTConfig `mapstructure:"jwt"`
	// Expect says what the answer to Request must be.
	Expect ExpectConfig `mapstructure:"expect"`
	// Capture are paths into the answer's JSON, by the name under which later steps know what is there.
	Capture map[string]string `mapstructure:"capture"`
}

// RequestConfig is an HTTP request.
type RequestConfig struct {
	// Method is GET unless given, POST with a body.
	Method string `mapstructure:"method"`
	// URL is where to. Required.
	URL urlText `mapstructure:"url"`
	// Headers are sent along.
	Headers configopaque.MapList `mapstructure:"headers"`
	// Bearer is the token of an Authorization header.
	Bearer configopaque.String `mapstructure:"bearer"`
	// JSON is the body, as YAML.
	JSON jsonText `mapstructure:"json"`
	// Body is the body, as it is.
	Body configopaque.String `mapstructure:"body"`
	// FollowRedirects follows up to five redirects on the same host.
	FollowRedirects bool `mapstructure:"follow_redirects"`
}

// ExpectConfig says what an answer must be.
type ExpectConfig struct {
	// Status are the status codes that are right, any from 200 to 299 unless given.
	Status statusCodes `mapstructure:"status"`
	// JSON are values that must be at paths of the answer.
	JSON map[string]jsonText `mapstructure:"json"`
	// Has are paths at which the answer must have something.
	Has []string `mapstructure:"has"`
	// MaxDuration makes a success that took longer a failure, reason slow. 0 is off.
	MaxDuration time.Duration `mapstructure:"max_duration"`
}

// JWTConfig verifies a JSON Web Token (RFC 7519).
type JWTConfig struct {
	// Token is what is verified. Required.
	Token configopaque.String `mapstructure:"token"`
	// JWKS is the URL of the keys (RFC 7517). Required.
	JWKS urlText `mapstructure:"jwks"`
	// Algorithms may have signed it (RFC 7518, section 3.1), all that use public keys unless given.
	Algorithms []string `mapstructure:"algorithms"`
	// Leeway is how far the two clocks may differ.
	Leeway time.Duration `mapstructure:"leeway"`
	// Claims are values that must be at paths of the token's claims.
	Claims map[string]jsonText `mapstructure:"claims"`
}

// urlText is a URL. Its query may hold a key: whatever prints or marshals a configuration sees the rest.
type urlText string

func (u urlText) String() string {
	if end := strings.IndexAny(string(u), "?#"); end >= 0 {
		return string(u[:end+1]) + redacted
	}
	return string(u)
}

func (u urlText) GoString() string             { return strconv.Quote(u.String()) }
func (u urlText) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// statusCodes is one status code or a list of them.
type statusCodes []int

// UnmarshalScalar takes a single code.
func (s *statusCodes) UnmarshalScalar(value confmap.ScalarValue) error {
	code, ok := value.GetRaw().(int)
	if !ok {
		return confmap.ErrValueNotApplicable
	}
	*s = statusCodes{code}
	return nil
}

// Unmarshal reads the configuration, on top of the defaults.
func (c *JWTConfig) Unmarshal(conf *confmap.Conf) error {
	c.Leeway = defaultLeeway
	return conf.Unmarshal(c)
}

const (
	defaultLeeway = time.Minute
	maxSteps      = 20 // each has a series for each reason
)

func newDefaultConfig() *Config {
	return &Config{
		Interval:             time.Minute,
		Timeout:              45 * time.Second,
		CollectionInterval:   15 * time.Second,
		MaxOrdersPerDay:      1500,
		HTTP:                 confighttp.NewDefaultClientConfig(),
		MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(),
	}
}

// Validate finds every fault of the configuration and says, for each, the key, the value and what would be right.
// Values that may be secrets are not told.
func (c *Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case hasNoUnit(c.Interval):
		fault(noUnit, "interval", c.Interval, "1m")
	case c.Interval < time.Second:
		fault("interval: %s is shorter than a second; write a duration such as 1m", c.Interval)
	}
	switch {
	case hasNoUnit(c.Timeout):
		fault(noUnit, "timeout", c.Timeout, "45s")
	case c.Timeout <= 0:
		fault("timeout: %s is not positive; write a duration such as 45s", c.Timeout)
	}
	switch {
	case hasNoUnit(c.CollectionInterval):
		fault(noUnit, "collection_interval", c.CollectionInterval, "15s")
	case c.CollectionInterval <= 0:
		fault("collection_interval: %s is not positive; write a duration such as 15s", c.CollectionInterval)
	case c.CollectionInterval > 4*time.Minute:
		fault("collection_interval: %s is too long, Prometheus forgets a series after five minutes; write a duration such as 15s", c.CollectionInterval)
	}
	if c.MaxOrdersPerDay <= 0 {
		fault("max_orders_per_day: %d is not positive; write how many orders a day are still right, such as 1500", c.MaxOrdersPerDay)
	}
	if c.Vendor == "" {
		fault("vendor: \"\" is empty; write the vendor's name, as vendor_failure has it")
	}
	if hasNoUnit(c.HTTP.Timeout) {
		fault(noUnit, "http.timeout", c.HTTP.Timeout, "30s")
	}
	if c.HTTP.Endpoint != "" {
		fault("http.endpoint: each request has a URL of its own; remove this key")
	}
	if c.HTTP.Cookies.HasValue() {
		fault("http.cookies: each run keeps its own cookies and no run those of another; remove this key")
	}
	authorized := c.authorized()
	if c.HTTP.Auth.HasValue() && authorized != "" {
		fault("http.auth: it would take the place of %s; remove one", authorized)
	}
	for name, value := range c.HTTP.Headers.Iter {
		switch {
		case strings.EqualFold(name, "Authorization") && authorized != "":
			fault("http.headers: Authorization would take the place of %s; remove one", authorized)
		case ours(name):
			fault("http.headers: %s is the mark of a test order; remove it", name)
		case !httpguts.ValidHeaderFieldName(name):
			fault("http.headers: %q is no header; write one such as Accept", name)
		case !httpguts.ValidHeaderFieldValue(string(value)):
			fault("http.headers.%s: %w", name, errControl)
		}
	}
	_, faults := newSteps(c)
	return errors.Join(append(errs, faults...)...)
}

// noUnit is the fault of a duration that has no unit: key, value, and one that has.
const noUnit = "%s: %s is shorter than a millisecond; write the unit, such as %s"

// hasNoUnit tells whether a duration was surely written without a unit: a plain number is nanoseconds.
func hasNoUnit(d time.Duration) bool { return 0 < d && d < time.Millisecond }

// authorized is the key of the first step that sends an Authorization header of its own, or "".
func (c *Config) authorized() string {
	for i := range c.Steps {
		if r := c.Steps[i].Request; r != nil {
			if r.Bearer != "" {
				return fmt.Sprintf("steps[%d].request.bearer", i)
			}
			for name := range r.Headers.Iter {
				if strings.EqualFold(name, "Authorization") {
					return fmt.Sprintf("steps[%d].request.headers.%s", i, name)
				}
			}
		}
	}
	return ""
}

// errControl is a header's fault. A secret read from a file often ends with a line break.
var errControl = errors.New("it has a line break or another control character, which no header can have; remove it, it is often at the end of a file")

// ours tells whether a header is one by which others know the test order.
func ours(header string) bool {
	return strings.EqualFold(header, "User-Agent") || strings.EqualFold(header, "traceparent")
}

// inPlaces matches the places of a template.
var inPlaces = regexp.MustCompile(`\{\{.*?\}\}`)

// checkURL returns what is wrong with a URL, without telling what may be secret in it. Its host must not be templated:
// an answer would choose who gets the passwords and tokens.
func checkURL(raw string) error {
	scheme, rest, found := strings.Cut(raw, "://")
	if raw == "" || !found || scheme != "http" && scheme != "https" {
		return errors.New("it does not begin with http:// or https://; write a URL such as https://shop.example.com/api/order")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host := rest[:end]
	if strings.Contains(host, "{{") {
		return errors.New("its host has {{; write the host, only path and query can have what was captured")
	}
	if strings.Contains(host, "@") {
		return errors.New("it has a user or password; write them into a header, or use http.auth")
	}
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || u.Hostname() == "" {
		return errors.New("its host cannot be read; write a URL such as https://shop.example.com/api/order")
	}
	if number, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || number == 0) {
		return errors.New("its port is none; write one from 1 to 65535")
	}
	// A name stands for what will be there, which is escaped: what is wrong then is wrong without it.
	if _, err := url.Parse(inPlaces.ReplaceAllString(raw, "x")); err != nil {
		return errors.New("its path or query cannot be read; write a % as %25, and no control characters")
	}
	return nil
}

// isMethod tells whether s can be an HTTP method (RFC 9110, section 9.1).
func isMethod(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// method returns the request's method.
func (r *RequestConfig) method() string {
	switch {
	case r.Method != "":
		return r.Method
	case r.hasJSON() || r.Body != "":
		return http.MethodPost
	}
	return http.MethodGet
}

func (r *RequestConfig) hasJSON() bool { return r.JSON != "" && r.JSON != "null" }
