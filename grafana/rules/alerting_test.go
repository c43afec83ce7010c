package rules

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
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

// expectedAlert is an alert that has to fire.
type expectedAlert struct {
	Alert      string `yaml:"alert"`
	Severity   string `yaml:"severity"`
	Side       string `yaml:"side"`
	Vendor     string `yaml:"vendor,omitempty"`
	Receiver   string `yaml:"receiver,omitempty"`
	HeldBackBy string `yaml:"held_back_by,omitempty"`
}

// expectation is a line of testdata/expected-alerts.yaml: an alert, and how long each step of its way may take.
type expectation struct {
	expectedAlert `yaml:",inline"`
	Within        map[string]time.Duration `yaml:"within"`
}

// expectations is that file.
type expectations struct {
	Recordings map[string][]expectation `yaml:"recordings"`
	HoursLater []scenario               `yaml:"hours_later"`
}

func readExpected(t *testing.T) expectations {
	t.Helper()
	text, err := os.ReadFile("testdata/expected-alerts.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var expected expectations
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
// the first failure on. Where one arrives, it is until the end of the last is told, and a minute more: whatever it held
// back would be told by then.
const watched = 190 * time.Second

// The built Collector pushes to a real Prometheus with the rules, which tells a real Alertmanager with the example's
// configuration, which calls a webhook: a recording gives exactly the alerts that a table names, in its order, once, and
// no step of their way takes longer than the table says.
func TestRecordingsAlert(t *testing.T) {
	t.Parallel()
	expected := readExpected(t)
	require.Len(t, expected.Recordings, len(replayed)+1)
	delays, asked := &report{}, &askedRules{rules: map[string]bool{}, selectors: map[string]bool{}}
	// At once, however many other tests want to be next: they wait, they do not compute.
	var recordings sync.WaitGroup
	for name, rows := range expected.Recordings {
		recordings.Go(func() {
			t.Run(name, func(t *testing.T) { replay(t, name, rows, delays, asked) })
		})
	}
	recordings.Wait()
	asked.check(t, readRules(t))
	// make test prints it.
	require.NoError(t, os.MkdirAll(filepath.Join(root, "dist"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "dist/alert-delays.txt"), []byte(delays.String()), 0o644))
	t.Log(delays)
}

// differences says what is not as expected, the order included.
func differences(expected []expectation, got []expectedAlert) (faults []string) {
	for i := range max(len(expected), len(got)) {
		var want, is expectedAlert
		if i < len(expected) {
			want = expected[i].expectedAlert
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

// replay sends a recording, or places test orders, and holds the alerts that fire against those that have to.
func replay(t *testing.T, name string, expected []expectation, delays *report, asked *askedRules) {
	began := time.Now()
	var s *stack
	var firstFailure time.Time
	if name == "test-order" {
		s, firstFailure = placeTestOrders(t)
	} else {
		s, firstFailure = sendRecording(t, name)
	}
	wait(t, time.Until(began.Add(watched)))
	got := s.fired(t, began)
	for i := range got {
		got[i].Receiver, got[i].HeldBackBy = s.handled(t, got[i])
	}
	require.Empty(t, differences(expected, got))
	for i, alert := range got {
		says := "held back by " + alert.HeldBackBy
		if alert.Receiver != "" {
			says = s.told(alert, "firing")[0].alert.Annotations["summary"]
		}
		delays.add(t, name, alert.Alert, s.hops(t, alert, firstFailure), expected[i].Within, says)
	}
	asked.note(t, s, readRules(t))

	switch name {
	case "test-order":
		s.askPlaybook(t, "promql probe")
	case "incident":
		s.askPlaybook(t, "promql")
		// How many had failed by then differs by one or two.
		text, err := os.ReadFile(playbook)
		require.NoError(t, err)
		count := regexp.MustCompile(`\d+ orders lost so far`)
		assert.Contains(t, count.ReplaceAllString(string(text), "N"), "> "+count.ReplaceAllString(s.told(got[0], "firing")[0].alert.Annotations["summary"], "N")+"\n",
			"the worked example has the page's words")
		for _, later := range readExpected(t).HoursLater {
			s.hoursLater(t, began, later)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		_, _, err = s.webhook.Wait(ctx, func(a monitoring.Alert) bool {
			return a.Labels["alertname"] == "VendorOutage" && a.Status == "resolved"
		})
		require.NoError(t, err, "the page's end is told")
		wait(t, time.Minute)
		// Nothing but these has begun to fire, or to be told, since.
		assert.Len(t, s.fired(t, began), len(got))
	}
	for _, alert := range got {
		arrived := s.told(alert, "firing")
		if alert.Receiver != "" {
			assert.Len(t, arrived, 1, "%s arrives once", alert.Alert)
		} else {
			assert.Empty(t, arrived, "%s is held back for good", alert.Alert)
		}
	}
	assert.NotEmpty(t, s.told(expectedAlert{Alert: "Watchdog", Severity: "none"}, "firing"), "the heartbeat gets through")
	for _, n := range s.webhook.Notifications() {
		for _, alert := range n.Alerts {
			assert.NotContains(t, fmt.Sprint(alert), "followLinkToEndChaos")
			assert.NotContains(t, fmt.Sprint(alert), "reportUrl")
		}
	}
}

func wait(t *testing.T, duration time.Duration) {
	select {
	case <-time.After(duration):
	case <-t.Context().Done():
	}
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

// told returns where and when an alert arrived with a status, firing or resolved.
func (s *stack) told(alert expectedAlert, status string) (arrived []arrival) {
	for _, n := range s.webhook.Notifications() {
		for _, a := range n.Alerts {
			if a.Labels["alertname"] == alert.Alert && a.Labels["severity"] == alert.Severity && a.Status == status {
				arrived = append(arrived, arrival{a, n})
			}
		}
	}
	return arrived
}

// handled returns the receiver to which Alertmanager sent an alert, or which alert makes it hold it back now.
func (s *stack) handled(t *testing.T, alert expectedAlert) (receiver, heldBackBy string) {
	if arrived := s.told(alert, "firing"); len(arrived) > 0 {
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

// hop is one step of the way from the first failed order to the webhook. Its key is how the table calls it.
type hop struct {
	key, name string
	at        time.Time
}

// seenIn are what has to be in Prometheus before a rule can see it, in the pushed series' own words.
var seenIn = map[string]string{
	"VendorOutage": `vendor_outage == 1`,
	// increase() would stretch two to three, at first.
	"OrdersFailingNotVendor": `vendor_orders_total{vendor_outcome="own_failure"} - min_over_time(vendor_orders_total{vendor_outcome="own_failure"}[5m]) >= 3`,
	// No good one in the two minutes that the rule looks back.
	"TestOrderFailing": `sum(probe_runs_total{probe_outcome="vendor_failure"}) >= 2 and sum(probe_runs_total{probe_outcome="success"} offset 2m) >= 1`,
}

// hops returns the steps that an alert took.
func (s *stack) hops(t *testing.T, alert expectedAlert, firstFailure time.Time) []hop {
	steps := []hop{{"", "first failed order", firstFailure}}
	if alert.Alert == "VendorOutage" {
		steps = append(steps, hop{"known", "the Collector knows of the outage", outageKnown(t, s.collector.Log)})
	}
	const fine = 250 * time.Millisecond
	pushed, err := s.prometheus.QueryRange(t.Context(), seenIn[alert.Alert], firstFailure, firstFailure.Add(10*time.Minute), fine)
	require.NoError(t, err)
	// It came since the step before.
	steps = append(steps, hop{"pushed", "pushed to Prometheus", first(t, pushed).Add(-fine)})
	// A Prometheus that has just started writes no pending alert into ALERTS yet.
	var active struct {
		Alerts []struct {
			Labels   map[string]string `json:"labels"`
			ActiveAt time.Time         `json:"activeAt"`
		} `json:"alerts"`
	}
	require.NoError(t, s.prometheus.Get(t.Context(), "/api/v1/alerts", nil, &active))
	for _, a := range active.Alerts {
		if a.Labels["alertname"] == alert.Alert && a.Labels["severity"] == alert.Severity {
			steps = append(steps, hop{"evaluated", "a rule's evaluation sees it", a.ActiveAt})
		}
	}
	fires, err := s.prometheus.Query(t.Context(), fmt.Sprintf("ALERTS{alertname=%q, severity=%q, alertstate=\"firing\"}[30m]", alert.Alert, alert.Severity))
	require.NoError(t, err)
	steps = append(steps, hop{"for", "the rule's `for` is over", first(t, fires)})
	if alert.Receiver != "" {
		arrived := s.told(alert, "firing")[0]
		assert.WithinDuration(t, steps[len(steps)-1].at, arrived.alert.StartsAt, time.Millisecond)
		steps = append(steps, hop{"told", "Alertmanager has called the webhook", arrived.notification.At})
	}
	return steps
}

// first is the time of the first point of some series.
func first(t *testing.T, series []monitoring.Series) (at time.Time) {
	require.NotEmpty(t, series)
	for _, one := range series {
		if begins := one.Points[0].At; at.IsZero() || begins.Before(at) {
			at = begins
		}
	}
	return at
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

// add notes the steps of an alert and holds them against how long each may take.
func (r *report) add(t *testing.T, recording, alert string, steps []hop, within map[string]time.Duration, says string) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s, seconds since the first failed order, of the step, and at most\n", recording, alert)
	assert.Len(t, within, len(steps)-1, "%s: %s: a bound for each step", recording, alert)
	for i, step := range steps {
		before, bound := steps[max(0, i-1)].at, ""
		took := step.at.Sub(before)
		// The Collector and Prometheus tell milliseconds, and when a thing was pushed is known to a quarter of a second.
		assert.GreaterOrEqual(t, took, -252*time.Millisecond, "%s comes after %s", step.name, steps[max(0, i-1)].name)
		if i > 0 {
			atMost, ok := within[step.key]
			assert.True(t, ok, "%s: %s: no bound for the step %s", recording, alert, step.key)
			assert.LessOrEqual(t, took, atMost, "%s: %s: %s", recording, alert, step.name)
			bound = fmt.Sprintf("%.0f", atMost.Seconds())
		}
		fmt.Fprintf(&text, "  %7.2f %7.2f %4s  %s\n", step.at.Sub(steps[0].at).Seconds(), max(0, took).Seconds(), bound, step.name)
	}
	fmt.Fprintf(&text, "  %s\n", says)
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

// The delay budget of docs/metrics.md is what the shipped files configure, and the table allows no step of a page on an
// outage more than that and a few seconds for a busy machine.
func TestDelayBudget(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	require.NoError(t, err)
	budget := map[string]time.Duration{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([\d.]+) s \|`).FindAllStringSubmatch(string(text), -1) {
		budget[row[1]], err = time.ParseDuration(row[2] + "s")
		require.NoError(t, err)
	}

	type yamlFile = map[string]any
	read := func(path string) (parsed yamlFile) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, &parsed))
		return parsed
	}
	seconds := func(value any) time.Duration {
		duration, err := time.ParseDuration(value.(string))
		require.NoError(t, err)
		return duration
	}
	reader := at(read(filepath.Join(root, "examples/grafana-cloud.yaml")), "service", "telemetry", "metrics")["readers"].([]any)[0].(yamlFile)
	rules := readRules(t)
	outage := rules.alerts()[slices.IndexFunc(rules.alerts(), func(r rule) bool { return r.name() == "VendorOutage page" })]
	table := readExpected(t).Recordings["incident"][0]
	require.Equal(t, "VendorOutage", table.Alert)
	for _, step := range []struct {
		row, key   string
		configured time.Duration
	}{
		{"the Collector knows of the outage", "known", budget["the Collector knows of the outage"]}, // measured
		{"the metrics are pushed", "pushed", time.Duration(at(reader, "periodic")["interval"].(int)) * time.Millisecond},
		{"the rules are evaluated", "evaluated", seconds(rules.Groups[0].Interval)},
		{"`for` of VendorOutage", "for", seconds(cmp.Or(outage.For, "0s"))},
		{"Alertmanager", "told", seconds(at(read(alertmanagerFile), "route")["group_wait"])},
	} {
		inBudget, ok := budget[step.row]
		require.True(t, ok, "docs/metrics.md tells how long until: %s", step.row)
		assert.Equal(t, step.configured, inBudget, step.row)
		assert.GreaterOrEqual(t, table.Within[step.key], inBudget, step.row)
		assert.LessOrEqual(t, table.Within[step.key], inBudget+6*time.Second, step.row)
	}
}
