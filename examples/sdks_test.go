package examples

import (
	"bytes"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// sdkShop is the configuration of the shop in testdata/sdks. As Go's otelgrpc tells a server's address and not its name,
// the address is there as well.
const sdkShop = `
processors:
  vendor_failure:
    orders: [{method: POST, route: "/api/carts/{cart}/checkout"}]
    vendors:
      - name: payments
        calls: {urls: [http://localhost:4110/v1/charges, http://localhost:4119/v1/charges, http://payments.invalid/v1/charges]}
      - name: tax
        calls: {urls: [localhost:4111/grpc.health.v1.Health, localhost:4118/grpc.health.v1.Health, 127.0.0.1:4111/grpc.health.v1.Health]}
`

// TestSDKs: seventeen orders of a shop as real SDKs tell of them: each fault once, by HTTP and by gRPC.
func TestSDKs(t *testing.T) {
	story := []struct{ what, ended string }{
		{"nothing", "success"},
		{"payments answers 500", "payments error"},
		{"payments answers 402, and so does the shop", "rejected"},
		{"payments answers 429", "payments throttled"},
		{"payments resets the connection", "payments unreachable"},
		{"payments refuses the connection", "payments unreachable"},
		{"payments has no address", "payments unreachable"},
		{"payments does not answer in time", "payments timeout"},
		{"tax answers UNAVAILABLE", "tax unreachable"},
		{"tax answers INTERNAL", "tax error"},
		{"tax answers INVALID_ARGUMENT", "tax rejected"},
		{"tax answers RESOURCE_EXHAUSTED", "tax throttled"},
		{"tax answers UNAUTHENTICATED", "tax unauthorized"},
		{"tax does not answer in time", "tax timeout"},
		{"tax refuses the connection", "tax unreachable"},
		{"a fault of the shop's own", "own_failure"},
		{"nothing", "success"},
	}
	for _, sdk := range []string{"node-undici", "node-http", "node-v0.49", "go", "go-v0.49"} {
		t.Run(sdk, func(t *testing.T) {
			s := newShop(t, []byte(sdkShop))
			file, err := os.ReadFile(filepath.Join(root, "testdata/sdks", sdk+".jsonl"))
			require.NoError(t, err)
			for line := range bytes.Lines(file) {
				var decoder ptrace.JSONUnmarshaler
				td, err := decoder.UnmarshalTraces(line)
				require.NoError(t, err)
				s.send(td)
			}
			s.close()

			var orders []ptrace.Span
			for _, td := range s.spans.AllTraces() {
				for _, rs := range td.ResourceSpans().All() {
					for _, ss := range rs.ScopeSpans().All() {
						for _, span := range ss.Spans().All() {
							if span.Kind() == ptrace.SpanKindServer {
								orders = append(orders, span)
							}
						}
					}
				}
			}
			slices.SortFunc(orders, func(a, b ptrace.Span) int { return cmp.Compare(a.StartTimestamp(), b.StartTimestamp()) })
			require.Len(t, orders, len(story))
			ended := map[string]int{}
			for n, order := range story {
				tag := ""
				if vendor, ok := orders[n].Attributes().Get("vendor.name"); ok {
					reason, _ := orders[n].Attributes().Get("vendor.failure.reason")
					tag = vendor.Str() + " " + reason.Str()
				}
				switch order.ended {
				case "success", "rejected", "own_failure":
					ended[order.ended]++
					assert.Empty(t, tag, order.what)
				default:
					ended["vendor_failure "+order.ended]++
					// Some spans of calls end after the order's, and come later: then it is counted right, and not tagged.
					if tag != "" {
						assert.Equal(t, order.ended, tag, order.what)
					}
				}
			}
			assert.Equal(t, ended, toInt(points[int64](t, s.tel, "vendor.orders", "vendor.outcome", "vendor.name", "vendor.failure.reason")))
			assert.Equal(t, []string{"checkout"}, slices.Collect(maps.Keys(points[int64](t, s.tel, "vendor.orders", "vendor.caller"))))
		})
	}
}
