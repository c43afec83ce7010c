package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
)

// shop is whose day is generated.
type shop struct {
	vendors, callers, limit int
	scrape                  time.Duration
	customersOnly           bool // no test orders
}

// blockLength is that of Prometheus' own blocks.
const blockLength = 2 * time.Hour

// series is one that is written.
type series struct {
	labels labels.Labels
	ref    storage.SeriesRef
	// value is the present one; growth is how much a counter grows by a sample, on average. A gauge has none.
	value, growth float64
}

func vendorName(i int) string { return fmt.Sprintf("vendor-%02d", i) }

// writeDay writes the blocks of a day that ends at end into the folder data, and returns how many series there are.
func (s shop) writeDay(ctx context.Context, known *declared.Declaration, data string, end time.Time) (int, error) {
	if err := os.MkdirAll(data, 0o755); err != nil {
		return 0, err
	}
	all := s.series(known)
	random := rand.New(rand.NewPCG(1, 2))
	for from := end.Add(-24 * time.Hour); from.Before(end); from = from.Add(blockLength) {
		if err := s.writeBlock(ctx, all, random, data, from); err != nil {
			return 0, err
		}
	}
	return len(all), compact(ctx, data)
}

// compact merges blocks as Prometheus does when there are enough of them: one that has held a day never has twelve of two
// hours, and left to Prometheus it would happen a minute after its start, while queries are timed.
func compact(ctx context.Context, data string) (err error) {
	options := tsdb.DefaultOptions()
	options.MaxBlockDuration = (3 * 24 * time.Hour).Milliseconds() // a tenth of the retention
	db, err := tsdb.Open(data, slog.New(slog.DiscardHandler), nil, options, nil)
	if err != nil {
		return err
	}
	defer func() {
		if closed := db.Close(); err == nil {
			err = closed
		}
	}()
	return db.Compact(ctx)
}

func (s shop) writeBlock(ctx context.Context, all []series, random *rand.Rand, data string, from time.Time) (err error) {
	writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), data, blockLength.Milliseconds())
	if err != nil {
		return err
	}
	defer func() {
		if closed := writer.Close(); err == nil {
			err = closed
		}
	}()
	for i := range all {
		all[i].ref = 0
	}
	for at := from; at.Before(from.Add(blockLength)); at = at.Add(s.scrape) {
		appender := writer.Appender(ctx)
		for i := range all {
			one := &all[i]
			if one.growth > 0 && random.Float64() < one.growth {
				one.value += float64(1 + random.IntN(3))
			}
			if one.ref, err = appender.Append(one.ref, one.labels, at.UnixMilli(), one.value); err != nil {
				return err
			}
		}
		if err := appender.Commit(); err != nil {
			return err
		}
	}
	_, err = writer.Flush(ctx)
	return err
}

// series are all combinations of what the attributes of each metric can be, up to the limit of an instrument.
func (s shop) series(known *declared.Declaration) []series {
	var all []series
	for _, metric := range known.Metrics {
		combinations := []map[string]string{{}}
		attributes := slices.Clone(metric.Attributes)
		slices.SortFunc(attributes, func(a, b string) int { return -cmp.Compare(a, b) }) // the outcome decides on the others
		for _, attribute := range attributes {
			var next []map[string]string
			for _, combination := range combinations {
				for _, value := range s.values(known, metric, attribute, combination) {
					with := map[string]string{declared.Label(attribute): value}
					for name, value := range combination {
						with[name] = value
					}
					next = append(next, with)
				}
			}
			combinations = next
		}
		// Which are dropped is chance, but the same in each run.
		rand.New(rand.NewPCG(3, 4)).Shuffle(len(combinations), func(i, j int) {
			combinations[i], combinations[j] = combinations[j], combinations[i]
		})
		combinations = combinations[:min(len(combinations), s.limit)]
		for _, name := range metric.PrometheusNames() {
			for _, combination := range combinations {
				all = append(all, s.of(name, metric, combination)...)
			}
		}
	}
	return all
}

// values are those that an attribute of a metric can have beside others that are chosen already.
func (s shop) values(known *declared.Declaration, metric declared.Metric, attribute string, chosen map[string]string) []string {
	switch attribute {
	case "vendor.outcome":
		if strings.HasPrefix(metric.Name, "vendor.call") {
			return []string{"success", "failure"}
		}
		return []string{"success", "vendor_failure", "own_failure", "rejected"}
	case "vendor.name":
		if outcome := chosen["vendor_outcome"]; strings.HasPrefix(metric.Name, "vendor.order") && outcome != "vendor_failure" {
			return []string{""} // there are several vendors, and none is to blame
		}
		return numbered(s.vendors, vendorName)
	case "vendor.signal":
		if metric.Name == "vendor.call.duration" {
			return []string{"traces"} // no log line tells how long a call took
		}
	case "vendor.caller":
		return numbered(s.callers, func(i int) string { return fmt.Sprintf("service-%02d", i) })
	case "vendor.failure.reason":
		if outcome := chosen["vendor_outcome"]; outcome != "failure" && outcome != "vendor_failure" {
			return []string{""}
		}
	case "user_agent.synthetic.type":
		if s.customersOnly {
			return []string{""}
		}
		return []string{"", "test"}
	case "vendor.failure.chaos":
		return []string{"true", "false"}
	case "probe.name":
		return []string{"test_order"}
	case "probe.step":
		return []string{"login", "order", "verify", "logout"}
	}
	for _, a := range known.Attributes {
		if a.Name == attribute && len(a.Enum) > 0 {
			return a.Enum
		}
	}
	return []string{"x"}
}

func numbered(n int, name func(int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = name(i)
	}
	return out
}

// bounds are those of vendor.call.duration.
var bounds = []string{"0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "20", "30", "60", "+Inf"}

// of are the series of one name and one combination: one, or one a bucket.
func (s shop) of(name string, metric declared.Metric, combination map[string]string) []series {
	base := map[string]string{"__name__": name, "job": "otelcol-vendorfailure", "instance": "4b1c9d8e-8f59-4a0e-9a53-7a9f0b0f7c11"}
	for label, value := range combination {
		if value != "" {
			base[label] = value
		}
	}
	growth := 0.0
	if metric.Kind != declared.Gauge {
		growth = 0.3
	}
	if reason := combination["vendor_failure_reason"]; reason != "" {
		growth = 0.02
	}
	if metric.Kind != declared.Histogram || !slices.Contains(metric.PrometheusNames()[:1], name) {
		return []series{{labels: labels.FromMap(base), growth: growth}}
	}
	var buckets []series
	for i, bound := range bounds {
		base["le"] = bound
		buckets = append(buckets, series{labels: labels.FromMap(base), growth: growth * float64(i+1) / float64(len(bounds))})
	}
	return buckets
}
