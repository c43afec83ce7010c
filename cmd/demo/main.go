// Command demo replays the recorded incident into a Collector of its own, through the endpoints a real service would
// use, and prints what an engineer on call wants to know. Its exit status is 0 only if what the Collector counted and
// tagged agrees with what the recording's driver saw.
//
// It runs in the root of the repository, with the Collector built: `make demo`.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

const (
	config   = "examples/demo.yaml"
	incident = "testdata/incident"

	// Longer than the processor's settle, after which no count is open any more.
	countedWithin = 10 * time.Second
)

func main() {
	out := flag.String("out", "dist/demo", "folder for the tagged telemetry and the Collector's log")
	drop := flag.Int("drop-order-lines", 0, "leave out so many log lines of orders, to see the figures disagree")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out, *drop, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, drop int, to io.Writer) error {
	recorded, err := recording.Open(incident)
	if err != nil {
		return err
	}

	fmt.Fprintf(to, "Starting %s with %s\n", builtcollector.Path, config)
	collector, err := builtcollector.Start(ctx, ".", config, out, "DEMO_OUT="+out)
	if err != nil {
		return err
	}
	defer collector.Kill()

	fmt.Fprintf(to, "Replaying %s\n", incident)
	replay := builtcollector.Replay{DropOrderLines: drop}
	started := time.Now()
	if err := replay.Run(ctx, recorded, collector); err != nil {
		return err
	}
	took := time.Since(started)

	want := expected(recorded.Truth)
	counted, err := waitUntilCounted(ctx, collector, want, countedWithin)
	if err != nil {
		return err
	}
	// The last batches are written at shutdown.
	if err := collector.Stop(); err != nil {
		return err
	}
	tagged, err := readTagged(out)
	if err != nil {
		return err
	}

	fmt.Fprintf(to, "Sent %d trace requests by OTLP and %d lines by Loki push in %.1f s\n\n",
		replay.TraceRequests, replay.LogLines, took.Seconds())
	begun, over, err := readOutages(collector.Log)
	if err != nil {
		return err
	}
	report(to, counted, tagged, begun, over, out)
	return judge(to, want, counted, tagged, outageFaults(recorded.Truth, begun, over))
}
