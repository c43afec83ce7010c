package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"
)

// cloud takes the place of Grafana Cloud. For the last third of each cycle it fails, in one way after another.
type cloud struct {
	*httptest.Server
	cycle time.Duration
	began time.Time
	calm  atomic.Bool // from now on it accepts
}

// moods are what the cloud does, each for a fifteenth of a cycle, the first for the rest.
var moods = []string{"accepts", "answers 503", "answers 429", "resets", "hangs", "answers garbage"}

func newCloud(cycle time.Duration) *cloud {
	c := &cloud{cycle: cycle, began: time.Now()}
	c.Server = httptest.NewServer(c)
	return c
}

func (c *cloud) environment() []string {
	return []string{
		"GRAFANA_CLOUD_OTLP_ENDPOINT=" + c.URL + "/otlp",
		"GRAFANA_CLOUD_INSTANCE_ID=1",
		"GRAFANA_CLOUD_API_KEY=key",
		"GRAFANA_CLOUD_BASIC_AUTH=MTprZXk=",
	}
}

func (c *cloud) mood() string {
	if c.calm.Load() {
		return moods[0]
	}
	fifteenth := int(15 * (time.Since(c.began) % c.cycle) / c.cycle)
	return moods[max(fifteenth-9, 0)]
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	switch c.mood() {
	case "answers 503":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "answers 429":
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case "resets":
		panic(http.ErrAbortHandler)
	case "hangs":
		select {
		case <-time.After(c.cycle / 15):
		case <-r.Context().Done():
		}
	case "answers garbage":
		_, _ = io.WriteString(w, "<html>")
	}
}
