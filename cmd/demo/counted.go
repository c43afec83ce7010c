package main

import (
	"context"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

// signals are the two ways to tell of an order, as vendor.signal has them.
var signals = []string{"traces", "logs"}

// counted is what the derived metrics say.
type counted struct {
	orders      map[key]int // by outcome
	calls       map[key]int // by outcome
	orderReason map[key]int // of orders that a vendor broke, by reason
	callReason  map[key]int // of failed calls, by reason
	vendor      string      // that broke them
}

type key struct{ signal, value string }

// waitUntilCounted reads the Collector's metrics until its orders are those of want, at most for so long, and returns
// what they are then. When all orders are counted none can follow: each counts once.
func waitUntilCounted(ctx context.Context, in *builtcollector.Collector, want map[key]int, atMost time.Duration) (counted, error) {
	enough := time.After(atMost)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		samples, err := in.Scrape(ctx)
		if err != nil {
			return counted{}, err
		}
		got := count(samples)
		if len(differences(want, got.orders)) == 0 {
			return got, nil
		}
		select {
		case <-enough:
			return got, nil
		case <-ctx.Done():
			return got, ctx.Err()
		case <-again.C:
		}
	}
}

func count(samples []builtcollector.Sample) counted {
	got := counted{orders: map[key]int{}, calls: map[key]int{}, orderReason: map[key]int{}, callReason: map[key]int{}}
	for _, sample := range samples {
		var byOutcome, byReason map[key]int
		switch sample.Name {
		case "vendor_orders_total":
			byOutcome, byReason = got.orders, got.orderReason
		case "vendor_calls_total":
			byOutcome, byReason = got.calls, got.callReason
		default:
			continue
		}
		n, signal := int(sample.Value), sample.Labels["vendor_signal"]
		byOutcome[key{signal, sample.Labels["vendor_outcome"]}] += n
		if reason := sample.Labels["vendor_failure_reason"]; reason != "" && n > 0 {
			byReason[key{signal, reason}] += n
			got.vendor = sample.Labels["vendor_name"]
		}
	}
	return got
}
