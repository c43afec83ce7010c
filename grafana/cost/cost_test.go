package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

const root = "../.."

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(status)
	}))
}

// A day of a small shop is written, Prometheus takes it, and each panel is asked.
func TestRun(t *testing.T) {
	small := shop{vendors: 2, callers: 1, limit: 30, scrape: 5 * time.Minute}
	var printed bytes.Buffer
	require.NoError(t, run(t.Context(), &printed, small, root, time.Minute))
	assert.Regexp(t, `2 vendors, 1 callers: \d+ series, a sample each 5m0s for a day`, printed.String())
	assert.Regexp(t, `Vendor health +Orders by outcome A( +\d+/ +\d+ ms){3}\n`, printed.String())
	assert.Regexp(t, `Vendor incident +Orders lost A( +\d+/ +\d+ ms){3}\n`, printed.String())
	// Several queries of a panel are told together, too, below them; one alone is not told twice.
	assert.Regexp(t, `\nVendor health +Orders by outcome E .*\nVendor health +Orders by outcome, in all( +\d+/ +\d+ ms){3}\nVendor health +Whose fault`, printed.String())
	assert.NotContains(t, printed.String(), "Orders lost, in all")
	assert.Contains(t, printed.String(), "Own failures and rejected orders: is it, in all ") // a title that is cut

	err := run(t.Context(), &printed, small, root, -1)
	require.ErrorContains(t, err, "over -1ns:\nVendor health, Is anything broken now A, 3h0m0s: ")
	// Each range counts, not the dashboards' own alone.
	require.ErrorContains(t, err, "\nVendor health, Orders by outcome A, 24h0m0s: ")
}

func TestInAll(t *testing.T) {
	const ms = time.Millisecond
	got := inAll([][]cost{{{1 * ms, 2 * ms}, {3 * ms, 4 * ms}}, {{10 * ms, 20 * ms}, {30 * ms, 40 * ms}}, {{100 * ms, 200 * ms}, {300 * ms, 400 * ms}}})
	assert.Equal(t, []cost{{111 * ms, 222 * ms}, {333 * ms, 444 * ms}}, got)

	var printed bytes.Buffer
	printRow(&printed, "Vendor health", "Orders by outcome, in all", got)
	assert.Equal(t, "Vendor health    Orders by outcome, in all                          111/  222 ms   333/  444 ms\n", printed.String())
}

// The blocks of a day are merged as Prometheus merges them, and hold all of it.
func TestWriteDay(t *testing.T) {
	known, err := declared.Read(root)
	require.NoError(t, err)
	small, data := shop{vendors: 1, callers: 1, limit: 1, scrape: 5 * time.Minute}, t.TempDir()
	end := time.Date(2025, 12, 5, 18, 0, 0, 0, time.UTC)
	series, err := small.writeDay(t.Context(), known, data, end)
	require.NoError(t, err)

	db, err := tsdb.OpenDBReadOnly(data, "", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer db.Close()
	blocks, err := db.Blocks()
	require.NoError(t, err)
	var begins []float64
	var samples uint64
	for _, block := range blocks {
		begins = append(begins, time.UnixMilli(block.Meta().MinTime).Sub(end.Add(-24*time.Hour)).Hours())
		samples += block.Meta().Stats.NumSamples
	}
	assert.Equal(t, []float64{0, 6, 12, 18, 20, 22}, begins)
	assert.EqualValues(t, series*24*60/5, samples)
}

// What Prometheus refuses has no time that could be told.
func TestRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, "process_cpu_seconds_total 1.5\n")
			return
		}
		http.Error(w, "query timed out", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	_, err := timed(t.Context(), &monitoring.Prometheus{URL: server.URL}, "sum($vendor)", grid{}, "a")
	require.EqualError(t, err, "sum(a): 503 Service Unavailable: query timed out\n")
}

func TestSeries(t *testing.T) {
	known, err := declared.Read(root)
	require.NoError(t, err)
	count := func(s shop) map[string]int {
		n := map[string]int{}
		for _, one := range s.series(known) {
			n[one.labels.Get("__name__")]++
		}
		return n
	}
	const signals, synthetic, reasons = 2, 2, 8
	all := count(shop{vendors: 3, callers: 2, limit: 1e6})
	assert.Equal(t, 3*2*signals*synthetic*(1+reasons), all["vendor_calls_total"])
	assert.Equal(t, 2*signals*synthetic*3+3*2*signals*synthetic*reasons, all["vendor_orders_total"])
	assert.Equal(t, 3*2*synthetic*2*len(bounds), all["vendor_call_duration_seconds_bucket"])
	assert.Equal(t, 3, all["vendor_outage"])
	assert.Equal(t, 6, all["vendor_records_total"])

	customers := count(shop{vendors: 3, callers: 2, limit: 1e6, customersOnly: true})
	assert.Equal(t, 3*2*signals*(1+reasons), customers["vendor_calls_total"])

	limited := count(shop{vendors: 3, callers: 2, limit: 10})
	assert.Equal(t, 10, limited["vendor_calls_total"])
	assert.Equal(t, 10*len(bounds), limited["vendor_call_duration_seconds_bucket"])
}

func TestGrid(t *testing.T) {
	end := time.Date(2025, 12, 5, 20, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		points             int
		instant            bool
		span               time.Duration
		step, rateInterval time.Duration
	}{
		{180, false, 3 * time.Hour, time.Minute, 75 * time.Second},
		{180, false, 24 * time.Hour, 10 * time.Minute, 615 * time.Second},
		{0, false, time.Hour, 15 * time.Second, time.Minute},
		{0, true, 3 * time.Hour, 15 * time.Second, time.Minute},
	} {
		got := panel{MaxDataPoints: c.points}.grid(target{Instant: c.instant}, c.span, end, 15*time.Second)
		want := grid{end.Add(-c.span), end, c.step, c.rateInterval, c.span}
		if c.instant {
			want.from = end
		}
		assert.Equal(t, want, got, c)
	}
}
