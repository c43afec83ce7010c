package vendorfailureprocessor

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestRecordsByRole: every span and record counts as what it was taken as, and all series are there from the start.
func TestRecordsByRole(t *testing.T) {
	h := start(t, pizzaConfig())
	assert.Len(t, h.points(t, "vendor.records"), 6, "two signals, three roles, before anything came")
	assert.Empty(t, h.counts(t, "vendor.records"))

	h.replay(t, open(t, "healthy"))
	h.shutdown(t)
	assert.Equal(t, map[string]int{
		"traces/order": 72, "traces/call": 60, "traces/other": h.spans.SpanCount() - 132,
		"logs/order": 72, "logs/call": 60, "logs/other": h.lines.LogRecordCount() - 132,
	}, h.counts(t, "vendor.records", "vendor.signal", "vendor.role"))
}

// TestRefusedRecordsDoNotCount: what the next consumer refuses will come again.
func TestRefusedRecordsDoNotCount(t *testing.T) {
	refuse := errors.New("try again")
	h := &harness{tel: componenttest.NewTelemetry()}
	noTraces, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error { return refuse })
	require.NoError(t, err)
	noLogs, err := consumer.NewLogs(func(context.Context, plog.Logs) error { return refuse })
	require.NoError(t, err)
	h.open(t, NewFactory(), pizzaConfig(), noTraces, noLogs)
	defer h.shutdown(t)
	td, ld := ptrace.NewTraces(), plog.NewLogs()
	addSpan(td, 1, server, orderSpan(200))
	addRecord(ld, "x")
	require.ErrorIs(t, h.traces.ConsumeTraces(context.Background(), td), refuse)
	require.ErrorIs(t, h.logs.ConsumeLogs(context.Background(), ld), refuse)
	assert.Empty(t, h.counts(t, "vendor.records"))
}
