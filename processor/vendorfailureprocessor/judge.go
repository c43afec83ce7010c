package vendorfailureprocessor

import (
	"cmp"
	"slices"

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

// faults are what one signal tells of a trace: of each vendor the first, the one that failed first in front.
type faults []fault

// with returns the faults and one more. They are shared between batches and what is remembered, so none is changed.
func (fs faults) with(f fault) faults {
	if f.reason == reason.None {
		return fs
	}
	all := slices.Clone(fs)
	if i := slices.IndexFunc(all, func(g fault) bool { return g.vendor == f.vendor }); i >= 0 {
		if all[i] = all[i].or(f); all[i] == fs[i] {
			return fs
		}
	} else {
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	return all
}

// evidence is what one trace holds against vendors: their first failed calls, and their first signs in an answer or an
// exception, as each signal tells them.
type evidence struct {
	calls, signs [signalCount]faults
}

func (e *evidence) add(more *evidence) {
	for s := range signalCount {
		for _, f := range more.calls[s] {
			e.calls[s] = e.calls[s].with(f)
		}
		for _, f := range more.signs[s] {
			e.signs[s] = e.signs[s].with(f)
		}
	}
}

// blame returns the fault that made an order of this trace fail, as far as is known. A failed call tells more than
// what an exception or an answer says of it, and the signal that recorded the order more than the other.
func (e *evidence) blame(s signal) fault {
	for _, fs := range [...]faults{e.calls[s], e.calls[1-s], e.signs[s], e.signs[1-s]} {
		if len(fs) > 0 {
			f := fs[0]
			f.chaos = e.showsChaos(f.vendor)
			return f
		}
	}
	return fault{}
}

// callOf returns the failed call to a vendor, as far as is known.
func (e *evidence) callOf(vendor int16, s signal) fault {
	for _, f := range slices.Concat(e.calls[s], e.calls[1-s]) {
		if f.vendor == vendor {
			return f
		}
	}
	return fault{}
}

// showsChaos tells whether anything that is known against a vendor shows chaos.
func (e *evidence) showsChaos(vendor int16) bool {
	for s := range signalCount {
		for _, fs := range [...]faults{e.calls[s], e.signs[s]} {
			for _, f := range fs {
				if f.vendor == vendor && f.chaos {
					return true
				}
			}
		}
	}
	return false
}
