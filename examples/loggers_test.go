package examples

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// withFiles writes a configuration of this folder whose telemetry goes to <folder>/traces.jsonl and logs.jsonl, and which
// settles in a second, for a test to wait less. Nothing else of it changes. It returns the path of what it wrote.
func withFiles(t *testing.T, name, folder string) string {
	t.Helper()
	config := configOf(t, name)
	more := map[string]any{"processors::vendor_failure::settle": "1s"}
	for _, signal := range []string{"traces", "logs"} {
		exporter := "file/" + signal
		more["exporters::"+exporter+"::path"] = filepath.Join(folder, signal+".jsonl")
		more["service::pipelines::"+signal+"::exporters"] = []any{exporter}
	}
	require.NoError(t, config.Merge(confmap.NewFromStringMap(more)))
	merged, err := yaml.Marshal(config.ToStringMap())
	require.NoError(t, err)
	path := filepath.Join(folder, "config.yaml")
	require.NoError(t, os.WriteFile(path, merged, 0o600))
	return path
}

// send replays a recording of testdata/loggers: each line is a request, in the order in which it came.
func send(t *testing.T, to *builtcollector.Collector, recorded []string) {
	t.Helper()
	for _, request := range recorded {
		url := to.OTLP + "/v1/logs"
		switch {
		case strings.HasPrefix(request, `{"resourceSpans"`):
			url = to.OTLP + "/v1/traces"
		case strings.HasPrefix(request, `{"streams"`):
			url = to.Loki + "/loki/api/v1/push"
		}
		post(t, url, request)
	}
}

func post(t *testing.T, url, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, 2, response.StatusCode/100, "%s: %s", url, answer)
}

// recordedLogger reads a recording of testdata/loggers. The factory was on the recording's own host; the examples name
// the course's.
func recordedLogger(t *testing.T, name string) (requests []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "testdata/loggers", name+".jsonl"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.ReplaceAll(line, "http://127.0.0.1:4100/", "https://pizza-factory.cs329.click/")
		line = strings.ReplaceAll(line, "http://127.0.0.1:4101/", "https://pizza-factory.cs329.click/")
		requests = append(requests, line)
	}
	return requests
}

// withoutSpans leaves the requests with spans out.
func withoutSpans(requests []string) []string {
	return slices.DeleteFunc(slices.Clone(requests), func(r string) bool { return strings.HasPrefix(r, `{"resourceSpans"`) })
}

// counted are the points of a counter by outcome, reason or both, of one signal; zeros are left out.
func counted(samples []builtcollector.Sample, name, signal string) map[string]int {
	out := map[string]int{}
	for _, s := range samples {
		if s.Name != name || s.Labels["vendor_signal"] != signal {
			continue
		}
		key := s.Labels["vendor_outcome"]
		if reason := s.Labels["vendor_failure_reason"]; reason != "" {
			key += " " + reason
		}
		out[key] += int(s.Value)
	}
	maps.DeleteFunc(out, func(_ string, n int) bool { return n == 0 })
	return out
}

// gauge is the value of the pizza factory's gauge, or -1 where there is none.
func gauge(samples []builtcollector.Sample, name string) float64 {
	for _, s := range samples {
		if s.Name == name && s.Labels["vendor_name"] == "pizza-factory" {
			return s.Value
		}
	}
	return -1
}

// eventually scrapes until a signal has counted as many orders.
func eventually(t *testing.T, collector *builtcollector.Collector, signal string, orders int) (samples []builtcollector.Sample) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		samples, err = collector.Scrape(t.Context())
		n := 0
		for _, count := range counted(samples, "vendor_orders_total", signal) {
			n += count
		}
		return err == nil && n == orders
	}, 30*time.Second, 100*time.Millisecond, "%d orders are counted", orders)
	return samples
}

