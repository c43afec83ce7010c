package vendorfailureprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// announcer tells of outages: a line of the Collector's log for each opening and closing, gauges while they last.
type announcer struct {
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	vendors   *vendorNames
	plans     map[string]plan // by vendor
	impact    ImpactConfig
	outages   *outages

	lostValue metric.Registration // nil where the configuration does not say how to read a value
}

func newAnnouncer(set component.TelemetrySettings, telemetry *metadata.TelemetryBuilder, cfg *Config, vendors *vendorNames) (*announcer, error) {
	a := &announcer{logger: set.Logger, telemetry: telemetry, vendors: vendors, plans: newPlans(cfg), impact: cfg.Impact}
	a.outages = newOutages(cfg.Outage, len(cfg.Vendors), a.announce)
	a.outages.appeared = a.begin
	for v := range cfg.Vendors {
		a.begin(int16(v))
	}
	return a, a.observe(set)
}

// begin lets the count of a vendor's outages begin at zero.
func (a *announcer) begin(v int16) {
	for _, chaos := range []bool{false, true} {
		a.telemetry.Outages.Add(context.Background(), 0, a.chaos(v, chaos))
	}
}

func (a *announcer) vendor(v int16) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("vendor.name", a.vendors.of(v))))
}

func (a *announcer) chaos(v int16, chaos bool) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("vendor.name", a.vendors.of(v)), attribute.Bool("vendor.failure.chaos", chaos)))
}

// observe registers the gauges.
func (a *announcer) observe(set component.TelemetrySettings) error {
	for _, register := range []func() error{
		func() error {
			return a.telemetry.RegisterOutageCallback(a.each(func(out *outage) (int64, bool) { return number(out != nil), true }))
		},
		func() error {
			return a.telemetry.RegisterOutageOrdersCallback(a.each(func(out *outage) (int64, bool) {
				if out == nil {
					return 0, true
				}
				return int64(out.orders()), true
			}))
		},
		func() error {
			return a.telemetry.RegisterOutageUsersCallback(a.each(func(out *outage) (int64, bool) {
				if out == nil {
					return 0, len(a.impact.User) > 0
				}
				n, named, _ := out.users()
				return int64(n), named
			}))
		},
		func() error {
			return a.telemetry.RegisterPlannedCallback(func(_ context.Context, o metric.Int64Observer) error {
				for v, name := range a.vendors.all() {
					_, on := a.plans[name].at(time.Now())
					o.Observe(number(on), a.vendor(int16(v)))
				}
				return nil
			})
		},
		func() error { return a.observeValue(set) },
	} {
		if err := register(); err != nil {
			return err
		}
	}
	return nil
}

// each makes a callback that observes every vendor's present outage, nil for none.
func (a *announcer) each(value func(out *outage) (int64, bool)) metric.Int64Callback {
	return func(_ context.Context, o metric.Int64Observer) error {
		a.outages.mu.Lock()
		defer a.outages.mu.Unlock()
		for v := range a.outages.vendors {
			if n, told := value(a.outages.vendors[v].outage); told {
				o.Observe(n, a.vendor(int16(v)))
			}
		}
		return nil
	}
}

// observeValue registers vendor.outage.value, whose unit is the configuration's.
func (a *announcer) observeValue(set component.TelemetrySettings) error {
	if len(a.impact.Value) == 0 {
		return nil
	}
	meter := metadata.Meter(set)
	gauge, err := meter.Float64ObservableGauge("vendor.outage.value",
		metric.WithDescription("Value of the customers' orders lost in the vendor's present outage, 0 outside one; absent where nothing tells it. [Alpha]"),
		metric.WithUnit("{"+a.impact.Unit+"}"))
	if err != nil {
		return err
	}
	a.lostValue, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		a.outages.mu.Lock()
		defer a.outages.mu.Unlock()
		for v := range a.outages.vendors {
			value, told := 0.0, true
			if out := a.outages.vendors[v].outage; out != nil {
				value, told = out.value()
			}
			if told {
				o.ObserveFloat64(gauge, value, a.vendor(int16(v)))
			}
		}
		return nil
	}, gauge)
	return err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// close takes the gauges back. What was an outage is none of a later processor's.
func (a *announcer) close() error {
	a.telemetry.Shutdown()
	if a.lostValue == nil {
		return nil
	}
	return a.lostValue.Unregister()
}

// announce writes the line of an opening or a closing.
func (a *announcer) announce(c outageChange) {
	out, most := c.outage, c.outage.leading()
	fields := []zap.Field{
		zap.String("vendor.name", a.vendors.of(c.vendor)),
		zap.String("vendor.outage.since", utc(out.since)),
		zap.Float64("vendor.outage.detection_delay", seconds(out.since, out.known)),
		zap.Int("vendor.outage.orders", out.orders()),
	}
	if n, named, exact := out.users(); named {
		fields = append(fields, zap.Int("vendor.outage.users", n))
		if !exact {
			fields = append(fields, zap.Bool("vendor.outage.users_at_least", true))
		}
	}
	if value, told := out.value(); told {
		fields = append(fields, zap.Float64("vendor.outage.value", value), zap.String("vendor.outage.value_unit", a.impact.Unit))
	}
	reasons := map[string]int{}
	for why, n := range most.reasons {
		if n > 0 {
			reasons[reason.Reason(why).String()] = n
		}
	}
	fields = append(fields,
		zap.Any("vendor.failure.reasons", reasons),
		zap.Bool("vendor.failure.chaos", out.chaos))
	// Of a vendor that rejects everybody nothing is told as failed.
	last := out.known
	if most.failures > 0 {
		last = most.last
		fields = append(fields,
			zap.String("vendor.outage.first_failure", utc(most.first)),
			zap.String("vendor.outage.last_failure", utc(most.last)))
	}
	for _, at := range [...]pcommon.Timestamp{out.since, out.known} {
		if window, on := a.plans[a.vendors.of(c.vendor)].at(at.AsTime()); on {
			fields = append(fields, zap.String("vendor.planned.note", window.Note))
			break
		}
	}
	if len(most.traces) > 0 {
		ids := make([]string, len(most.traces))
		for i, id := range most.traces {
			ids[i] = id.String()
		}
		fields = append(fields, zap.Strings("vendor.outage.traces", ids))
	}

	if c.opened {
		a.telemetry.Outages.Add(context.Background(), 1, a.chaos(c.vendor, out.chaos))
		if out.fromStart {
			fields = append(fields, zap.String("vendor.outage.note", "nothing but failure was seen since this processor's start: the outage may be older"))
		}
		a.logger.Warn("a vendor's outage began", append([]zap.Field{zap.String("event.name", "vendor.outage.start")}, fields...)...)
		return
	}
	a.logger.Info("a vendor's outage is over", append([]zap.Field{
		zap.String("event.name", "vendor.outage.end"),
		zap.Float64("vendor.outage.duration", seconds(out.since, last)),
		zap.String("vendor.outage.recovered", utc(c.at)),
	}, fields...)...)
}

// seconds is the unit of durations in lines, as of those in metrics.
func seconds(from, to pcommon.Timestamp) float64 {
	return time.Duration(to - from).Seconds()
}

// utc writes a time as incident reports have it, without a doubt about its zone.
func utc(t pcommon.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339Nano) }
