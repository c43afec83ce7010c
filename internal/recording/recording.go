// Package recording reads a recorded run of an order service: the export requests it sent, as in testdata/, and what
// the driver of the run saw.
package recording

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// A recording that goes over these bounds is refused. The largest in testdata has lines of 330 kB, 23 MB in all.
const (
	maxLine = 8 << 20
	maxFile = 256 << 20
)

// Recording is one recorded run. It never changes once it is open.
type Recording struct {
	// Truth is what the driver of the run saw.
	Truth Truth

	traces []traceRequest
	logs   []logRequest
}

type traceRequest struct {
	at   time.Time
	json []byte
	data ptrace.Traces
}

type logRequest struct {
	at   time.Time
	json []byte
	data plog.Logs
}

// Open reads the recording in the folder dir: traces.jsonl.gz, logs.jsonl.gz and truth.json, all required.
func Open(dir string) (*Recording, error) {
	r := &Recording{}

	raw, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		return nil, fmt.Errorf("recording %s: %w", dir, err)
	}
	if err := json.Unmarshal(raw, &r.Truth); err != nil {
		return nil, fmt.Errorf("recording %s: truth.json: %w", dir, err)
	}

	var traces ptrace.JSONUnmarshaler
	err = eachLine(filepath.Join(dir, "traces.jsonl.gz"), func(line []byte) error {
		data, err := traces.UnmarshalTraces(line)
		if err == nil {
			r.traces = append(r.traces, traceRequest{at: lastEnd(data), json: line, data: data})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recording %s: traces.jsonl.gz: %w", dir, err)
	}

	var logs plog.JSONUnmarshaler
	err = eachLine(filepath.Join(dir, "logs.jsonl.gz"), func(line []byte) error {
		data, err := logs.UnmarshalLogs(line)
		if err == nil {
			r.logs = append(r.logs, logRequest{at: lastObserved(data), json: line, data: data})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recording %s: logs.jsonl.gz: %w", dir, err)
	}
	return r, nil
}

// Traces are the trace export requests in the order of arrival. Each call gives copies of its own, free to be changed.
func (r *Recording) Traces() []ptrace.Traces {
	out := make([]ptrace.Traces, len(r.traces))
	for i, request := range r.traces {
		out[i] = ptrace.NewTraces()
		request.data.CopyTo(out[i])
	}
	return out
}

// Logs are the log export requests in the order of arrival. Each call gives copies of its own, free to be changed.
func (r *Recording) Logs() []plog.Logs {
	out := make([]plog.Logs, len(r.logs))
	for i, request := range r.logs {
		out[i] = plog.NewLogs()
		request.data.CopyTo(out[i])
	}
	return out
}

// Replay calls one of the two functions for each export request, both signals in the order in which they arrived, with
// the time of the request and the request as JSON. It stops at the first error and returns it.
//
// Within a signal this is the recorded order. Between the signals it is told by the time: the last observed one of a
// request's records, the last end of its spans.
func (r *Recording) Replay(traces, logs func(at time.Time, request []byte) error) error {
	i, j := 0, 0
	for i < len(r.traces) || j < len(r.logs) {
		var err error
		if j == len(r.logs) || i < len(r.traces) && r.traces[i].at.Before(r.logs[j].at) {
			err = traces(r.traces[i].at, r.traces[i].json)
			i++
		} else {
			err = logs(r.logs[j].at, r.logs[j].json)
			j++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func lastEnd(data ptrace.Traces) time.Time {
	var last pcommon.Timestamp
	for _, rs := range data.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				last = max(last, span.EndTimestamp())
			}
		}
	}
	return last.AsTime()
}

func lastObserved(data plog.Logs) time.Time {
	var last pcommon.Timestamp
	for _, rl := range data.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				last = max(last, record.ObservedTimestamp())
			}
		}
	}
	return last.AsTime()
}

// eachLine calls do with each line of a gzip file. The line belongs to do.
func eachLine(path string, do func(line []byte) error) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	unzip, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("not a gzip file: %w", err)
	}

	bounded := &io.LimitedReader{R: unzip, N: maxFile}
	lines := bufio.NewScanner(bounded)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		n++
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := do(append([]byte(nil), lines.Bytes()...)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	if bounded.N == 0 {
		return fmt.Errorf("more than %d bytes after unpacking", maxFile)
	}
	return nil
}
