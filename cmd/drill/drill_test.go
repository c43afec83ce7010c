package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/goleak"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

// The tests run where the command does, in the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(status)
	}))
}

// quick returns options with which a drill takes half a minute: what lets an alert linger is short. The rules are the
// shipped ones otherwise.
func quick(t *testing.T) options {
	t.Helper()
	out := t.TempDir()
	o, err := parse([]string{"-out", out, "-push", "1s", "-rate", "2", "-within", "2m"}, io.Discard)
	require.NoError(t, err)
	o.config = rewrite(t, out, o.config, "recovery: 30s", "recovery: 2s")
	o.rules = rewrite(t, out, o.rules, "keep_firing_for: 3m", "keep_firing_for: 2s")
	o.rules = rewrite(t, out, o.rules, "interval: 10s", "interval: 1s")
	o.routes = rewrite(t, out, o.routes, "group_interval: 1m", "group_interval: 1s")
	return o
}

func rewrite(t *testing.T, out, file, old, short string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	path := filepath.Join(out, "quick-"+filepath.Base(file))
	require.NoError(t, os.WriteFile(path, bytes.ReplaceAll(text, []byte(old), []byte(short)), 0o600))
	return path
}

func TestDrill(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := run(t.Context(), quick(t), &out)
	t.Log(out.String())
	require.NoError(t, err)
	assert.Regexp(t, `(?s)Sending synthetic calls to pizza-factory that fail \(error\)
.* first failed synthetic call
.* the Collector knows, Prometheus has the metric
.* the rule's evaluation fires
.* the receiver vendor-contact is told: pizza-factory is in an outage \(error\): 0 orders lost so far

Sending synthetic calls that succeed
.* first successful synthetic call
.* the Collector knows, Prometheus has the metric
.* the rule's keep_firing_for is over
.* the receiver vendor-contact is told

Customers' orders, their value and the outage's impact are all 0: the drill is in none of them
$`, out.String())
	inOrder(t, out.String(), 8)
}

// inOrder checks that no hop comes before the one above it.
func inOrder(t *testing.T, out string, hops int) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ *(-?[\d.]+)s +(-?[\d.]+)s  \d\d:\d\d`).FindAllStringSubmatch(out, -1)
	assert.Len(t, found, hops, "each hop has its times")
	for _, hop := range found {
		took, err := strconv.ParseFloat(hop[2], 64)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, took, 0., hop[0])
	}
}

// A drill at somebody's own Collector, which serves customers meanwhile: their figures are those of their own orders.
func TestDrillOfAnother(t *testing.T) {
	t.Parallel()
	o := quick(t)
	own, err := start(t.Context(), o, io.Discard)
	require.NoError(t, err)
	defer own.kill()
	const customers = 5
	for range customers {
		sendForCustomer(t, own.collector.OTLP)
	}

	o.collector, o.prometheus, o.alertmanager = own.collector.OTLP, own.prometheus.URL, own.alertmanager.URL
	o.reason = "throttled"
	var out strings.Builder
	err = run(t.Context(), o, &out)
	t.Log(out.String())
	require.NoError(t, err)
	assert.Contains(t, out.String(), "Alertmanager has it, for our-on-call", "too many calls are ours")
	assert.Contains(t, out.String(), "Alertmanager has it no more")
	inOrder(t, out.String(), 8)

	for query, want := range map[string]float64{
		`sum(vendor_orders_total{user_agent_synthetic_type=""})`:                           customers,
		`sum(vendor_orders_total{user_agent_synthetic_type="",vendor_outcome!="success"})`: 0,
		`sum(vendor_calls_total{user_agent_synthetic_type=""})`:                            0,
		`max(max_over_time(vendor_outage_orders[10m]))`:                                    0,
		`max(max_over_time(vendor_outage_users[10m]))`:                                     0,
		`max(max_over_time(vendor_outage_value[10m]))`:                                     0,
	} {
		got, err := own.prometheus.Query(t.Context(), query+" or vector(0)")
		require.NoError(t, err)
		require.Len(t, got, 1, query)
		assert.Equal(t, want, got[0].Points[0].Value, query)
	}
	got, err := own.prometheus.Query(t.Context(), `sum(vendor_calls_total{user_agent_synthetic_type="test",vendor_outcome="failure",vendor_failure_reason="throttled"})`)
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.GreaterOrEqual(t, got[0].Points[0].Value, 3.)

	// The five of before are what the drill's own look at the figures has to find.
	require.ErrorIs(t, own.untouched(t.Context(), io.Discard), errTouched)

	// Nobody drills into an outage.
	failing := &calls{vendor: o.vendor, reason: "error", collector: o.collector}
	require.Eventually(t, func() bool {
		require.NoError(t, failing.send(t.Context(), true))
		got, err := own.prometheus.Query(t.Context(), "vendor_outage == 1")
		return err == nil && len(got) == 1
	}, 30*time.Second, 200*time.Millisecond)
	require.ErrorContains(t, run(t.Context(), o, io.Discard), "pizza-factory is in an outage already, which a drill cannot be told from; wait until it is over")

	o.vendor = "pizza-fcatory"
	require.ErrorContains(t, run(t.Context(), o, io.Discard), `-vendor pizza-fcatory: Prometheus has a vendor_outage of ["pizza-factory"] only`)
}

// A drill that is told by a notification alone.
func TestDrillThatListens(t *testing.T) {
	t.Parallel()
	o := quick(t)
	address, err := process.FreeAddress()
	require.NoError(t, err)
	o.routes = rewrite(t, o.out, o.routes, nowhere, "http://"+address+"/")
	own, err := start(t.Context(), o, io.Discard)
	require.NoError(t, err)
	defer own.kill()

	o.collector, o.hears = own.collector.OTLP, address
	var out strings.Builder
	err = run(t.Context(), o, &out)
	t.Log(out.String())
	require.NoError(t, err)
	assert.Regexp(t, `(?s) first failed synthetic call
