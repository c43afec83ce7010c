package vendorfailureprocessor

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
)

var (
	_ processor.Traces = (*tracesProcessor)(nil)
	_ processor.Logs   = (*logsProcessor)(nil)
)

// instance is what the instances of both signals have in common: their part in the watch.
type instance struct {
	cfg     *Config
	set     component.TelemetrySettings
	signal  signal
	sharing *sharing

	watch *watch // from Start on
	end   sync.Once
}

// Start takes part in the watch of this processor ID.
func (i *instance) Start(context.Context, component.Host) (err error) {
	if i.watch, err = i.sharing.acquire(i.cfg, i.set); err != nil {
		return err
	}
	i.watch.readiness.expect(i.signal)
	return nil
}

// Shutdown ends the part; the last one to do so ends the watch and counts what still waits.
func (i *instance) Shutdown(context.Context) (err error) {
	if i.watch != nil {
		i.end.Do(func() { err = i.sharing.release(i.cfg) })
	}
	return err
}

// Capabilities says that records are changed: failed ones are tagged.
func (i *instance) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: true}
}

type tracesProcessor struct {
	instance
	next consumer.Traces
}

// ConsumeTraces tags what a vendor broke and hands everything on. What was found counts when the next consumer has
// accepted it: an error of its commits nothing, so a client's retry counts once.
func (p *tracesProcessor) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	if p.watch == nil {
		return p.next.ConsumeTraces(ctx, td)
	}
	found := batches.Get().(*batch)
	defer found.done()
	if err := p.watch.inspectTraces(td, found); err != nil {
		return err
	}
	if err := p.next.ConsumeTraces(ctx, td); err != nil {
		return err
	}
	p.watch.commit(found)
	return nil
}

type logsProcessor struct {
	instance
	next consumer.Logs
}

// ConsumeLogs does for log records what ConsumeTraces does for spans.
func (p *logsProcessor) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	if p.watch == nil {
		return p.next.ConsumeLogs(ctx, ld)
	}
	found := batches.Get().(*batch)
	defer found.done()
	if err := p.watch.inspectLogs(ld, found); err != nil {
		return err
	}
	if err := p.next.ConsumeLogs(ctx, ld); err != nil {
		return err
	}
	p.watch.commit(found)
	return nil
}
