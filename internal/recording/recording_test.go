package recording

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The numbers are those of testdata/README.md.
func TestRecordings(t *testing.T) {
	for _, want := range []struct {
		name                                           string
		orders, failed, refused, traceCount, logsCount int
	}{
		{"healthy", 60, 0, 12, 9, 739},
		{"chaos-fail", 44, 44, 9, 7, 624},
		{"chaos-badjwt", 44, 44, 9, 7, 624},
		{"oven-full", 12, 4, 3, 4, 271},
		{"factory-refused", 24, 24, 7, 5, 368},
		{"db-fail", 32, 20, 12, 5, 454},
		{"incident", 480, 240, 85, 71, 6579},
		{"otlp-logs", 72, 36, 14, 8, 35},
	} {
		t.Run(want.name, func(t *testing.T) {
			r, err := Open(filepath.Join("../../testdata", want.name))
			require.NoError(t, err)
			assert.Equal(t, want.orders, r.Truth.Orders)
			assert.Equal(t, want.failed, r.Truth.Failed)
			assert.Equal(t, want.refused, r.Truth.OtherRequests["unauthOrder"]["401"])
			assert.Len(t, r.Traces(), want.traceCount)
			assert.Len(t, r.Logs(), want.logsCount)
		})
	}
}

func TestCopiesAreTheCallersOwn(t *testing.T) {
	r := open(t, "otlp-logs")
	r.Traces()[0].ResourceSpans().At(0).SetSchemaUrl("changed")
	assert.Empty(t, r.Traces()[0].ResourceSpans().At(0).SchemaUrl())
	r.Logs()[0].ResourceLogs().At(0).SetSchemaUrl("changed")
	assert.Empty(t, r.Logs()[0].ResourceLogs().At(0).SchemaUrl())
}

func TestReplayMingles(t *testing.T) {
	r := open(t, "chaos-fail")
	var signals []byte
	var first []byte
	note := func(signal byte) func(time.Time, []byte) error {
		return func(_ time.Time, request []byte) error {
			if signals == nil {
				first = request
			}
			signals = append(signals, signal)
			return nil
		}
	}
	require.NoError(t, r.Replay(note('t'), note('l')))

	assert.Equal(t, 7, bytes.Count(signals, []byte("t")))
	assert.Equal(t, 624, bytes.Count(signals, []byte("l")))
	assert.Contains(t, string(first), "/api/docs", "the first request of the run is the service's own start-up line")
	assert.Zero(t, bytes.Count(signals, []byte("tt")), "log lines arrived between any two trace requests")
}

func TestReplayTellsTimes(t *testing.T) {
	truth := open(t, "incident").Truth
	var first, last time.Time
	note := func(at time.Time, _ []byte) error {
		if first.IsZero() {
			first = at
		}
		last = at
		return nil
	}
	require.NoError(t, open(t, "incident").Replay(note, note))
	assert.WithinDuration(t, truth.Marks["driverStart"], first, 5*time.Second)
	assert.WithinDuration(t, truth.Marks["driverEnd"], last, 5*time.Second)
}

func TestReplayStopsAtAnError(t *testing.T) {
	calls := 0
	fail := func(time.Time, []byte) error { calls++; return os.ErrDeadlineExceeded }
	require.ErrorIs(t, open(t, "otlp-logs").Replay(fail, fail), os.ErrDeadlineExceeded)
	assert.Equal(t, 1, calls)
}

func TestTruthHasTimes(t *testing.T) {
	truth := open(t, "otlp-logs").Truth
	assert.Equal(t, time.Date(2025, 12, 5, 15, 4, 48, 336e6, time.UTC), truth.FirstFailedOrder)
	assert.Equal(t, truth.FirstFailedOrder, truth.Marks["chaosOn"])
}

func TestOpenFaults(t *testing.T) {
	const truth = `{"orders": 1}`
	for _, fault := range []struct{ name, truth, traces, logs, want string }{
		{"no JSON in truth", "{", "", "", "truth.json: unexpected end of JSON input"},
		{"no JSON in traces", truth, "{\"resourceSpans\":[]}\n[", "", "traces.jsonl.gz: line 2: "},
		{"no JSON in logs", truth, "", "nonsense", "logs.jsonl.gz: line 1: "},
		{"endless line", truth, "", string(bytes.Repeat([]byte(" "), maxLine+1)), "logs.jsonl.gz: line 1: bufio.Scanner: token too long"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "truth.json"), []byte(fault.truth), 0o600))
			zip(t, filepath.Join(dir, "traces.jsonl.gz"), fault.traces)
			zip(t, filepath.Join(dir, "logs.jsonl.gz"), fault.logs)
			_, err := Open(dir)
			require.ErrorContains(t, err, fault.want)
			require.ErrorContains(t, err, dir)
		})
	}

	t.Run("no such folder", func(t *testing.T) {
		_, err := Open(filepath.Join(t.TempDir(), "none"))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("no gzip", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "truth.json"), []byte(truth), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "traces.jsonl.gz"), []byte("{}"), 0o600))
		_, err := Open(dir)
		require.ErrorContains(t, err, "traces.jsonl.gz: not a gzip file")
	})
}

func open(t *testing.T, name string) *Recording {
	t.Helper()
	r, err := Open(filepath.Join("../../testdata", name))
	require.NoError(t, err)
	return r
}

func zip(t *testing.T, path, text string) {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(path, packed.Bytes(), 0o600))
}
