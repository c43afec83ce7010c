// Command soak sends mixed traffic to a Collector of its own for as long as it is told, lets what is behind the Collector
// fail now and then, and watches its goroutines, heap and file handles. It prints a table, and its exit status is 0 only
// if they stay flat and every order that the Collector took was counted, once.
//
// It runs in the root of the repository, with the Collector built: `make soak`.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

const (
	config = "examples/grafana-cloud.yaml"

	// Longer than the processor's settle, after which no count is open any more.
	countedWithin = 20 * time.Second
)

// options are what the flags say.
type options struct {
	duration time.Duration
	rate     int    // log lines a second
	out      string // folder
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 30*time.Minute, "how long to send")
	flag.IntVar(&o.rate, "rate", 200, "log lines a second; for each there are about five spans")
	flag.StringVar(&o.out, "out", "dist/soak", "folder for the Collector's configuration and log")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// run tells what it sees to a table and returns an error if anything grows, or the counts are not those of what was sent.
func run(ctx context.Context, o options, to io.Writer) error {
	traffic, err := newTraffic(o.rate)
	if err != nil {
		return err
	}
	cloud := newCloud(o.duration / 30)
	defer cloud.Close()
	collector, pprof, err := startCollector(ctx, o.out, cloud)
	if err != nil {
		return err
	}
	defer collector.Kill()

	fmt.Fprintf(to, "%s with %s, %d lines a second for %s; every %s the cloud fails in one way after another for a while\n\n",
		builtcollector.Path, config, o.rate, o.duration, cloud.cycle.Round(time.Millisecond))
	sending, stop := context.WithTimeout(ctx, o.duration)
	defer stop()
	sent := make(chan error, 1)
	go func() { sent <- traffic.send(sending, collector) }()

	watch := newVitals(collector, pprof)
	every := max(o.duration/60, 500*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	fmt.Fprintln(to, "     after   requests    orders   goroutines     heap MB      RSS MB    files   the cloud")
	began := time.Now()
	for n := 0; ; n++ {
		select {
		case err := <-sent:
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			cloud.calm.Store(true) // or the last push, at shutdown, fails
			return errors.Join(watch.verdict(to), traffic.agrees(ctx, collector, to), collector.Stop())
		case <-tick.C:
			v, err := watch.read(ctx)
			if err != nil {
				return fmt.Errorf("after %s: %w; the Collector's log is %s", time.Since(began).Round(time.Second), err, collector.Log)
			}
			if n%3 == 0 {
				fmt.Fprintf(to, "%10s %10d %9d %12.0f %11.1f %11.1f %8.0f   %s\n", time.Since(began).Round(time.Second),
					traffic.requests.Load(), traffic.orders.Load(), v[goroutines], v[heap], v[rss], v[files], cloud.mood())
			}
		}
	}
}

// startCollector runs the Collector with the configuration for Grafana Cloud, and pprof to look into it.
func startCollector(ctx context.Context, out string, cloud *cloud) (c *builtcollector.Collector, pprof string, err error) {
	address, err := process.FreeAddress()
	if err != nil {
		return nil, "", err
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, "", err
	}
	for _, change := range [][2]string{
		{"\nextensions:\n", "\nextensions:\n  pprof: {endpoint: \"" + address + "\"}\n"},
		{"\n  extensions: [", "\n  extensions: [pprof, "},
		{"https://pizza-factory.cs329.click/api/order", "http://127.0.0.1:4000/api/order"}, // where it was when recorded
	} {
		if bytes.Count(text, []byte(change[0])) != 1 {
			return nil, "", fmt.Errorf("%s does not have %q once", config, change[0])
		}
		text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, "", err
	}
	changed, err := filepath.Abs(filepath.Join(out, "collector.yaml"))
	if err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return nil, "", err
	}
	c, err = builtcollector.Start(ctx, ".", changed, out, cloud.environment()...)
	return c, "http://" + address, err
}
