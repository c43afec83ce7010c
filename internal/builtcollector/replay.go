package builtcollector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// Replay sends a recording to a Collector as the service sent it: spans by OTLP/HTTP, log lines by Loki push with
// their own times, both in the order in which they arrived.
type Replay struct {
	// Speed is how many times as fast as it was recorded everything is sent, 1 for real time. 0 is as fast as the
	// Collector takes it.
	Speed float64
	// From and Until bound what is sent, by the recorded time of a request; zero is no bound.
	From, Until time.Time
	// DropOrderLines is how many log lines of orders are left out.
	DropOrderLines int

	// TraceRequests and LogLines are what was sent.
	TraceRequests, LogLines int
}

// Run returns when the Collector has accepted everything, or at the first error.
func (r *Replay) Run(ctx context.Context, what *recording.Recording, to *Collector) error {
	p := pace{speed: r.Speed}
	err := what.Replay(
		func(at time.Time, request []byte) error {
			if r.leavesOut(at) {
				return nil
			}
			if err := p.wait(ctx, at); err != nil {
				return err
			}
			return r.traces(ctx, to.OTLP+"/v1/traces", request)
		},
		func(at time.Time, request []byte) error {
			if r.leavesOut(at) {
				return nil
			}
			if err := p.wait(ctx, at); err != nil {
				return err
			}
			return r.logs(ctx, to.Loki+"/loki/api/v1/push", request)
		})
	if err != nil {
		return fmt.Errorf("replay: %w; the Collector's log is %s", err, to.Log)
	}
	return nil
}

func (r *Replay) leavesOut(at time.Time) bool {
	return at.Before(r.From) || !r.Until.IsZero() && !at.Before(r.Until)
}

// pace lets recorded time go by at a speed.
type pace struct {
	speed           float64
	recorded, began time.Time // of the first request
}

// wait returns when it is time for what was recorded at a time, or when the context is done, with its error.
func (p *pace) wait(ctx context.Context, at time.Time) error {
	if p.speed <= 0 {
		return nil
	}
	if p.began.IsZero() {
		p.recorded, p.began = at, time.Now()
	}
	due := p.began.Add(time.Duration(float64(at.Sub(p.recorded)) / p.speed))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Replay) traces(ctx context.Context, url string, request []byte) error {
	r.TraceRequests++
	return post(ctx, url, request)
}

// A push is one or more streams: labels, with lines that are pairs of a time in nanoseconds and a text.
type push struct {
	Streams []stream `json:"streams"`
}

type stream struct {
	Labels map[string]string `json:"stream"`
	Lines  [][2]string       `json:"values"`
}

func (r *Replay) logs(ctx context.Context, url string, request []byte) error {
	var decoder plog.JSONUnmarshaler
	logs, err := decoder.UnmarshalLogs(request)
	if err != nil {
		return err
	}
	var out push
	for _, rl := range logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				if r.DropOrderLines > 0 && isOrder(record.Body().Str()) {
					r.DropOrderLines--
					continue
				}
				labels := map[string]string{}
				for name, value := range record.Attributes().All() {
					labels[name] = value.AsString()
				}
				at := strconv.FormatInt(int64(record.Timestamp()), 10)
				out.Streams = append(out.Streams, stream{labels, [][2]string{{at, record.Body().Str()}}})
			}
		}
	}
	if len(out.Streams) == 0 {
		return nil
	}
	r.LogLines += len(out.Streams)
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return post(ctx, url, body)
}

func isOrder(line string) bool {
	var request struct{ Method, Path string }
	return json.Unmarshal([]byte(line), &request) == nil &&
		request.Method == http.MethodPost && request.Path == "/api/order"
}

func post(ctx context.Context, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s: %s", url, response.Status, answer)
	}
	return nil
}
