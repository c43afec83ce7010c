package vendorfailureprocessor

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// requestOf are the attributes that the spans of internal/reason/testdata/clienterrors.tsv have of their request, by
// the names of its column "span".
var requestOf = map[string][]any{
	"http":       {"http.request.method", "POST", "url.full", "http://127.0.0.1:4000/api/order", "server.address", "127.0.0.1", "server.port", 4000},
	"http 200":   {"http.request.method", "POST", "url.full", "http://127.0.0.1:4000/api/order", "server.address", "127.0.0.1", "server.port", 4000, "http.response.status_code", 200},
	"http-old":   {"http.method", "POST", "http.url", "http://127.0.0.1:4000/api/order", "net.peer.name", "127.0.0.1", "net.peer.port", 4000},
	"http-parts": {"http.method", "POST", "http.scheme", "http", "http.target", "/api/order", "net.peer.name", "127.0.0.1", "net.peer.port", 4000},
	"rpc":        {"rpc.system", "grpc", "rpc.service", "shop.Factory", "rpc.method", "Order", "server.address", "127.0.0.1", "server.port", 4000},
	"other":      {"server.address", "127.0.0.1", "server.port", 4000},
}

// TestClientErrors: what each SDK writes of a call without an answer, as the span it writes, and the reason that the
// call is given.
func TestClientErrors(t *testing.T) {
	table, err := os.ReadFile("../../internal/reason/testdata/clienterrors.tsv")
	require.NoError(t, err)
	cfg := pizzaConfig()
	cfg.Vendors[0].Calls.URLs = []string{"http://127.0.0.1:4000"}
	cfg.Vendors[0].Responses = nil
	h := start(t, cfg)
	want, columns := map[string]int{}, 0
	for line := range strings.Lines(string(table)) {
		cell := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case strings.HasPrefix(line, "#") || len(cell) == 1:
			continue
		case columns == 0:
			columns = len(cell)
			continue
		}
		require.Len(t, cell, columns, line)
		sdk, fault, request, errorType, status, exceptionType, exceptionMessage, reason := cell[0], cell[1], cell[2], cell[3], cell[4], cell[5], cell[6], cell[8]
		t.Run(sdk+"/"+fault, func(t *testing.T) {
			require.Contains(t, requestOf, request)
			td := ptrace.NewTraces()
			s := addSpan(td, 1, client, requestOf[request])
			switch errorType {
			case "":
			case "23": // undici has the number of the DOMException
				s.Attributes().PutInt("error.type", 23)
			default:
				s.Attributes().PutStr("error.type", errorType)
			}
			if status != "(unset)" {
				failedWith(status)(s)
			}
			if exceptionType != "" {
				threw(exceptionType, exceptionMessage)(s)
			}
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))

			got := ""
			if v, ok := s.Attributes().Get(tagReason); ok {
				got = v.Str()
			}
			assert.Equal(t, reason, got)
		})
		outcome := "failure/" + reason
		if reason == "" {
			outcome = "success/"
		}
		want[outcome]++
	}
	h.shutdown(t)
	assert.Equal(t, want, h.counts(t, "vendor.calls", "vendor.outcome", "vendor.failure.reason"))
	assert.Greater(t, want["failure/timeout"], 0)
	assert.Greater(t, want["failure/unreachable"], 0)
}
