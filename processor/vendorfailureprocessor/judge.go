package vendorfailureprocessor

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// reason says why a vendor call failed: the values of vendor.failure.reason.
type reason uint8

const (
	reasonNone reason = iota // it did not fail
	reasonError
	reasonTimeout
	reasonSlow
	reasonThrottled
	reasonUnreachable
	reasonUnauthorized
	reasonRejected
	reasonBadResponse
	reasonCount
)

var reasonNames = []string{
	"", "error", "timeout", "slow", "throttled", "unreachable", "unauthorized", "rejected", "bad_response",
}

func (r reason) String() string { return reasonNames[r] }

func reasonOf(name string) (reason, bool) {
	i := slices.Index(reasonNames, name)
	return reason(max(i, 0)), i > 0
}

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
	reason reason // reasonNone: there is no fault
	chaos  bool
}

// or returns f, or g where there is no f. Where both are, the one that failed first is told; a chaos that either shows
// of the same vendor stays.
func (f fault) or(g fault) fault {
	switch {
	case g.reason == reasonNone:
		return f
	case f.reason == reasonNone:
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
		if f.reason != reasonNone {
			return f
		}
	}
	return fault{}
}

// callOf returns the failed call to a vendor, as far as is known.
func (e *evidence) callOf(vendor int16, s signal) fault {
	for _, f := range [...]fault{e.calls[s], e.calls[1-s]} {
		if f.reason != reasonNone && f.vendor == vendor {
			return f
		}
	}
	return fault{}
}

// reasonOfStatus maps an HTTP status code to the reason it gives, reasonNone below 400.
func reasonOfStatus(code int) reason {
	switch {
	case code < 400:
		return reasonNone
	case code == 408, code == 504:
		return reasonTimeout
	case code == 429:
		return reasonThrottled
	case code == 401, code == 403:
		return reasonUnauthorized
	case code < 500:
		return reasonRejected
	}
	return reasonError
}

// reasonOfGRPC maps a gRPC status code to the reason it gives (google.golang.org/grpc/codes; the numbers are part of
// the protocol). OK gives none.
func reasonOfGRPC(code int) reason {
	switch code {
	case 0:
		return reasonNone
	case 4: // DEADLINE_EXCEEDED
		return reasonTimeout
	case 8: // RESOURCE_EXHAUSTED
		return reasonThrottled
	case 14: // UNAVAILABLE
		return reasonUnreachable
	case 7, 16: // PERMISSION_DENIED, UNAUTHENTICATED
		return reasonUnauthorized
	case 3, 5, 6, 9, 10, 11, 1: // INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, CANCELLED
		return reasonRejected
	}
	return reasonError // INTERNAL, UNKNOWN, DATA_LOSS, UNIMPLEMENTED and what is not known
}

// grpcCodes are the names that rpc.response.status_code has for gRPC.
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// namesTimeout tells whether the text of an error names a time-out, as in UND_ERR_HEADERS_TIMEOUT, ETIMEDOUT,
// SocketTimeoutException, "timed out", "context deadline exceeded".
func namesTimeout(text string) bool {
	text = strings.ToLower(text)
	return containsAny(text, "timeout", "time-out", "timed out", "timedout", "deadline exceeded", "deadlineexceeded", "deadline_exceeded")
}

// namesNetwork tells whether the text of an error names a fault before any answer: refused, reset, DNS, TLS.
func namesNetwork(text string) bool {
	text = strings.ToLower(text)
	return containsAny(text, "econnrefused", "econnreset", "enotfound", "eai_again", "epipe", "ehostunreach", "enetunreach",
		"und_err_socket", "connection refused", "connection reset", "connectexception", "connecterror", "connectionerror",
		"unknownhost", "no such host", "name or service not known", "socket hang up", "other side closed", "fetch failed",
		"certificate", "tls", "ssl")
}

func containsAny(text string, names ...string) bool {
	for _, name := range names {
		if strings.Contains(text, name) {
			return true
		}
	}
	return false
}
