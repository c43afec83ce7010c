package vendorfailureprocessor

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// TestNoSecretLeaves: of bodies, links, tokens, e-mails and user ids nothing gets into a tag, a metric, or a line of
// ours, over all recordings.
func TestNoSecretLeaves(t *testing.T) {
	// All but the canaries, which are planted, are in the recordings.
	secrets := []string{"vendorkey123", "@jwt.com", "eyJ", "tttttt", "canary", "api/support", "Margarita"}
	dirs, err := filepath.Glob(filepath.Join("..", "..", "testdata", "*", "truth.json"))
	require.NoError(t, err)
	require.Len(t, dirs, 8)
	for _, truth := range dirs {
		name := filepath.Base(filepath.Dir(truth))
		t.Run(name, func(t *testing.T) {
			cfg := incidentConfig()
			cfg.Settle = 0
			h := start(t, cfg)
			all := requests(t, name, true, true)
			found := 0
			for _, r := range all {
				if r.traces != (ptrace.Traces{}) {
					eachSpan(r.traces, func(s ptrace.Span) {
						s.Attributes().PutStr("enduser.id", "canary-user")
						s.Attributes().PutStr("http.request.header.authorization", "Bearer canary-token")
						s.Status().SetMessage(s.Status().Message() + " canary-message")
						for _, e := range s.Events().All() {
							if m, ok := e.Attributes().Get("exception.message"); ok {
								m.SetStr(m.Str() + " canary-exception")
							}
						}
					})
					continue
				}
				eachRecord(r.logs, func(l plog.LogRecord) {
					l.Attributes().PutStr("enduser.id", "canary-user")
					if strings.Contains(l.Body().AsString(), "vendorkey123") {
						found++
					}
					l.Attributes().PutStr("error", "canary-error")
				})
			}
			// As the Elastic Common Schema has it, the customer is the source; other loggers call their service so.
			ecs := plog.NewLogs()
			addRecord(ecs, `{"path":"/api/order","method":"POST","statusCode":500,"source":{"ip":"canary-ip","user":{"email":"canary@example.com"}}}`, "type", "http")
			addRecord(ecs, `{"statusCode":500}`, "type", "factory", "source", map[string]any{"user": "canary-user"})
			all = append(all, request{logs: ecs})
			h.send(t, all)
			h.gauge(t, "vendor.outage")
			metrics := h.everyMetric(t)
			h.shutdown(t)

			var ours strings.Builder
			ours.WriteString(metrics)
			for _, e := range h.log.All() {
				text, err := json.Marshal(e.ContextMap())
				require.NoError(t, err)
				fmt.Fprintln(&ours, e.Message, string(text))
			}
			tags := func(m pcommon.Map) {
				for _, key := range []string{tagVendor, tagReason, tagChaos} {
					if v, ok := m.Get(key); ok {
						fmt.Fprintln(&ours, key, v.AsString())
					}
				}
			}
			for _, td := range h.spans.AllTraces() {
				eachSpan(td, func(s ptrace.Span) { tags(s.Attributes()) })
			}
			for _, ld := range h.lines.AllLogs() {
				eachRecord(ld, func(r plog.LogRecord) { tags(r.Attributes()) })
			}
			assert.Contains(t, ours.String(), "pizza-factory", "something was told")
			for _, secret := range secrets {
				assert.NotContains(t, ours.String(), secret)
			}
			if strings.HasPrefix(name, "chaos") {
				assert.NotZero(t, found, "the recording holds the secret")
			}
		})
	}
}

// everyMetric is all that the processor's instruments tell, as text.
func (h *harness) everyMetric(t testing.TB) string {
	var rm metricdata.ResourceMetrics
	require.NoError(t, h.tel.Reader.Collect(t.Context(), &rm))
	var text strings.Builder
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			fmt.Fprintf(&text, "%s %s %+v\n", m.Name, m.Description, m.Data)
			if data, err := json.Marshal(m.Data); err == nil {
				text.Write(data)
			}
		}
	}
	require.NotEmpty(t, text.String())
	return text.String()
}