// TestLoggers: what each logger's lines tell of the same nine orders, and of the factory's calls for seven of them. In the
// words of the shop: an order made, one of nobody who is logged in, one that the shop itself cannot handle, one of 21
// pizzas, one answered with a broken token, two that met the chaos test, one that did not reach the factory, and one made
// again. Each is worth 0.0038 BTC a pizza; the four that are the factory's fault are of two diners.
func TestLoggers(t *testing.T) {
	const (
		all      = "success 401 own vendor:rejected vendor:bad_response+chaos vendor:error+chaos vendor:error+chaos vendor:unreachable success"
		allCalls = "success failure:rejected failure:bad_response failure:error failure:error failure:unreachable success"
		lost     = 4 * 0.0038
		unknown  = -1 // no series
	)
	for _, tc := range []struct {
		name, example, recording string
		spans                    bool    // are sent as well
		orders                   string  // how each ended, by its line
		calls                    string  // how each ended, by its line
		outage, users, value     float64 // of the factory: 1 in an outage; diners and BTC lost in it
	}{
		{"pino", "otlp-logs", "pino", false, all, allCalls, 1, 2, lost},
		{"pino with spans", "otlp-logs", "pino", true, all, allCalls, 1, 2, lost},
		{"winston", "otlp-logs", "winston", false, all, allCalls, 1, 2, lost},
		{"winston with spans", "otlp-logs", "winston", true, all, allCalls, 1, 2, lost},
		// Lines without bodies: nothing of the factory, nor of the broken token behind a 200. Spans tell of failed calls.
		{"pino-http", "otlp-logs", "pino-http", false,
			"success 401 own own success own own own success", "", 0, 0, 0},
		{"pino-http with spans", "otlp-logs", "pino-http", true,
			"success 401 own vendor:rejected success vendor:error vendor:error vendor:unreachable success", "", 1, unknown, unknown},
		{"express-winston", "otlp-logs", "express-winston", false,
			"success 401 own own success own own own success", "", 0, 0, 0},
		{"express-winston with spans", "otlp-logs", "express-winston", true,
			"success 401 own vendor:rejected success vendor:error vendor:error vendor:unreachable success", "", 1, unknown, unknown},
		// Its lines name no diner.
		{"pizza-logger", "pizza-logger", "pizza-logger", false,
			all, "", 1, unknown, lost},
		{"pizza-logger in the router", "pizza-logger", "pizza-logger-in-router", false,
			all, "", 1, unknown, lost},
		{"access log", "access-log", "access-log", false,
			"success 401 own own success own own own success", "", 0, unknown, unknown},
		{"access log with spans", "access-log", "access-log", true,
			"success 401 own vendor:rejected success vendor:error vendor:error vendor:unreachable success", "", 1, unknown, unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			collector, err := builtcollector.Start(t.Context(), root, withFiles(t, "loggers/"+tc.example+".yaml", folder), folder)
			require.NoError(t, err)
			defer collector.Kill()
			requests := recordedLogger(t, tc.recording)
			if !tc.spans {
				requests = withoutSpans(requests)
			}
			send(t, collector, requests)
			samples := eventually(t, collector, "logs", 9)
			require.NoError(t, collector.Stop())

			orders, tags := map[string]int{}, []string{}
			for _, order := range strings.Fields(tc.orders) {
				tag := ""
				switch reason, blamed := strings.CutPrefix(order, "vendor:"); {
				case blamed:
					tag = "pizza-factory " + reason
					order = "vendor_failure " + strings.TrimSuffix(reason, "+chaos")
				case order == "401":
					order = "rejected"
				case order == "own":
					order = "own_failure"
				}
				orders[order]++
				tags = append(tags, tag)
			}
			calls := map[string]int{}
			for _, call := range strings.Fields(tc.calls) {
				calls[strings.ReplaceAll(call, ":", " ")]++
			}
			assert.Equal(t, orders, counted(samples, "vendor_orders_total", "logs"))
			assert.Equal(t, calls, counted(samples, "vendor_calls_total", "logs"))
			assert.Equal(t, tags, taggedOrders(t, filepath.Join(folder, "logs.jsonl")))
			assert.Equal(t, tc.outage, gauge(samples, "vendor_outage"))
			assert.Equal(t, tc.users, gauge(samples, "vendor_outage_users"))
			assert.InDelta(t, tc.value, gauge(samples, "vendor_outage_value"), 1e-9)
		})
	}
}

