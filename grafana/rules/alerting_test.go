package rules

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// expectedAlert is an alert that has to fire: a line of testdata/expected-alerts.yaml.
type expectedAlert struct {
	Alert      string `yaml:"alert"`
	Severity   string `yaml:"severity"`
	Side       string `yaml:"side"`
	Vendor     string `yaml:"vendor,omitempty"`
	Receiver   string `yaml:"receiver,omitempty"`
	HeldBackBy string `yaml:"held_back_by,omitempty"`
}

func readExpected(t *testing.T) map[string][]expectedAlert {
	t.Helper()
	text, err := os.ReadFile("testdata/expected-alerts.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	expected := map[string][]expectedAlert{}
	require.NoError(t, decoder.Decode(&expected))
	return expected
}

// replayed says how a recording is sent: in real time, the incident without the middle of its chaos and of what came
// after. Its metrics are pushed as often as in the examples; short recordings need more, for else the first push would
// already hold the failures, and what was there from the start is no increase.
var replayed = map[string]struct {
	parts func(recording.Truth) []builtcollector.Replay
	push  time.Duration
}{
	"incident": {push: 10 * time.Second, parts: func(truth recording.Truth) []builtcollector.Replay {
		on, off := truth.Marks["chaosOn"], truth.Marks["chaosOff"]
		return []builtcollector.Replay{
			{Speed: 1, From: on.Add(-25 * time.Second), Until: on.Add(time.Minute)},
			{Speed: 1, From: off, Until: off.Add(45 * time.Second)},
		}
	}},
	"healthy": {push: time.Second, parts: func(recording.Truth) []builtcollector.Replay { return []builtcollector.Replay{{Speed: 1}} }},
	"db-fail": {push: time.Second, parts: func(recording.Truth) []builtcollector.Replay { return []builtcollector.Replay{{Speed: 1}} }},
}

// watched is how long alerts are waited for: longer than any `for` of a page, a push and two evaluations together, from
// the first failure on.
const watched = 190 * time.Second

// The built Collector pushes to a real Prometheus with the rules, which tells a real Alertmanager with the example's
// configuration, which calls a webhook: a recording gives exactly the alerts that a table names, in its order, once. That no rule can be
// spared is for TestEveryRuleIsNeeded to show.
func TestRecordingsAlert(t *testing.T) {
	expected := readExpected(t)
	require.Len(t, expected, len(replayed)+1)
	delays := &report{}
	t.Run("recordings", func(t *testing.T) {
		for name := range expected {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				assert.Empty(t, differences(expected[name], replay(t, name, delays)))
			})
		}
	})
	// make test prints it.
	require.NoError(t, os.MkdirAll(filepath.Join(root, "dist"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "dist/alert-delays.txt"), []byte(delays.String()), 0o644))
	t.Log(delays)
}

// differences says what is not as expected, the order included.
func differences(expected, got []expectedAlert) (faults []string) {
	for i := range max(len(expected), len(got)) {
		var want, is expectedAlert
		if i < len(expected) {
			want = expected[i]
		}
		if i < len(got) {
			is = got[i]
		}
		if want != is {
			faults = append(faults, fmt.Sprintf("alert %d: %+v, expected %+v", i+1, is, want))
		}
	}
	return faults
}

// stack is a Collector, a Prometheus, an Alertmanager and a webhook that are wired together.
type stack struct {
	webhook      *monitoring.Webhook
	alertmanager *monitoring.Alertmanager
	prometheus   *monitoring.Prometheus
	collector    *builtcollector.Collector
}

