package vendorfailureprocessor

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/jwtpizza/otelcol-vendorfailure/processor/vendorfailureprocessor/internal/metadata"
)

// role is what a span or record was taken as: the values of vendor.role.
type role uint8

const (
	roleOrder role = iota
	roleCall
	roleOther
	roleCount
)

var roleNames = [roleCount]string{"order", "call", "other"}

func (r role) String() string { return roleNames[r] }

// readiness tells whether the configuration fits the telemetry: what passes, and what of the configuration has not
// been seen in it.
type readiness struct {
	records metric.Int64Counter
	options [signalCount][roleCount][]metric.AddOption
}

// newReadiness lets all series of vendor.records begin at zero: what never matched is to be seen as a zero.
func newReadiness(telemetry *metadata.TelemetryBuilder) *readiness {
	r := &readiness{records: telemetry.Records}
	for s := range signalCount {
		for as := range roleCount {
			r.options[s][as] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(
				attribute.Stringer("vendor.signal", s),
				attribute.Stringer("vendor.role", as)))}
			r.records.Add(context.Background(), 0, r.options[s][as]...)
		}
	}
	return r
}

// records is how many spans or records a batch has.
type records struct {
	signal signal
	total  int
}

// count counts the records of a batch by what they were taken as.
func (r *readiness) count(b *batch) {
	for as, n := range [roleCount]int{len(b.orders), len(b.calls), b.records.total - len(b.orders) - len(b.calls)} {
		if n > 0 {
			r.records.Add(context.Background(), int64(n), r.options[b.records.signal][as]...)
		}
	}
}
