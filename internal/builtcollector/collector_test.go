package builtcollector

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

func TestNotBuilt(t *testing.T) {
	_, err := Start(t.Context(), t.TempDir(), "examples/demo.yaml", t.TempDir())
	require.ErrorContains(t, err, "run make build first")
}

func TestEndsAtOnce(t *testing.T) {
	require.NoError(t, Check("../.."))
	_, err := Start(t.Context(), "../..", "examples/none.yaml", t.TempDir())
	require.ErrorContains(t, err, "the Collector did not start: it ended at once: exit status 1; its log is ")
}

func TestReplay(t *testing.T) {
	recorded, err := recording.Open("../../testdata/factory-refused")
	require.NoError(t, err)

	t.Run("sends everything", func(t *testing.T) {
		to, got := server(t, http.StatusNoContent)
		var replay Replay
		require.NoError(t, replay.Run(t.Context(), recorded, to))
		assert.Equal(t, 5, replay.TraceRequests)
		assert.Equal(t, 368, replay.LogLines)
		assert.Len(t, got["/v1/traces"], 5)
		require.Len(t, got["/loki/api/v1/push"], 368)
		assert.Regexp(t, `^{"streams":\[{"stream":{"component":"jwt-pizza-service","level":"info","type":"http"},"values":\[\["17649\d{14}","{\\"authorized\\":`,
			got["/loki/api/v1/push"][0])
	})
	t.Run("drops order lines", func(t *testing.T) {
		to, _ := server(t, http.StatusNoContent)
		replay := Replay{DropOrderLines: 2}
		require.NoError(t, replay.Run(t.Context(), recorded, to))
		assert.Equal(t, 366, replay.LogLines)
	})
	t.Run("sends a part", func(t *testing.T) {
		to, _ := server(t, http.StatusNoContent)
		middle := recorded.Truth.Marks["driverStart"].Add(4 * time.Second)
		before, after := Replay{Until: middle}, Replay{From: middle}
		require.NoError(t, before.Run(t.Context(), recorded, to))
		require.NoError(t, after.Run(t.Context(), recorded, to))
		assert.Positive(t, before.TraceRequests)
		assert.Positive(t, after.TraceRequests)
		assert.Equal(t, 5, before.TraceRequests+after.TraceRequests)
		assert.Positive(t, before.LogLines)
		assert.Positive(t, after.LogLines)
		assert.Equal(t, 368, before.LogLines+after.LogLines)
	})
	t.Run("stops at a refusal", func(t *testing.T) {
		to, got := server(t, http.StatusServiceUnavailable)
		var replay Replay
		err := replay.Run(t.Context(), recorded, to)
		require.ErrorContains(t, err, "/loki/api/v1/push answers 503 Service Unavailable: no")
		assert.Len(t, got["/loki/api/v1/push"], 1)
	})
}

func TestPace(t *testing.T) {
	recorded := time.Date(2025, 12, 5, 15, 0, 0, 0, time.UTC)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := pace{speed: 4}
		for _, at := range []time.Duration{0, 2 * time.Second, time.Second, 8 * time.Second} {
			require.NoError(t, p.wait(t.Context(), recorded.Add(at)))
		}
		assert.Equal(t, 2*time.Second, time.Since(began), "a fourth of what was recorded")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, p.wait(ctx, recorded.Add(time.Hour)), context.Canceled)
		assert.Equal(t, 2*time.Second, time.Since(began))

		p = pace{}
		require.NoError(t, p.wait(t.Context(), recorded.Add(time.Hour)))
		assert.Equal(t, 2*time.Second, time.Since(began), "as fast as it is taken")
	})
}

// server takes the place of a Collector. What it got, by path, is to be read when the replay has ended.
func server(t *testing.T, status int) (*Collector, map[string][]string) {
	got := map[string][]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		got[r.URL.Path] = append(got[r.URL.Path], string(body))
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, "no")
		}
	}))
	t.Cleanup(s.Close)
	return &Collector{OTLP: s.URL, Loki: s.URL, Process: &process.Process{}}, got
}
