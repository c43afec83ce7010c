// Package testorderreceiver places a real order every minute, checks what came back, and tells in metrics, traces and
// logs whether it worked and, if not, at which step and why.
//
// The way of a run: probe.go starts it at its time (schedule.go), run.go makes its steps (step.go, with the templates of
// template.go), each a request (request.go) or the verification of a token (token.go), and tell.go tells of it.
package testorderreceiver

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// NewFactory returns a factory for the test_order receiver.
func NewFactory() receiver.Factory {
	return newFactory(&sharing{probes: map[*Config]*probe{}})
}

func newFactory(shared *sharing) receiver.Factory {
	create := func(set receiver.Settings, cfg component.Config, next listeners) (*instance, error) {
		return &instance{cfg: cfg.(*Config), set: set, sharing: shared, next: next}, nil
	}
	return receiver.NewFactory(
		metadata.Type,
		func() component.Config { return newDefaultConfig() },
		receiver.WithMetrics(func(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			return create(set, cfg, listeners{metrics: next})
		}, metadata.MetricsStability),
		receiver.WithTraces(func(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
			return create(set, cfg, listeners{traces: next})
		}, metadata.TracesStability),
		receiver.WithLogs(func(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
			return create(set, cfg, listeners{logs: next})
		}, metadata.LogsStability))
}
