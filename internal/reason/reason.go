// Package reason has the words for why a vendor call failed, the values of vendor.failure.reason, and what HTTP, gRPC
// and the errors of clients say in those words. The processor and the test order judge by it alike.
package reason

import "slices"

// Reason says why a vendor call failed.
type Reason uint8

const (
	None         Reason = iota // it did not fail
	Error                      // the vendor answered that it failed
	Timeout                    // no answer in time
	Slow                       // a success that came too late
	Throttled                  // too many calls of ours
	Unreachable                // no answer: refused, reset, DNS, TLS
	Unauthorized               // our credentials
	Rejected                   // this request
	BadResponse                // a success that is not valid
	Count                      // how many there are, None included
)

var names = [Count]string{
	"", "error", "timeout", "slow", "throttled", "unreachable", "unauthorized", "rejected", "bad_response",
}

// String returns the value of vendor.failure.reason, "" for None.
func (r Reason) String() string { return names[r] }

// Named returns the reason that has a name; ok is false where none has.
func Named(name string) (r Reason, ok bool) {
	i := slices.Index(names[:], name)
	return Reason(max(i, 0)), i > 0
}

// Names are the values of vendor.failure.reason.
func Names() []string { return slices.Clone(names[None+1:]) }

// OfStatus maps an HTTP status code (RFC 9110, section 15) to the reason it gives, None below 400.
func OfStatus(code int) Reason {
	switch {
	case code < 400:
		return None
	case code == 408, code == 504:
		return Timeout
	case code == 429:
		return Throttled
	case code == 401, code == 403:
		return Unauthorized
	case code < 500:
		return Rejected
	}
	return Error
}
