// Package vendorfailureprocessor finds, in the spans and log records of an order endpoint, the orders and the calls that
// a vendor broke. It tags them with vendor.name and vendor.failure.reason, counts them in metrics of its own, and says
// when a vendor's outage begins and ends and what it cost.
//
// The way of a span or record: processor.go consumes it, target.go, endpoint.go and label.go match it, span.go and
// record.go (with body.go) read it, inspect.go judges and tags it in the words of judge.go and rules.go. When the next
// consumer has accepted it, watch.go commits it: memory.go remembers its trace, metrics.go counts it, outage.go (with
// tally.go, window.go and clock.go) watches for outages, and announce.go tells of them. readiness.go tells what of the
// configuration has not been seen.
package vendorfailureprocessor

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// NewFactory returns a factory for the vendor_failure processor.
func NewFactory() processor.Factory {
	return newFactory(&sharing{watches: map[*Config]*sharedWatch{}})
}

func newFactory(shared *sharing) processor.Factory {
	part := func(s signal, set processor.Settings, cfg component.Config) instance {
		return instance{cfg: cfg.(*Config), set: set.TelemetrySettings, signal: s, sharing: shared}
	}
	return processor.NewFactory(
		metadata.Type,
		func() component.Config { return newDefaultConfig() },
		processor.WithTraces(func(_ context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
			return &tracesProcessor{instance: part(traces, set, cfg), next: next}, nil
		}, metadata.TracesStability),
		processor.WithLogs(func(_ context.Context, set processor.Settings, cfg component.Config, next consumer.Logs) (processor.Logs, error) {
			return &logsProcessor{instance: part(logs, set, cfg), next: next}, nil
		}, metadata.LogsStability))
}