// TestCourseLogger: the course's logger, as the recordings of testdata have it.
func TestCourseLogger(t *testing.T) {
	for _, tc := range []struct {
		recording string
		orders    map[string]int
		users     float64 // hit by an outage; -1: nothing names them, for the line of a call that got no answer is missing
	}{
		{"healthy", map[string]int{"success": 60, "rejected": 12}, 0},
		{"chaos-fail", map[string]int{"vendor_failure error": 44, "rejected": 9}, 6},
		{"chaos-badjwt", map[string]int{"vendor_failure bad_response": 44, "rejected": 9}, 6},
		{"oven-full", map[string]int{"success": 8, "vendor_failure rejected": 4, "rejected": 3}, 0},
		{"factory-refused", map[string]int{"vendor_failure unreachable": 24, "rejected": 7}, -1},
		{"db-fail", map[string]int{"success": 12, "own_failure": 16, "vendor_failure rejected": 4, "rejected": 12}, 0},
	} {
		t.Run(tc.recording, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			collector, err := builtcollector.Start(t.Context(), root, withFiles(t, "loggers/course-logger.yaml", folder), folder)
			require.NoError(t, err)
			defer collector.Kill()
			recorded, err := recording.Open(filepath.Join(root, "testdata", tc.recording))
			require.NoError(t, err)
			require.NoError(t, new(builtcollector.Replay).Run(t.Context(), recorded, collector))
			samples := eventually(t, collector, "logs", recorded.Truth.Orders+recorded.Truth.OtherRequests["unauthOrder"]["401"])
			require.NoError(t, collector.Stop())

			assert.Equal(t, tc.orders, counted(samples, "vendor_orders_total", "logs"))
			assert.Equal(t, tc.users, gauge(samples, "vendor_outage_users"))
			if recorded.Truth.Failed == recorded.Truth.Orders { // every failure is the factory's, and in one outage
				assert.Equal(t, 1., gauge(samples, "vendor_outage"))
				assert.InDelta(t, recorded.Truth.FailedAmount, gauge(samples, "vendor_outage_value"), 1e-9)
			}
			blamed := 0
			for _, tag := range taggedOrders(t, filepath.Join(folder, "logs.jsonl")) {
				if tag != "" {
					blamed++
				}
			}
			want := 0
			for outcome, n := range tc.orders {
				if strings.HasPrefix(outcome, "vendor_failure ") {
					want += n
				}
			}
			assert.Equal(t, want, blamed)
		})
	}
}

// taggedOrders are the tags of the lines of orders in the order of their times, "" for a line without. No other line of
// testdata/loggers has the word POST.
func taggedOrders(t *testing.T, file string) (tags []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	type line struct {
		at  pcommon.Timestamp
		tag string
	}
	var lines []line
	for request := range bytes.Lines(text) {
		var decoder plog.JSONUnmarshaler
		logs, err := decoder.UnmarshalLogs(request)
		require.NoError(t, err)
		for _, rl := range logs.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					attributes := record.Attributes().AsRaw()
					if !strings.Contains(fmt.Sprint(record.Body().AsString(), attributes), "POST") {
						continue
					}
					l := line{at: record.Timestamp()}
					if vendor, ok := attributes["vendor.name"]; ok {
						l.tag = fmt.Sprint(vendor, " ", attributes["vendor.failure.reason"])
						if attributes["vendor.failure.chaos"] == true {
							l.tag += "+chaos"
						}
					}
					lines = append(lines, l)
				}
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	for _, l := range lines {
		tags = append(tags, l.tag)
	}
	return tags
}