// startStack starts it with the demo's configuration of a Collector, and what is added to it.
func startStack(t *testing.T, push time.Duration, add func(config map[string]any, prometheus *monitoring.Prometheus)) *stack {
	t.Helper()
	out := t.TempDir()
	s := &stack{}
	var err error
	s.webhook, s.alertmanager = startAlertmanager(t)
	s.prometheus, err = monitoring.StartPrometheus(t.Context(), root, out, monitoring.PrometheusConfig{
		Rules: []string{ruleFile}, Alertmanager: s.alertmanager.URL})
	require.NoError(t, err)
	t.Cleanup(s.prometheus.Kill)
	config, err := s.prometheus.PushFrom(filepath.Join(root, "examples/demo.yaml"), out, push)
	require.NoError(t, err)
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	var parsed map[string]any
	require.NoError(t, yaml.Unmarshal(text, &parsed))
	add(parsed, s.prometheus)
	text, err = yaml.Marshal(parsed)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, text, 0o600))
	s.collector, err = builtcollector.Start(t.Context(), root, config, out, "DEMO_OUT="+out)
	require.NoError(t, err)
	t.Cleanup(s.collector.Kill)
	return s
}

// startAlertmanager runs it with the example's configuration, but for where it sends to.
func startAlertmanager(t *testing.T) (*monitoring.Webhook, *monitoring.Alertmanager) {
	t.Helper()
	out := t.TempDir()
	webhook, err := monitoring.StartWebhook("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(webhook.Close)
	text, err := os.ReadFile(alertmanagerFile)
	require.NoError(t, err)
	const nowhere = "http://127.0.0.1:9/"
	require.Contains(t, string(text), nowhere)
	config := filepath.Join(out, "alertmanager.yaml")
	require.NoError(t, os.WriteFile(config, bytes.ReplaceAll(text, []byte(nowhere), []byte(webhook.URL+"/")), 0o600))
	alertmanager, err := monitoring.StartAlertmanager(t.Context(), root, out, config)
	require.NoError(t, err)
	t.Cleanup(alertmanager.Kill)
	return webhook, alertmanager
}

// replay sends a recording, or places test orders, and returns the alerts that fired, in their order.
func replay(t *testing.T, name string, delays *report) []expectedAlert {
	began := time.Now()
	var s *stack
	var firstFailure time.Time
	if name == "test-order" {
		s, firstFailure = placeTestOrders(t)
	} else {
		s, firstFailure = sendRecording(t, name)
	}
	select {
	case <-time.After(time.Until(began.Add(watched))):
	case <-t.Context().Done():
	}

	if name == "incident" {
		s.askEverything(t)
		// How many had failed by then differs by one or two.
		text, err := os.ReadFile(playbook)
		require.NoError(t, err)
		count := regexp.MustCompile(`\d+ orders lost so far`)
		assert.Contains(t, count.ReplaceAllString(string(text), "N"), "> "+count.ReplaceAllString(s.notifications("VendorOutage")[0].alert.Annotations["summary"], "N")+"\n",
			"the worked example has the page's words")
	}
	got := s.fired(t, began)
	assert.NotEmpty(t, s.notifications("Watchdog"), "the heartbeat gets through")
	for i := range got {
		got[i].Receiver, got[i].HeldBackBy = s.handled(t, got[i])
		if got[i].Receiver != "" {
			delays.add(t, name, s.notifications(got[i].Alert)[0].alert, s.hops(t, got[i], firstFailure))
		}
	}
	for _, n := range s.webhook.Notifications() {
		for _, alert := range n.Alerts {
			assert.NotContains(t, fmt.Sprint(alert), "followLinkToEndChaos")
			assert.NotContains(t, fmt.Sprint(alert), "reportUrl")
		}
	}
	return got
}

// sendRecording returns when the first order failed.
func sendRecording(t *testing.T, name string) (*stack, time.Time) {
	recorded, err := recording.Open(filepath.Join(root, "testdata", name))
	require.NoError(t, err)
	s := startStack(t, replayed[name].push, func(map[string]any, *monitoring.Prometheus) {})
	parts := replayed[name].parts(recorded.Truth)
	firstFailure := time.Now().Add(recorded.Truth.FirstFailedOrder.Sub(firstAfter(t, recorded, parts[0].From)))
	for i := range parts {
		require.NoError(t, parts[i].Run(t.Context(), recorded, s.collector))
	}
	return s, firstFailure
}

// placeTestOrders lets nobody but the test_order receiver order, every 20 s, at a shop whose vendor fails from the second
// order on. It returns when that is refused.
func placeTestOrders(t *testing.T) (*stack, time.Time) {
	placed, failed := 0, make(chan time.Time, 1)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if placed++; placed == 1 { // runs never overlap
			_, _ = io.WriteString(w, `{"order": {"id": 1}}`)
			return
		}
		if placed == 2 {
			failed <- time.Now()
		}
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"message": "Failed to fulfill order at factory"}`)
	}))
	t.Cleanup(shop.Close)
	s := startStack(t, 10*time.Second, func(config map[string]any, prometheus *monitoring.Prometheus) {
		at(config, "receivers")["test_order"] = map[string]any{
			"vendor": "pizza-factory", "interval": "20s", "collection_interval": "10s",
			"steps": []any{map[string]any{
				"name":    "order",
				"request": map[string]any{"method": "POST", "url": shop.URL + "/api/order", "json": map[string]any{"items": []any{}}},
				"blame":   []string{"Failed to fulfill order at factory"},
			}},
		}
		at(config, "exporters")["otlp_http/prometheus"] = map[string]any{"metrics_endpoint": prometheus.PushURL()}
		pipelines := at(config, "service", "pipelines")
		pipelines["metrics"] = map[string]any{"receivers": []string{"test_order"}, "exporters": []string{"otlp_http/prometheus"}}
		traces := at(pipelines, "traces")
		traces["receivers"] = append(traces["receivers"].([]any), "test_order")
	})
	select {
	case first := <-failed:
		return s, first
	case <-time.After(time.Minute):
		require.Fail(t, "no second test order is placed")
		return nil, time.Time{}
	}
}

// at returns what is at a path of a configuration.
func at(config map[string]any, path ...string) map[string]any {
	for _, key := range path {
		config = config[key].(map[string]any)
	}
	return config
}

// firstAfter is the recorded time of the first request from a time on.
func firstAfter(t *testing.T, recorded *recording.Recording, from time.Time) (first time.Time) {
	note := func(at time.Time, _ []byte) error {
		if first.IsZero() && !at.Before(from) {
			first = at
		}
		return nil
	}
	require.NoError(t, recorded.Replay(note, note))
	return first
}

// fired returns the alerts that have fired, in the order in which they began to, without the watchdog. None fires a second
// time after a gap.
func (s *stack) fired(t *testing.T, began time.Time) []expectedAlert {
	series, err := s.prometheus.QueryRange(t.Context(), `ALERTS{alertstate="firing", alertname!="Watchdog"}`, began, time.Now(), time.Second)
	require.NoError(t, err)
	slices.SortFunc(series, func(a, b monitoring.Series) int { return a.Points[0].At.Compare(b.Points[0].At) })
	alerts := []expectedAlert{}
	for _, fired := range series {
		for i := range fired.Points[1:] {
			assert.Equal(t, time.Second, fired.Points[i+1].At.Sub(fired.Points[i].At), "%v fires twice", fired.Labels)
		}
		alerts = append(alerts, expectedAlert{Alert: fired.Labels["alertname"], Severity: fired.Labels["severity"],
			Side: fired.Labels["side"], Vendor: fired.Labels["vendor_name"]})
	}
	return alerts
}

// arrival is an alert with the notification it came in.
type arrival struct {
	alert        monitoring.Alert
	notification monitoring.Notification
}

// notifications returns where and when a firing alert of a name arrived.
func (s *stack) notifications(name string) (arrived []arrival) {
	for _, n := range s.webhook.Notifications() {
		for _, alert := range n.Alerts {
			if alert.Labels["alertname"] == name && alert.Status == "firing" {
				arrived = append(arrived, arrival{alert, n})
			}
		}
	}
	return arrived
}

// handled returns the receiver to which Alertmanager sent an alert, once, or which alert made it hold it back.
func (s *stack) handled(t *testing.T, alert expectedAlert) (receiver, heldBackBy string) {
	arrived := s.notifications(alert.Alert)
	if len(arrived) > 0 {
		assert.Len(t, arrived, 1, "%s arrives once", alert.Alert)
		return strings.TrimPrefix(arrived[0].notification.Path, "/"), ""
	}
	known := alertsIn(t, s.alertmanager)
	for _, a := range known {
		if a.Labels["alertname"] != alert.Alert || a.Labels["severity"] != alert.Severity || len(a.Status.InhibitedBy) == 0 {
			continue
		}
		for _, by := range known {
			if by.Fingerprint == a.Status.InhibitedBy[0] {
				return "", by.Labels["alertname"]
			}
		}
	}
	return "", ""
}

// managed is an alert as Alertmanager's API has it.
type managed struct {
	Labels      map[string]string `json:"labels"`
	Fingerprint string            `json:"fingerprint"`
	Status      struct {
		State       string   `json:"state"`
		InhibitedBy []string `json:"inhibitedBy"`
	} `json:"status"`
}

func alertsIn(t *testing.T, a *monitoring.Alertmanager) (alerts []managed) {
	t.Helper()
	require.NoError(t, a.Get(t.Context(), "/api/v2/alerts", &alerts))
	return alerts
}

// hop is one step of the way from the first failed order to the webhook.
type hop struct {
	name string
	at   time.Time
}

// hops returns the steps that an alert took.
func (s *stack) hops(t *testing.T, alert expectedAlert, firstFailure time.Time) []hop {
	arrived := s.notifications(alert.Alert)[0]
	steps := []hop{{"first failed order", firstFailure}}
	if alert.Alert == "VendorOutage" {
		known := outageKnown(t, s.collector.Log)
		steps = append(steps, hop{"the Collector knows of the outage", known})
		pushed, err := s.prometheus.Query(t.Context(), "vendor_outage[10m]")
		require.NoError(t, err)
		require.Len(t, pushed, 1)
		i := slices.IndexFunc(pushed[0].Points, func(p monitoring.Point) bool { return p.Value == 1 })
		require.GreaterOrEqual(t, i, 0)
		steps = append(steps, hop{"pushed to Prometheus", pushed[0].Points[i].At})
	}
	var alerts struct {
		Alerts []struct {
			Labels   map[string]string `json:"labels"`
			ActiveAt time.Time         `json:"activeAt"`
		} `json:"alerts"`
	}
	require.NoError(t, s.prometheus.Get(t.Context(), "/api/v1/alerts", nil, &alerts))
	for _, active := range alerts.Alerts {
		if active.Labels["alertname"] == alert.Alert && active.Labels["severity"] == alert.Severity {
			steps = append(steps, hop{"a rule's evaluation sees it", active.ActiveAt})
		}
	}
	return append(steps,
		hop{"the rule's `for` is over", arrived.alert.StartsAt},
		hop{"Alertmanager has called the webhook", arrived.notification.At})
}

// outageKnown returns when the Collector wrote that an outage began.
func outageKnown(t *testing.T, log string) time.Time {
	t.Helper()
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			At    string `json:"ts"`
			Event string `json:"event.name"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Event == "vendor.outage.start" {
			at, err := time.Parse("2006-01-02T15:04:05.999Z0700", line.At)
			require.NoError(t, err)
			return at
		}
	}
	require.Fail(t, "the Collector's log tells of no outage")
	return time.Time{}
}

// report is what make test prints of the delays.
type report struct {
	mu    sync.Mutex
	parts []string
}

func (r *report) add(t *testing.T, recording string, alert monitoring.Alert, steps []hop) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s, seconds since the first failed order, and of the step\n", recording, alert.Labels["alertname"])
	for i, step := range steps {
		before := steps[max(0, i-1)].at
		// The Collector and Prometheus tell milliseconds.
		assert.False(t, step.at.Before(before.Add(-2*time.Millisecond)), "%s comes after %s", step.name, steps[max(0, i-1)].name)
		fmt.Fprintf(&text, "  %7.2f %7.2f  %s\n", step.at.Sub(steps[0].at).Seconds(), max(0, step.at.Sub(before)).Seconds(), step.name)
	}
	fmt.Fprintf(&text, "  %s\n", alert.Annotations["summary"])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = append(r.parts, text.String())
}

func (r *report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.parts, func(a, b string) int { return cmp.Compare(a, b) })
	return strings.Join(r.parts, "")
}
