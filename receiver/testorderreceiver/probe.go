package testorderreceiver

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"
)

var (
	_ receiver.Metrics = (*instance)(nil)
	_ receiver.Traces  = (*instance)(nil)
	_ receiver.Logs    = (*instance)(nil)
)

// listeners are who is told of runs, for each signal.
type listeners struct {
	metrics consumer.Metrics
	traces  consumer.Traces
	logs    consumer.Logs
}

// instance is the part of one signal in the probe of its ID.
type instance struct {
	cfg     *Config
	set     receiver.Settings
	sharing *sharing
	next    listeners

	probe *probe // from Start on
}

// Start begins the test orders of this ID, or has those that another signal's instance began told to this one as well.
func (i *instance) Start(ctx context.Context, host component.Host) (err error) {
	i.probe, err = i.sharing.join(ctx, host, i)
	return err
}

// Shutdown ends the test orders and waits. The first one of the signals' instances to be shut down does so for all:
// then every pipeline still takes what is told of the run that it ends, later perhaps not.
func (i *instance) Shutdown(ctx context.Context) error {
	if i.probe != nil {
		i.sharing.leave(i.cfg, i.probe)
		return i.probe.end(ctx)
	}
	return nil
}

// sharing finds the one probe of all instances with a configuration, which is one receiver ID.
type sharing struct {
	mu     sync.Mutex
	probes map[*Config]*probe
}

func (s *sharing) join(ctx context.Context, host component.Host, i *instance) (*probe, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.probes[i.cfg]
	if p != nil {
		p.teller.listen(i.next)
		return p, nil
	}
	p, err := newProbe(ctx, host, i.set, i.cfg)
	if err != nil {
		return nil, err
	}
	s.probes[i.cfg] = p
	p.teller.listen(i.next)
	p.begin()
	return p, nil
}

func (s *sharing) leave(cfg *Config, p *probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.probes, func(c *Config, of *probe) bool { return c == cfg && of == p })
}

// A probe places test orders, one at a time.
type probe struct {
	interval, timeout time.Duration
	// always is how many steps always run, alwaysWithin how long each of them may take. It is set aside, so that a run
	// with them ends within its timeout too.
	always       int
	alwaysWithin time.Duration
	perDay       int

	steps     []*step
	clients   clients
	userAgent string
	logger    *zap.Logger
	teller    *teller

	stop, quit context.CancelFunc
	running    sync.WaitGroup
}

const maxAlwaysWithin = 5 * time.Second

func newProbe(ctx context.Context, host component.Host, set receiver.Settings, cfg *Config) (*probe, error) {
	// Steps keep what they know from run to run, the vendor's keys: each probe has its own.
	steps, faults := newSteps(cfg)
	if len(faults) > 0 {
		return nil, faults[0]
	}
	// The Collector's own tracing would put its trace in the place of the run's.
	own := set.TelemetrySettings
	own.TracerProvider = nil
	// Each request has a connection of its own, as a new customer's: one that was kept would not notice that nobody can
	// make one.
	client := cfg.HTTP
	client.DisableKeepAlives = true //lint:ignore SA1019 what it is to be replaced by can only be written in YAML
	forSteps, err := client.ToClient(ctx, host.GetExtensions(), own)
	if err != nil {
		return nil, err
	}
	bare := client
	bare.Auth, bare.Headers = configoptional.None[configauth.Config](), nil
	forKeys, err := bare.ToClient(ctx, host.GetExtensions(), own)
	if err != nil {
		return nil, err
	}
	p := &probe{
		interval:  cfg.Interval,
		timeout:   cfg.Timeout,
		perDay:    cfg.MaxOrdersPerDay,
		steps:     steps,
		clients:   clients{steps: forSteps, keys: forKeys},
		userAgent: "otelcol-test-order/" + set.BuildInfo.Version,
		logger:    set.Logger,
		teller:    newTeller(set, cfg, steps),
	}
	for _, s := range steps {
		if s.always {
			p.always++
		}
	}
	if p.always > 0 {
		p.alwaysWithin = min(maxAlwaysWithin, cfg.Timeout/5, cfg.Timeout/time.Duration(2*p.always))
	}
	return p, nil
}

// begin starts the goroutines of the probe.
func (p *probe) begin() {
	var stop, quit context.Context
	stop, p.stop = context.WithCancel(context.Background())
	quit, p.quit = context.WithCancel(context.Background())
	p.logger.Info("When a step of the test order fails, it is the failure of whom it speaks for", p.speakers()...)
	if day := int(24 * time.Hour / p.interval); day > p.perDay {
		p.logger.Warn("There will be more turns for test orders a day than max_orders_per_day allows. When that many were placed, none is until 00:00 UTC.",
			zap.Int("max_orders_per_day", p.perDay), zap.Int("turns", day))
	}
	turns := make(chan turn)
	p.running.Go(func() { p.repeat(stop, quit, turns) })
	p.running.Go(func() { p.teller.tell(turns) })
}

// speakers tells for each step whom it speaks for.
func (p *probe) speakers() (fields []zap.Field) {
	for _, s := range p.steps {
		whom := s.vendor
		if whom == "" {
			whom = "ourselves"
		}
		fields = append(fields, zap.String(s.name, whom))
	}
	return fields
}

// A turn is what came of one or more times at which a run was due: a run, or how many could not start.
type turn struct {
	run    *run
	missed int
}

// repeat performs a run at each turn and hands it on.
func (p *probe) repeat(stop, quit context.Context, turns chan<- turn) {
	defer close(turns)
	schedule, orders := newSchedule(p.interval), budget{perDay: p.perDay}
	for {
		missed, ok := schedule.wait(stop)
		if missed > 0 {
			turns <- turn{missed: missed}
		}
		if !ok {
			return
		}
		ok, first := orders.take()
		if first {
			p.logger.Error("max_orders_per_day is reached. No test order is placed until 00:00 UTC.", zap.Int("max_orders_per_day", p.perDay))
		}
		if !ok {
			turns <- turn{missed: 1}
			continue
		}
		turns <- turn{run: p.perform(stop, quit)}
	}
}

// end ends the run in flight, lets it make the steps that always run, has everything told, and waits for that. When ctx
// ends first, it no longer waits for answers, and for pipelines only so long as one of them may take.
func (p *probe) end(ctx context.Context) error {
	p.stop()
	ended := make(chan struct{})
	go func() {
		p.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		p.quit()
	}
	select {
	case <-ended:
		return nil
	case <-time.After(tellsWithin):
		return errors.New("a pipeline did not take what the test order tells; it is no longer waited for")
	}
}
