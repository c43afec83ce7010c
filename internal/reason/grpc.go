package reason

import (
	"slices"
	"strconv"
	"strings"
)

// OfGRPC maps a gRPC status code to the reason it gives (google.golang.org/grpc/codes; the numbers are part of the
// protocol). OK gives None.
func OfGRPC(code int) Reason {
	switch code {
	case 0:
		return None
	case 4: // DEADLINE_EXCEEDED
		return Timeout
	case 8: // RESOURCE_EXHAUSTED
		return Throttled
	case 14: // UNAVAILABLE
		return Unreachable
	case 7, 16: // PERMISSION_DENIED, UNAUTHENTICATED
		return Unauthorized
	case 3, 5, 6, 9, 10, 11, 1: // INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, CANCELLED
		return Rejected
	}
	return Error // INTERNAL, UNKNOWN, DATA_LOSS, UNIMPLEMENTED and what is not known
}

// grpcCodes are the names that rpc.response.status_code has for gRPC, by number.
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// GRPCCode returns the number of a gRPC status code, told by its name, in whatever case and with underscores or without,
// or by its number; ok is false for what is none.
func GRPCCode(text string) (code int, ok bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, 0 <= n && n < len(grpcCodes)
	}
	plain := strings.ReplaceAll(text, "_", "")
	if strings.EqualFold(plain, "canceled") {
		return 1, true // as Go and Connect spell it
	}
	code = slices.IndexFunc(grpcCodes, func(name string) bool {
		return strings.EqualFold(strings.ReplaceAll(name, "_", ""), plain)
	})
	return code, code >= 0
}
