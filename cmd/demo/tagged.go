package main

import (
	"bufio"
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

// tagged is what carries vendor.name in the telemetry that came out.
type tagged struct {
	orders, calls, chaos map[string]int // by signal
	first                *order         // that failed, of those with a span
}

type order struct {
	trace pcommon.TraceID
	at    time.Time
}

// readTagged reads what the Collector's file exporters wrote to the folder out.
func readTagged(out string) (tagged, error) {
	t := tagged{orders: map[string]int{}, calls: map[string]int{}, chaos: map[string]int{}}

	var traces ptrace.JSONUnmarshaler
	err := eachLine(filepath.Join(out, "traces.jsonl"), func(line []byte) error {
		data, err := traces.UnmarshalTraces(line)
		if err != nil {
			return err
		}
		for _, rs := range data.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					t.addSpan(span)
				}
			}
		}
		return nil
	})
	if err != nil {
		return t, err
	}

	var logs plog.JSONUnmarshaler
	err = eachLine(filepath.Join(out, "logs.jsonl"), func(line []byte) error {
		data, err := logs.UnmarshalLogs(line)
		if err != nil {
			return err
		}
		for _, rl := range data.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					isOrder := attribute(record.Attributes(), "type") == "http"
					t.add("logs", record.Attributes(), isOrder)
				}
			}
		}
		return nil
	})
	return t, err
}

func (t *tagged) addSpan(span ptrace.Span) {
	isOrder := span.Kind() == ptrace.SpanKindServer
	if !t.add("traces", span.Attributes(), isOrder) || !isOrder {
		return
	}
	if at := span.StartTimestamp().AsTime(); t.first == nil || at.Before(t.first.at) {
		t.first = &order{span.TraceID(), at}
	}
}

// add tells whether there is a tag.
func (t *tagged) add(signal string, attributes pcommon.Map, isOrder bool) bool {
	if attribute(attributes, "vendor.name") == "" {
		return false
	}
	if isOrder {
		t.orders[signal]++
		if attribute(attributes, "vendor.failure.chaos") == "true" {
			t.chaos[signal]++
		}
	} else {
		t.calls[signal]++
	}
	return true
}

func attribute(attributes pcommon.Map, name string) string {
	value, ok := attributes.Get(name)
	if !ok {
		return ""
	}
	return value.AsString()
}

// eachLine calls do with each line of a file. Lines are whole batches, megabytes long.
func eachLine(path string, do func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := do(line); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
