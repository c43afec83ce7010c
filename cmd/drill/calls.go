package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// caller is the service that the calls are of.
const caller = "drill"

// calls sends synthetic calls to a vendor, which nobody made: spans like those of a test order's step, which the processor
// takes as calls of the vendor that they name, for no customer.
type calls struct {
	vendor, reason string
	collector      string // OTLP/HTTP, without a path
	access         access
	every          time.Duration
}

// send sends one call that failed, or one that succeeded, and returns when the Collector has
// accepted it.
func (c *calls) send(ctx context.Context, failed bool) error {
	var encoder ptrace.ProtoMarshaler
	body, err := encoder.MarshalTraces(c.trace(time.Now(), failed))
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.collector+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		return err
	}
	maps.Copy(request.Header, c.access.headers)
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := c.access.client.Do(request)
	if err != nil {
		return fmt.Errorf("the Collector does not take synthetic calls: %w%s", err, c.access.remedy(err, 0))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the Collector does not take synthetic calls: %s answers %s: %q%s",
			request.URL.Redacted(), response.Status, answer, c.access.remedy(nil, response.StatusCode))
	}
	return nil
}

func (c *calls) trace(now time.Time, failed bool) ptrace.Traces {
	traces := ptrace.NewTraces()
	resource := traces.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", caller)
	scope := resource.ScopeSpans().AppendEmpty()
	scope.Scope().SetName("github.com/jwtpizza/otelcol-vendorfailure/cmd/drill")
	var id pcommon.TraceID
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()|1) // an id of zeros is none
	span := scope.Spans().AppendEmpty()
	span.SetTraceID(id)
	span.SetSpanID(pcommon.SpanID{7: 1})
	span.SetKind(ptrace.SpanKindClient)
	span.SetName("drill")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-50 * time.Millisecond)))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(now))
	span.Attributes().PutStr("user_agent.synthetic.type", "test")
	span.Attributes().PutStr("vendor.name", c.vendor)
	if failed {
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Attributes().PutStr("vendor.failure.reason", c.reason)
	}
	return traces
}
