package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSoak runs what make soak runs, for half a minute.
func TestSoak(t *testing.T) {
	require.NoError(t, builtcollector.Check("../.."))
	out := t.TempDir()
	t.Chdir("../..")
	var table bytes.Buffer
	err := run(t.Context(), options{duration: 30 * time.Second, rate: 100, out: out}, &table)
	t.Log(table.String())
	require.NoError(t, err)
	log, err := os.ReadFile(filepath.Join(out, "collector.log"))
	require.NoError(t, err)
	assert.NotContains(t, string(log), "panic")
	assert.Contains(t, string(log), "Status Code 503", "the cloud failed, and the Collector noticed")
}

// TestVerdict: what grows is told, and what goes up and down is not.
func TestVerdict(t *testing.T) {
	steady := func(n int) reading {
		return reading{goroutines: 50 + float64(n%10), heap: 20 + float64(n%5), files: 20 + float64(n%3)}
	}
	for _, tc := range []struct {
		name string
		at   func(n int) reading
		want string // "" is flat
	}{
		{"steady", steady, ""},
		{"large only in the first third", func(n int) reading {
			r := steady(n)
			if n < 20 {
				r[heap] = 500
			}
			return r
		}, ""},
		{"growing at first", func(n int) reading {
			r := steady(n)
			r[heap] += 3 * float64(min(n, 20))
			return r
		}, ""},
		{"goroutines grow", func(n int) reading { r := steady(n); r[goroutines] += 2 * float64(n); return r }, "goroutines 114.0 in the second third, 154.0 in the last; 140.4 would be a leak"},
		{"heap grows", func(n int) reading { r := steady(n); r[heap] += float64(n); return r }, "heap MB"},
		{"files grow", func(n int) reading { r := steady(n); r[files] += float64(n); return r }, "files"},
		{"RSS grows", func(n int) reading { r := steady(n); r[rss] += float64(n); return r }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v vitals
			for n := range 60 {
				v.readings = append(v.readings, tc.at(n))
			}
			err := v.verdict(new(bytes.Buffer))
			if tc.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tc.want)
			}
		})
	}
	assert.ErrorContains(t, (&vitals{readings: make([]reading, 8)}).verdict(new(bytes.Buffer)), "too few")
}

// TestMoods: each cycle has all moods, most of it the first.
func TestMoods(t *testing.T) {
	c := newCloud(15 * time.Minute)
	defer c.Close()
	var seen []string
	for minute := range 15 {
		c.began = time.Now().Add(-time.Duration(minute)*time.Minute - 30*time.Second)
		if mood := c.mood(); len(seen) == 0 || seen[len(seen)-1] != mood {
			seen = append(seen, mood)
		}
	}
	assert.Equal(t, moods, seen)
}
