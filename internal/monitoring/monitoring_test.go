package monitoring

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

const root = "../.."

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(status)
	}))
}

// A metric of the built Collector comes to Prometheus by push, makes a rule fire, and the alert comes to the webhook by
// way of Alertmanager.
func TestFromCollectorToWebhook(t *testing.T) {
	out := t.TempDir()
	webhook, err := StartWebhook("127.0.0.1:0")
	require.NoError(t, err)
	defer webhook.Close()
	alertmanager, err := StartAlertmanager(t.Context(), root, out, write(t, "alertmanager.yaml", fmt.Sprintf(
		"{route: {receiver: all, group_wait: 0s}, receivers: [{name: all, webhook_configs: [{url: %s/hook}]}]}", webhook.URL)))
	require.NoError(t, err)
	defer alertmanager.Kill()
	prometheus, err := StartPrometheus(t.Context(), root, out, PrometheusConfig{
		Alertmanager: alertmanager.URL,
		Rules: []string{write(t, "rules.yaml",
			`groups: [{name: g, rules: [{alert: Quiet, expr: vendor_outage == 0, annotations: {summary: "{{ $labels.vendor_name }}"}}]}]`)},
	})
	require.NoError(t, err)
	defer prometheus.Kill()
	config, err := prometheus.PushFrom(filepath.Join(root, "examples/demo.yaml"), out, 200*time.Millisecond)
	require.NoError(t, err)
	collector, err := builtcollector.Start(t.Context(), root, config, out, "DEMO_OUT="+out)
	require.NoError(t, err)
	defer collector.Kill()

	soon, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	alert, notification, err := webhook.Wait(soon, func(a Alert) bool { return a.Labels["alertname"] == "Quiet" })
	require.NoError(t, err)
	assert.Equal(t, "firing", alert.Status)
	assert.Equal(t, "pizza-factory", alert.Annotations["summary"])
	assert.Equal(t, "otelcol-vendorfailure", alert.Labels["job"])
	assert.NotEmpty(t, alert.Labels["instance"])
	assert.False(t, alert.StartsAt.IsZero())
	assert.Equal(t, "all", notification.Receiver)
	assert.Equal(t, "/hook", notification.Path)
	assert.Equal(t, notification, webhook.Notifications()[0])

	got, err := prometheus.Query(t.Context(), "vendor_planned + 2")
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, 2., got[0].Points[0].Value)
	assert.Equal(t, map[string]string{"vendor_name": "pizza-factory", "job": "otelcol-vendorfailure", "instance": alert.Labels["instance"]}, got[0].Labels)

	got, err = prometheus.Query(t.Context(), "vendor_planned[1m]")
	require.NoError(t, err)
	assert.Equal(t, "vendor_planned", got[0].Labels["__name__"])
	assert.NotEmpty(t, got[0].Points)

	got, err = prometheus.QueryRange(t.Context(), "vector(1)", time.Unix(1000, 0), time.Unix(1002, 0), time.Second)
	require.NoError(t, err)
	assert.Equal(t, []Series{{Labels: map[string]string{}, Points: []Point{{time.Unix(1000, 0), 1}, {time.Unix(1001, 0), 1}, {time.Unix(1002, 0), 1}}}}, got)

	got, err = prometheus.Query(t.Context(), "scalar(vector(7))")
	require.NoError(t, err)
	assert.Equal(t, 7., got[0].Points[0].Value)

	_, err = prometheus.Query(t.Context(), "sum(")
	require.ErrorContains(t, err, "/api/v1/query: invalid parameter")
	require.NoError(t, collector.Stop())
	require.NoError(t, prometheus.Stop())
	require.NoError(t, alertmanager.Stop())
}

func TestFaults(t *testing.T) {
	out := t.TempDir()
	for _, fault := range []struct {
		name, says string
		start      func() error
	}{
		{"no tools", "run make .tools/prometheus first", func() error {
			_, err := StartPrometheus(t.Context(), out, out, PrometheusConfig{})
			return err
		}},
		{"no tools", "run make .tools/alertmanager first", func() error {
			_, err := StartAlertmanager(t.Context(), out, out, "none")
			return err
		}},
		{"no rules", "rules: stat ", func() error {
			_, err := StartPrometheus(t.Context(), root, out, PrometheusConfig{Rules: []string{"none.yaml"}})
			return err
		}},
		{"wrong rules", "Prometheus did not start: it ended at once: exit status ", func() error {
			_, err := StartPrometheus(t.Context(), root, out, PrometheusConfig{Rules: []string{write(t, "wrong.yaml", "groups: 1")}})
			return err
		}},
		{"wrong address", "address of the Alertmanager: ", func() error {
			_, err := StartPrometheus(t.Context(), root, out, PrometheusConfig{Alertmanager: ":"})
			return err
		}},
		{"wrong configuration", "Alertmanager did not start: it ended at once: exit status 1", func() error {
			_, err := StartAlertmanager(t.Context(), root, out, write(t, "alertmanager.yaml", "{}"))
			return err
		}},
		{"a configuration without telemetry", "service::telemetry::metrics has no telemetry", func() error {
			_, err := (&Prometheus{}).PushFrom(write(t, "collector.yaml", "service: {pipelines: {}}"), out, time.Second)
			return err
		}},
	} {
		t.Run(fault.name, func(t *testing.T) { assert.ErrorContains(t, fault.start(), fault.says) })
	}
}

func TestWebhookRefusesWhatIsNoNotification(t *testing.T) {
	webhook, err := StartWebhook("127.0.0.1:0")
	require.NoError(t, err)
	defer webhook.Close()
	response, err := http.Post(webhook.URL, "application/json", strings.NewReader("["))
	require.NoError(t, err)
	response.Body.Close()
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
	assert.Empty(t, webhook.Notifications())
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
