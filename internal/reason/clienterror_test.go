package reason

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clientErrors are the rows of testdata/clienterrors.tsv, the line of the columns' names first.
func clientErrors(t testing.TB) (rows [][]string) {
	table, err := os.ReadFile("testdata/clienterrors.tsv")
	require.NoError(t, err)
	for line := range strings.Lines(string(table)) {
		if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	require.NotEmpty(t, rows)
	return rows
}

// TestOfClientErrorOfSDKs: what each SDK writes, row by row. The processor's TestClientErrors has the same table as spans.
func TestOfClientErrorOfSDKs(t *testing.T) {
	rows := clientErrors(t)
	require.Equal(t, []string{"sdk", "fault", "span", "error.type", "status", "exception.type", "exception.message", "names", "reason", "source"}, rows[0])
	for _, row := range rows[1:] {
		require.Len(t, row, len(rows[0]), row[0])
		texts, want, source := row[3:7], row[7], row[9]
		t.Run(row[0]+"/"+row[1], func(t *testing.T) {
			var named [Count]bool
			for _, text := range texts {
				named[OfClientError(text)] = true
			}
			got := None
			if named[Unreachable] {
				got = Unreachable
			}
			if named[Timeout] {
				got = Timeout
			}
			assert.Equal(t, want, got.String(), "%q", texts)
			assert.NotEmpty(t, source)
		})
	}
}

// TestEveryNameIsWritten: a name that no row of the table needs is one that no SDK is known to write.
func TestEveryNameIsWritten(t *testing.T) {
	for want, names := range map[Reason]*[]string{Timeout: &timeouts, Unreachable: &faults} {
		all := *names
		for i, name := range all {
			*names = append(append([]string{}, all[:i]...), all[i+1:]...)
			needed := false
			for _, row := range clientErrors(t)[1:] {
				for _, text := range row[3:7] {
					needed = needed || has(strings.ToLower(text), name) && OfClientError(text) != want
				}
			}
			assert.True(t, needed, "%s: no text has this name alone", name)
		}
		*names = all
	}
}

// TestOfClientErrorIsNoFault: words that only look like one, and calls that were given up.
func TestOfClientErrorIsNoFault(t *testing.T) {
	for _, text := range []string{
		"",
		"500",
		"Error",
		"TypeError",
		"_OTHER",
		"*errors.errorString",
		"*url.Error",

		// A class with the letters of a name in it.
		"com.shop.BusinessLogicException", // …ssl…
		"java.lang.ClassLoader",
		"com.shop.ReadTimeoutConfigException",
		"urllib3.exceptions.TimeoutStateError",
		"TimeoutsDisabled",
		"ConnectionErrorHandlerMissing",
		"InvalidTypeofOperand", // …eof…
		"settlstatus is missing",
		"hassle",
		"outside of the geofence",
		"write to thepipe",

		// A vendor's own words.
		"Service Unavailable",
		"item unavailable: 5",
		"gift certificate not found",
		"certificate of origin missing",
		"CardDeclined",
		"insufficient funds",
		"account reset required",
		"refused by the issuer",

		// Given up on our side. Which of them were time-outs of our own, these texts do not tell.
		"AbortError",
		"ABORT_ERR",
		"This operation was aborted",
		"The operation was aborted",
		"Request aborted",
		"ECONNABORTED", // axios has it for time-outs, which its message tells, and for calls given up
		"context canceled",
		"use of closed network connection",
		"java.util.concurrent.CancellationException",
		"java.net.SocketException: Socket closed",
		"asyncio.exceptions.CancelledError",
		"System.Threading.Tasks.TaskCanceledException",
		"System.OperationCanceledException",
		"A task was canceled.",
		"1 CANCELLED: Call cancelled",
	} {
		assert.Equal(t, None, OfClientError(text), "%q", text)
	}
}

// TestHas: a name is a word; letters before it are allowed by "*", and after it only what ends a class.
func TestHas(t *testing.T) {
	for _, tc := range []struct {
		text, name string
		want       bool
	}{
		{"tls", "tls", true},
		{"tls: bad record", "tls", true},
		{"crypto/tls.recordheadererror", "tls", true},
		{"err_tls_cert", "tls", true},
		{"http2tls1", "tls", true},
		{"stls", "tls", false},
		{"tlsx", "tls", false},
		{"stls tls", "tls", true},
		{"tlsx tls", "tls", true},
		{"tlserror", "tls", true},
		{"tlsexception", "tls", true},
		{"tlserrors", "tls", false},
		{"tlserrorexception", "tls", false},
		{"readtimeout", "*timeout", true},
		{"readtimeout", "timeout", false},
		{"timeout", "*timeout", true},
		{"readtimeouts", "*timeout", false},
		{"readtimeouts, readtimeout", "*timeout", true},
		{"tl", "tls", false},
		{"", "tls", false},
	} {
		assert.Equal(t, tc.want, has(tc.text, tc.name), "%q in %q", tc.name, tc.text)
	}
}

func TestOfClientErrorOfLongTexts(t *testing.T) {
	const name = "ETIMEDOUT"
	assert.Equal(t, Timeout, OfClientError(strings.Repeat(" ", longest-len(name))+name))
	assert.Equal(t, None, OfClientError(strings.Repeat(" ", longest)+name))
}

// FuzzOfClientError: any text gives one of three answers, the same in capitals; and what it says of a time-out it says
// whatever stands before and after.
func FuzzOfClientError(f *testing.F) {
	for _, row := range clientErrors(f)[1:] {
		for _, text := range row[3:7] {
			f.Add(text)
		}
	}
	f.Add("ſsl \xff\u212Aelvin")
	f.Fuzz(func(t *testing.T, text string) {
		got := OfClientError(text)
		assert.Contains(t, []Reason{None, Timeout, Unreachable}, got)
		assert.Equal(t, got, OfClientError(inCapitals(text)), "in capitals")
		if around := "Error: " + text + " (1)"; got != None && len(around) <= longest {
			assert.Equal(t, got, OfClientError(around), "with words around it")
		}
	})
}

// inCapitals changes ASCII alone: the capitals of some letters are others' too.
func inCapitals(text string) string {
	capitals := []byte(text)
	for i, c := range capitals {
		if isLetter(c) {
			capitals[i] -= 'a' - 'A'
		}
	}
	return string(capitals)
}

func BenchmarkOfClientError(b *testing.B) {
	for _, tc := range []struct{ name, text string }{
		{"code", "UND_ERR_HEADERS_TIMEOUT"},
		{"fault", "dial tcp 127.0.0.1:4000: connect: connection refused"},
		{"none of it", strings.Repeat("The vendor's answer was not understood. ", 5)},
	} {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				OfClientError(tc.text)
			}
		})
	}
}
