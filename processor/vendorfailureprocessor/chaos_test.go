package vendorfailureprocessor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// The factory's chaos "throttle": HTTP 200 after 32 s, a good token, and the link that shows it, which the service hands on.
const (
	throttledCall  = `{"resBody":"{\"jwt\":\"` + goodJWT + `\",\"reportUrl\":\"https://factory/report\"}"}`
	throttledOrder = `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"` + goodJWT + `\",\"followLinkToEndChaos\":\"https://factory/report\"}"}`
)

// telling one thing of trace n, at a time after day, to a processor.
type teller func(t *testing.T, h *harness, n byte, at time.Duration) pcommon.Map

func tellLine(kind, body string, withTrace bool) teller {
	return func(t *testing.T, h *harness, n byte, at time.Duration) pcommon.Map {
		ld := plog.NewLogs()
		r := addRecord(ld, body, "type", kind)
		r.SetTimestamp(stamp(at))
		if withTrace {
			r.SetTraceID(pcommon.TraceID{15: n})
		}
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		return r.Attributes()
	}
}

func tellSpan(kind ptrace.SpanKind, attributes []any, options ...spanOption) teller {
	return func(t *testing.T, h *harness, n byte, at time.Duration) pcommon.Map {
		td := ptrace.NewTraces()
		s := addSpan(td, n, kind, attributes, options...)
		duration := s.EndTimestamp() - s.StartTimestamp()
		s.SetStartTimestamp(stamp(at) - duration)
		s.SetEndTimestamp(stamp(at))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		return s.Attributes()
	}
}

// TestChaosOfASuccess: an answer that came as a success fails nothing and gets no tag; where it shows chaos, the outage in
// which it came is one of chaos, whichever signal comes first, with a trace id and without.
func TestChaosOfASuccess(t *testing.T) {
	slow := tellSpan(client, callSpan(200), took(32*time.Second))
	header := append(callSpan(200), "http.response.header.x-chaos", "on")
	for _, tc := range []struct {
		name string
		told []teller // of each order
		want string   // how the outage began, and was told at its end
	}{
		{"line before span", []teller{tellLine("factory", throttledCall, true), slow}, "chaos, chaos"},
		{"span before line", []teller{slow, tellLine("factory", throttledCall, true)}, "chaos, chaos"},
		{"line before span, no trace id", []teller{tellLine("factory", throttledCall, false), slow}, "chaos, chaos"},
		{"span before line, no trace id", []teller{slow, tellLine("factory", throttledCall, false)}, "chaos, chaos"},
		{"the order's own line", []teller{slow, tellLine("http", throttledOrder, false)}, "chaos, chaos"},
		{"an attribute of the slow span", []teller{tellSpan(client, header, took(32*time.Second))}, "chaos, chaos"},
		{"an attribute of a quick span beside it", []teller{slow, tellSpan(client, header)}, "chaos, chaos"},
		{"no link", []teller{tellLine("factory", `{"resBody":"{\"jwt\":\"`+goodJWT+`\"}"}`, true), slow}, "none, none"},
		{"the link in what was asked", []teller{tellLine("factory", `{"reqBody":"reportUrl","resBody":"{}"}`, true), slow}, "none, none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.Outage.FailureRatio = 0.1
			cfg.Vendors[0].Responses = append(cfg.Vendors[0].Responses,
				ResponseConfig{Conditions: []string{`span.attributes["http.response.header.x-chaos"] == "on"`}, Chaos: true},
				ResponseConfig{Conditions: []string{`Len(attributes["nothing"]) > 1`}, Reason: "rejected"}) // of a success it is not asked
			h := start(t, cfg)
			for n := range byte(4) {
				for _, tell := range tc.told {
					m := tell(t, h, n+1, time.Duration(n)*time.Second)
					reason, tagged := m.Get(tagReason)
					assert.True(t, !tagged || reason.Str() == "slow", "%v", m.AsRaw())
				}
			}
			for n := range byte(20) {
				tellSpan(client, callSpan(200))(t, h, n+10, time.Duration(n+1)*time.Minute)
			}
			h.shutdown(t)
			chaos := func(event string) string {
				require.Len(t, h.told(event), 1)
				if h.told(event)[0]["vendor.failure.chaos"] == true {
					return "chaos"
				}
				return "none"
			}
			assert.Equal(t, tc.want, chaos("vendor.outage.start")+", "+chaos("vendor.outage.end"))
			assert.Equal(t, map[string]int{"pizza-factory/" + map[bool]string{true: "true", false: "false"}[tc.want == "chaos, chaos"]: 1},
				h.counts(t, "vendor.outages", "vendor.name", "vendor.failure.chaos"))
			assert.Equal(t, map[string]int{"slow": 4}, withoutSuccesses(h.counts(t, "vendor.calls", "vendor.failure.reason")))
			assert.Empty(t, withoutSuccesses(h.counts(t, "vendor.orders", "vendor.failure.reason")))
			assert.Empty(t, h.counts(t, "otelcol_processor_vendor_failure_condition_errors"))
		})
	}

	// The outage is from 0 s on, and known at 2 s.
	for _, tc := range []struct {
		name          string
		before, after []time.Duration // it comes before the spans that open the outage, and after them
		began, ended  bool
	}{
		{"within, known in time", []time.Duration{0}, nil, true, true},
		{"within, and then an older one", []time.Duration{time.Second, -time.Second}, nil, true, true},
		{"after it had begun", nil, []time.Duration{4 * time.Second}, false, true},
		{"of before it, and known in time", []time.Duration{-time.Second}, nil, false, false},
		{"of before it, and known after it had begun", nil, []time.Duration{-time.Second}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			chaos := tellLine("factory", throttledCall, false)
			for _, at := range tc.before {
				chaos(t, h, 0, at)
			}
			for n := range byte(4) {
				slow(t, h, n+1, time.Duration(n)*time.Second)
			}
			for _, at := range tc.after {
				chaos(t, h, 0, at)
			}
			for n := range byte(20) {
				tellSpan(client, callSpan(200))(t, h, n+10, time.Duration(n+1)*time.Minute)
			}
			h.shutdown(t)
			require.Len(t, h.told("vendor.outage.end"), 1)
			assert.Equal(t, tc.began, h.told("vendor.outage.start")[0]["vendor.failure.chaos"])
			assert.Equal(t, tc.ended, h.told("vendor.outage.end")[0]["vendor.failure.chaos"])
		})
	}
}

