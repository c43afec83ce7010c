package reason

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNames(t *testing.T) {
	assert.Equal(t, []string{"error", "timeout", "slow", "throttled", "unreachable", "unauthorized", "rejected", "bad_response"}, Names())
	for r := None + 1; r < Count; r++ {
		named, ok := Named(r.String())
		assert.True(t, ok)
		assert.Equal(t, r, named)
	}
	for _, name := range []string{"", "Error", "none"} {
		_, ok := Named(name)
		assert.False(t, ok, "%q", name)
	}
}

func TestOfStatus(t *testing.T) {
	for _, tc := range []struct {
		from, to int
		want     Reason
	}{
		{0, 399, None},
		{400, 400, Rejected},
		{401, 401, Unauthorized},
		{402, 402, Rejected},
		{403, 403, Unauthorized},
		{404, 407, Rejected},
		{408, 408, Timeout},
		{409, 428, Rejected},
		{429, 429, Throttled},
		{430, 499, Rejected},
		{500, 503, Error},
		{504, 504, Timeout},
		{505, 599, Error},
	} {
		for status := tc.from; status <= tc.to; status++ {
			assert.Equal(t, tc.want, OfStatus(status), "%d", status)
		}
	}
}

// Every code of google.golang.org/grpc/codes, by number and name.
func TestOfGRPC(t *testing.T) {
	for code, tc := range []struct {
		name string
		want Reason
	}{
		{"OK", None},
		{"CANCELLED", Rejected},
		{"UNKNOWN", Error},
		{"INVALID_ARGUMENT", Rejected},
		{"DEADLINE_EXCEEDED", Timeout},
		{"NOT_FOUND", Rejected},
		{"ALREADY_EXISTS", Rejected},
		{"PERMISSION_DENIED", Unauthorized},
		{"RESOURCE_EXHAUSTED", Throttled},
		{"FAILED_PRECONDITION", Rejected},
		{"ABORTED", Rejected},
		{"OUT_OF_RANGE", Rejected},
		{"UNIMPLEMENTED", Error},
		{"INTERNAL", Error},
		{"UNAVAILABLE", Unreachable},
		{"DATA_LOSS", Error},
		{"UNAUTHENTICATED", Unauthorized},
	} {
		assert.Equal(t, tc.want, OfGRPC(code), tc.name)
		got, ok := GRPCCode(tc.name)
		assert.True(t, ok, tc.name)
		assert.Equal(t, code, got, tc.name)
	}
	assert.Equal(t, Error, OfGRPC(17), "a code that is not known")
	for text, want := range map[string]int{"8": 8, "resource_exhausted": 8, "ResourceExhausted": 8, "invalid_argument": 3, "Canceled": 1, "0": 0} {
		got, ok := GRPCCode(text)
		assert.True(t, ok, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"200", "-32602", "-1", "17", "", "nonsense"} {
		_, ok := GRPCCode(text)
		assert.False(t, ok, text)
	}
}
