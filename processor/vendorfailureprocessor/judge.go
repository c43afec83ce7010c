package vendorfailureprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// outcome says how a call or an order ended: the values of vendor.outcome.
type outcome uint8

const (
	success outcome = iota
	failure         // of a call
	vendorFailure
	ownFailure
	rejected
	outcomeCount
)

var outcomeNames = [outcomeCount]string{"success", "failure", "vendor_failure", "own_failure", "rejected"}

func (o outcome) String() string { return outcomeNames[o] }

// noVendor is the index of no vendor.
const noVendor = -1

// fault is one sign that a vendor failed.
type fault struct {
	at     pcommon.Timestamp // the end of the call, or the time of the record
	vendor int16
	reason reason.Reason // reason.None: there is no fault
	chaos  bool
}

// or returns f, or g where there is no f. Where both are, the one that failed first is told; a chaos that either shows
// of the same vendor stays.
func (f fault) or(g fault) fault {
	switch {
	case g.reason == reason.None:
		return f
	case f.reason == reason.None:
		return g
	}
	if f.vendor == g.vendor {
		f.chaos = f.chaos || g.chaos
		g.chaos = f.chaos
	}
	if g.at < f.at {
		return g
	}
	return f
}

// signal is the kind of telemetry that told of something: the values of vendor.signal.
type signal uint8

const (
	traces signal = iota
	logs
	signalCount
)

func (s signal) String() string {
	if s == traces {
		return "traces"
	}
	return "logs"
}

// evidence is what one trace holds against vendors: its first failed call, and the first sign in an answer or an
// exception, as each signal tells it.
type evidence struct {
	calls, signs [signalCount]fault
}

func (e *evidence) add(more *evidence) {
	for s := range signalCount {
		e.calls[s] = e.calls[s].or(more.calls[s])
		e.signs[s] = e.signs[s].or(more.signs[s])
	}
}

// blame returns the fault that made an order of this trace fail, as far as is known. A failed call tells more than
// what an exception or an answer says of it, and the signal that recorded the order more than the other.
func (e *evidence) blame(s signal) fault {
	for _, f := range [...]fault{e.calls[s], e.calls[1-s], e.signs[s], e.signs[1-s]} {
		if f.reason != reason.None {
			return f
		}
	}
	return fault{}
}

// callOf returns the failed call to a vendor, as far as is known.
func (e *evidence) callOf(vendor int16, s signal) fault {
	for _, f := range [...]fault{e.calls[s], e.calls[1-s]} {
		if f.reason != reason.None && f.vendor == vendor {
			return f
		}
	}
	return fault{}
}