.* the rule's evaluation fires
.* the receiver vendor-contact is told: pizza-factory is in an outage \(error\): 0 orders lost so far
.* first successful synthetic call
.* the receiver vendor-contact is told
$`, out.String())
	inOrder(t, out.String(), 5)
}

// In an announced window the alert shows and pages nobody: a drill that took it for the page would prove nothing.
func TestDrillInAnnouncedWindow(t *testing.T) {
	t.Parallel()
	o := quick(t)
	const outage = "outage: {recovery: 2s}"
	o.config = rewrite(t, o.out, o.config, outage, fmt.Sprintf("%s\n    planned: [{vendor: pizza-factory, from: %s, to: %s, note: chaos test}]",
		outage, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	own, err := start(t.Context(), o, io.Discard)
	require.NoError(t, err)
	defer own.kill()

	o.collector, o.prometheus = own.collector.OTLP, own.prometheus.URL
	require.ErrorContains(t, run(t.Context(), o, io.Discard), "a window of pizza-factory's is announced, in which nobody is paged; wait until three minutes after it ends")

	require.NoError(t, (&drill{vendor: o.vendor, calls: &calls{reason: "throttled"}, prometheus: own.prometheus}).mayBegin(t.Context()), "too many calls are ours, and page all the same")

	// Alertmanager knows of no windows: it has the alert, seconds before it tells it, which is not the one that is waited for.
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() {
		_, _, err := own.webhook.Wait(ctx, func(a monitoring.Alert) bool { return a.Labels["alertname"] == alertName })
		cancel(fmt.Errorf("%w after the announced alert was told", cmp.Or(err, context.Canceled)))
	}()
	d := &drill{vendor: o.vendor, to: io.Discard, within: o.within, alertmanager: own.alertmanager,
		calls: &calls{vendor: o.vendor, reason: "error", collector: o.collector, every: 100 * time.Millisecond}}
	require.ErrorContains(t, d.run(ctx), "no VendorOutage of severity page arrived: context canceled after the announced alert was told")
	assert.Equal(t, "/announced", own.webhook.Notifications()[len(own.webhook.Notifications())-1].Path)
}

// Prometheus is asked a moment before Alertmanager: an end that only the later one knows yet is looked at again.
func TestOneWatcherIsBehind(t *testing.T) {
	looks := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/query":
			_, _ = io.WriteString(w, `{"status": "success", "data": {"resultType": "matrix", "result": []}}`)
		case "/api/v1/alerts":
			alerts := ""
			if looks++; looks == 1 {
				alerts = `{"state": "firing", "labels": {"alertname": "VendorOutage", "severity": "page", "vendor_name": "a"}}`
			}
			_, _ = io.WriteString(w, `{"status": "success", "data": {"alerts": [`+alerts+`]}}`)
		case "/api/v2/alerts":
			_, _ = io.WriteString(w, "[]")
		}
	}))
	defer server.Close()
	d := &drill{vendor: "a", prometheus: &monitoring.Prometheus{URL: server.URL}, alertmanager: &monitoring.Alertmanager{URL: server.URL}}
	_, done, err := d.resolved(t.Context(), time.Now())
	require.NoError(t, err)
	assert.False(t, done)
	hops, done, err := d.resolved(t.Context(), time.Now())
	require.NoError(t, err)
	assert.True(t, done)
	assert.Len(t, hops, 3, "each watcher's step is told")
}

// sendForCustomer sends an order that succeeds and that somebody waits for.
func sendForCustomer(t *testing.T, collector string) {
	t.Helper()
	trace := (&calls{}).trace(time.Now(), false)
	order := trace.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	order.SetKind(ptrace.SpanKindServer)
	require.NoError(t, order.Attributes().FromRaw(map[string]any{
		"http.request.method": "POST", "http.route": "/api/order", "http.response.status_code": 200}))
	body, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(trace)
	require.NoError(t, err)
	response, err := http.Post(collector+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestCallsAreMarked(t *testing.T) {
	for _, failed := range []bool{true, false} {
		trace := (&calls{vendor: "pizza-factory", reason: "timeout"}).trace(time.Now(), failed)
		require.Equal(t, 1, trace.SpanCount())
		span := trace.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		assert.False(t, span.TraceID().IsEmpty())
		want := map[string]any{"user_agent.synthetic.type": "test", "vendor.name": "pizza-factory"}
		if failed {
			want["vendor.failure.reason"] = "timeout"
		}
		assert.Equal(t, want, span.Attributes().AsRaw())
		assert.Equal(t, failed, span.Status().Code() == ptrace.StatusCodeError)
	}
}

func TestFlags(t *testing.T) {
	for _, row := range []struct{ args, says string }{
		{"-collector http://c", "-collector alone: nobody would see whether the alert arrives; give -prometheus, -alertmanager or -listen as well"},
		{"-prometheus http://p", "-prometheus, -alertmanager and -listen go with -collector"},
		{"-rate 0", "-rate 0: write synthetic calls a second"},
		{"-reason unauthorized", "-reason unauthorized: write one of error, timeout, slow, unreachable, bad_response, throttled; rejected opens no outage"},
		{"pizza-factory", `"pizza-factory" is no flag; see -help`},
		{"-vedor x", "flag provided but not defined: -vedor"},
	} {
		_, err := parse(strings.Fields(row.args), io.Discard)
		assert.ErrorContains(t, err, row.says, row.args)
	}
}

func TestFaults(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v2/") {
			_, _ = io.WriteString(w, "[]")
			return
		}
		http.Error(w, "no", http.StatusNotFound)
	}))
	defer refusing.Close()
	for _, row := range []struct{ args, says string }{
		{"-collector " + refusing.URL + " -alertmanager " + refusing.URL, `no VendorOutage of severity page arrived: the Collector does not take synthetic calls: ` + refusing.URL + `/v1/traces answers 404 Not Found: "no\n"`},
		{"-collector " + refusing.URL + " -prometheus " + refusing.URL, "prometheus: /api/v1/query answers 404 Not Found: no"},
		{"-collector " + refusing.URL + " -listen nowhere", "-listen: listen tcp: address nowhere: missing port in address"},
		{"-rules none.yaml -out " + t.TempDir(), "rules: stat "},
		{"-routes none.yaml -out " + t.TempDir(), "open none.yaml: no such file"},
		{"-config none.yaml -out " + t.TempDir(), "open none.yaml: no such file"},
	} {
		o, err := parse(strings.Fields(row.args), io.Discard)
		require.NoError(t, err)
		assert.ErrorContains(t, run(t.Context(), o, io.Discard), row.says, row.args)
	}
}

// An alert that never comes is an error in good time, and so is an end of patience.
func TestNothingArrives(t *testing.T) {
	taking := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v2/") {
			_, _ = io.WriteString(w, "[]")
		}
	}))
	defer taking.Close()
	o, err := parse(strings.Fields(fmt.Sprintf("-collector %s -alertmanager %s -within 700ms", taking.URL, taking.URL)), io.Discard)
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), o, io.Discard), "no VendorOutage of severity page arrived: waited for 700ms")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.within = time.Minute
	require.ErrorIs(t, run(ctx, o, io.Discard), context.Canceled)
}
