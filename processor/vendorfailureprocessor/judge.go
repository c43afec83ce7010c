package vendorfailureprocessor

import (
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
	chaos  bool          // without a fault: an answer that came as a success shows it
}

// isOfVendor tells whether two faults are of the same vendor.
func (f fault) isOfVendor(g fault) bool { return f.vendor == g.vendor }

// first returns the one of two faults of a vendor that failed first; chaos that either shows stays.
func (f fault) first(g fault) fault {
	chaos := f.chaos || g.chaos
	if f.reason == reason.None || g.reason != reason.None && g.at < f.at {
		f = g
	}
	f.chaos = chaos
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

// sign is what one signal tells against a vendor: that a call to it failed, or that an answer or an exception says so; or,
// without a reason, that there is chaos in it.
type sign struct {
	fault
	signal signal
	isCall bool
}

// evidence is what one trace holds against vendors: of each, the first failed call and the first other sign that each
// signal tells.
type evidence []sign

// add takes in a sign.
func (e *evidence) add(more sign) {
	for i := range *e {
		if s := &(*e)[i]; s.vendor == more.vendor && s.signal == more.signal && s.isCall == more.isCall {
			s.fault = s.first(more.fault)
			return
		}
	}
	*e = append(*e, more)
}

func (e *evidence) addAll(more evidence) {
	for _, s := range more {
		e.add(s)
	}
}

// blame returns the fault that made an order of this trace fail, as far as is known. A failed call tells more than
// what an exception or an answer says of it, and the signal that recorded the order more than the other; among equals
// it is the one that failed first.
func (e evidence) blame(of signal) fault {
	tells := func(s *sign) (rank int) {
		if s.isCall {
			rank += 2
		}
		if s.signal == of {
			rank++
		}
		return rank
	}
	var most *sign
	for i := range e {
		s := &e[i]
		if s.reason == reason.None {
			continue
		}
		if most == nil || tells(s) > tells(most) || tells(s) == tells(most) && s.at < most.at {
			most = s
		}
	}
	if most == nil {
		return fault{}
	}
	f := most.fault
	f.chaos = e.showsChaos(f.vendor)
	return f
}

// brokenBy returns the index of the suspect that broke the answer of an order: of those whose calls are known to have
// failed one whose own answer was broken, or else any. Where none is known it is -1.
func (e evidence) brokenBy(of signal, suspects []fault) int {
	var failed, broken evidence
	for _, s := range e {
		if s.isCall && s.reason != reason.None && slices.ContainsFunc(suspects, s.isOfVendor) {
			if failed = append(failed, s); s.reason == reason.BadResponse {
				broken = append(broken, s)
			}
		}
	}
	if len(broken) > 0 {
		failed = broken
	}
	if len(failed) == 0 {
		return -1
	}
	return slices.IndexFunc(suspects, failed.blame(of).isOfVendor)
}

// callReason returns why the call to a vendor failed, as far as is known.
func (e evidence) callReason(vendor int16, of signal) (why reason.Reason) {
	for _, s := range e {
		if s.isCall && s.vendor == vendor && s.reason != reason.None && (why == reason.None || s.signal == of) {
			why = s.reason
		}
	}
	return why
}

// showsChaos tells whether anything that is known against a vendor shows chaos.
func (e evidence) showsChaos(vendor int16) bool {
	return slices.ContainsFunc(e, func(s sign) bool { return s.vendor == vendor && s.chaos })
}

// showsChaosBy tells whether anything that one signal tells of a vendor shows chaos.
func (e evidence) showsChaosBy(of signal, vendor int16) bool {
	return slices.ContainsFunc(e, func(s sign) bool { return s.signal == of && s.vendor == vendor && s.chaos })
}