func withoutSuccesses(by map[string]int) map[string]int {
	delete(by, "")
	return by
}

// TestChaosOfASuccessByTrace: what failed beside such an answer, in its trace and by the same vendor, is tagged with the
// chaos that it shows, if it comes later; the record itself is never held.
func TestChaosOfASuccessByTrace(t *testing.T) {
	two := func() *Config {
		cfg := pizzaConfig()
		cfg.Vendors = append(cfg.Vendors, cfg.Vendors[0])
		cfg.Vendors[1].Name = "second-factory"
		cfg.Vendors[1].Calls = CallsConfig{Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"second"}}}}
		return cfg
	}
	slow := tellSpan(client, callSpan(200), took(32*time.Second))
	failed := tellSpan(server, orderSpan(500))
	for _, tc := range []struct {
		name string
		cfg  *Config
		told []teller // the last is what is looked at
		want string   // its reason, and whether it shows chaos
	}{
		{"a slow call by its line", pizzaConfig(), []teller{tellLine("factory", throttledCall, true), slow}, "slow, chaos"},
		{"a slow call by its order's line", pizzaConfig(), []teller{tellLine("http", throttledOrder, true), slow}, "slow, chaos"},
		{"a slow call by a line without trace id", pizzaConfig(), []teller{tellLine("factory", throttledCall, false), slow}, "slow"},
		{"a slow call by another vendor's line", two(), []teller{tellLine("second", throttledCall, true), slow}, "slow"},
		{"a slow call by an order's line that may speak of two", two(), []teller{tellLine("http", throttledOrder, true), slow}, "slow"},
		{"an order of the other of the two", two(), []teller{tellLine("http", throttledOrder, true), tellLine("second", `{"statusCode":500,"resBody":"{}"}`, true), failed}, "error"},
		{"a call that failed by its own answer alone", pizzaConfig(), []teller{tellLine("factory", throttledCall, true), tellSpan(client, callSpan(500))}, "error"},
		{"an order of a slow call, line first", pizzaConfig(), []teller{tellLine("factory", throttledCall, true), slow, failed}, "slow, chaos"},
		{"an order of a slow call, span first", pizzaConfig(), []teller{slow, tellLine("factory", throttledCall, true), failed}, "slow, chaos"},
		{"an order of a call that failed, and was made again", pizzaConfig(), []teller{tellLine("factory", `{"statusCode":500,"resBody":"{}"}`, true), tellLine("factory", throttledCall, true), failed}, "error, chaos"},
		{"the same, the other way round", pizzaConfig(), []teller{tellLine("factory", throttledCall, true), tellLine("factory", `{"statusCode":500,"resBody":"{}"}`, true), failed}, "error, chaos"},
		{"an order's line that blames the vendor", pizzaConfig(), []teller{slow, tellLine("factory", throttledCall, true), tellLine("http", `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"Failed to fulfill order at factory"}`, true)}, "slow, chaos"},
		{"an order that failed for us", pizzaConfig(), []teller{tellLine("factory", throttledCall, true), failed}, ""},
		{"an order that succeeded", pizzaConfig(), []teller{tellLine("factory", throttledCall, true), tellLine("http", throttledOrder, true)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, tc.cfg)
			var last pcommon.Map
			for i, tell := range tc.told {
				last = tell(t, h, 1, time.Duration(i)*time.Second)
			}
			h.shutdown(t)
			got := ""
			if why, ok := last.Get(tagReason); ok {
				got = why.Str()
			}
			if _, ok := last.Get(tagChaos); ok {
				got += ", chaos"
			}
			assert.Equal(t, tc.want, got)
		})
	}

	t.Run("it decides no order that waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, pizzaConfig())
			for range 2 {
				failed(t, h, 1, 0)
			}
			failed(t, h, 2, 0)
			tellLine("factory", throttledCall, true)(t, h, 1, 0)
			assert.Empty(t, h.counts(t, "vendor.orders", "vendor.outcome"))
			time.Sleep(4 * time.Second)
			failed(t, h, 1, 0)
			tellLine("factory", throttledCall, true)(t, h, 1, 0)
			time.Sleep(2 * time.Second)
			assert.Equal(t, map[string]int{"own_failure": 3}, h.counts(t, "vendor.orders", "vendor.outcome"), "two of the trace and one of another have settled")
			tellSpan(client, callSpan(500))(t, h, 1, 0)
			assert.Equal(t, map[string]int{"own_failure": 3, "vendor_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
			h.shutdown(t)
		})
	})
}
