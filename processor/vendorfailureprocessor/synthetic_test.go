package vendorfailureprocessor

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestTestOrder: the span of a test order's step that speaks for a vendor is a synthetic call of that vendor.
func TestTestOrder(t *testing.T) {
	step := func(more ...any) []any {
		return append([]any{"url.full", "https://shop.example.com/api/order", "vendor.name", "pizza-factory", "user_agent.synthetic.type", "test"}, more...)
	}
	for _, tc := range []struct {
		name       string
		attributes []any
		options    []spanOption
		want       string // signal/outcome/reason/synthetic, "" is no call
	}{
		{"it went well", step("http.response.status_code", 200), nil, "traces/success//test"},
		{"it failed", step("http.response.status_code", 200, "vendor.failure.reason", "bad_response"), nil, "traces/failure/bad_response/test"},
		{"its word counts, not the status", step("http.response.status_code", 500, "vendor.failure.reason", "timeout"), nil, "traces/failure/timeout/test"},
		{"it failed, and says not why", step(), []spanOption{failedWith("")}, "traces/failure/error/test"},
		{"a reason that is none", step("vendor.failure.reason", 7), nil, "traces/failure/error/test"},
		{"a bot's", []any{"vendor.name", "pizza-factory", "user_agent.synthetic.type", "bot"}, nil, "traces/success//bot"},
		{"to the vendor's own address: once", append(callSpan(500), step("vendor.failure.reason", "unauthorized")[2:]...), nil, "traces/failure/unauthorized/test"},
		{"another vendor's name", []any{"vendor.name", "bakery", "user_agent.synthetic.type", "test"}, nil, ""},
		{"not synthetic", []any{"vendor.name", "pizza-factory"}, nil, ""},
		{"a step that asked the vendor, and does not speak for it", append(callSpan(500), "user_agent.synthetic.type", "test", "probe.step", "verify"), nil, ""},
		{"no vendor's: ours", []any{"user_agent.synthetic.type", "test"}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			td := ptrace.NewTraces()
			s := addSpan(td, 1, client, tc.attributes, tc.options...)
			before := s.Attributes().AsRaw()
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			h.shutdown(t)
			want := map[string]int{}
			if tc.want != "" {
				want[tc.want] = 1
			}
			assert.Equal(t, want, h.counts(t, "vendor.calls", "vendor.signal", "vendor.outcome", "vendor.failure.reason", "user_agent.synthetic.type"))
			assert.Equal(t, before, s.Attributes().AsRaw(), "nothing is written")
		})
	}

	t.Run("it says nothing of the shop's own order", func(t *testing.T) {
		h := start(t, pizzaConfig())
		td := ptrace.NewTraces()
		addSpan(td, 1, client, step("vendor.failure.reason", "error"))
		addSpan(td, 1, server, orderSpan(500))
		require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
	})
}

// TestTestOrderOfATracedShop: as many failed test orders open an outage as of a shop without traces, also where its own
// calls went well and only the test order knows that what came back is worthless.
func TestTestOrderOfATracedShop(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int // of the shop and its calls
		calls  int // of its own for an order
	}{
		{"not traced", 0, 0},
		{"traced, the vendor fails", 500, 1},
		{"traced, what came back is worthless", 200, 1},
		{"traced, and two calls an order", 200, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			opened := 0
			for run := range 6 {
				at := time.Duration(run) * time.Minute
				td := ptrace.NewTraces()
				for range tc.calls {
					addSpan(td, byte(1+run), client, callSpan(tc.status), endedAt(at))
				}
				if tc.calls > 0 {
					addSpan(td, byte(1+run), server, append(orderSpan(tc.status), "user_agent.original", "otelcol-test-order/1"), endedAt(at))
				}
				require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
				td = ptrace.NewTraces()
				addSpan(td, byte(1+run), client, []any{"vendor.name", "pizza-factory", "user_agent.synthetic.type", "test", "vendor.failure.reason", "bad_response"}, endedAt(at))
				require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
				if opened == 0 && len(h.said("a vendor's outage began")) > 0 {
					opened = run + 1
				}
			}
			h.shutdown(t)
			assert.Equal(t, 3, opened, "the run that opened it")
			for key := range h.counts(t, "vendor.calls", "user_agent.synthetic.type") {
				assert.Equal(t, "test", key, "no customer's call")
			}
		})
	}
}
