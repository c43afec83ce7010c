// Command cost tells how long Prometheus takes to answer each panel of the dashboards when it holds a day of a large
// shop, and fails where that is too long:
//
//	make dashboards-cost
//	go run ./cost -vendors 5 -callers 3
//
// The day is generated: every series that the components declare, of so many vendors and callers, at each scrape.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

func main() {
	shop := shop{}
	flag.IntVar(&shop.vendors, "vendors", 20, "vendors")
	flag.IntVar(&shop.callers, "callers", 20, "services that take orders and call vendors")
	flag.IntVar(&shop.limit, "series", 2000, "the most series of one instrument: what is above is dropped, as the Collector's SDK does")
	flag.DurationVar(&shop.scrape, "scrape", 15*time.Second, "between two samples of a series")
	flag.BoolVar(&shop.customersOnly, "customers-only", false, "no test orders: as many series of each counter, and all of them count")
	root := flag.String("root", "..", "the repository")
	atMost := flag.Duration("at-most", 200*time.Millisecond, "how much processor time a query may take, over each of the ranges")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, shop, *root, *atMost); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, print io.Writer, shop shop, root string, atMost time.Duration) error {
	known, err := declared.Read(root)
	if err != nil {
		return err
	}
	out, err := os.MkdirTemp("", "dashboards-cost")
	if err != nil {
		return err
	}
	defer os.RemoveAll(out)

	began := time.Now()
	data := filepath.Join(out, "data")
	end := time.Now().Truncate(blockLength)
	series, err := shop.writeDay(ctx, known, data, end)
	if err != nil {
		return err
	}
	fmt.Fprintf(print, "%d vendors, %d callers: %d series, a sample each %s for a day, written in %s\n\n",
		shop.vendors, shop.callers, series, shop.scrape, time.Since(began).Round(time.Second))

	prometheus, err := monitoring.StartPrometheus(ctx, root, out, monitoring.PrometheusConfig{Data: data})
	if err != nil {
		return err
	}
	defer prometheus.Kill()

	fmt.Fprintf(print, "Processor time of Prometheus a query / time to the answer, which depends on what else the machine does:\n")
	fmt.Fprintf(print, "%-16s %-48s", "dashboard", "panel")
	for _, span := range spans {
		fmt.Fprintf(print, " %14s", span)
	}
	fmt.Fprintln(print)
	var slow []string
	for _, file := range []string{"vendor-health.json", "vendor-incident.json"} {
		board, err := readDashboard(filepath.Join(root, "grafana/dashboards", file))
		if err != nil {
			return err
		}
		for _, panel := range board.Panels {
			var queries [][]cost
			for _, target := range panel.Targets {
				if target.DataSource.Type != "prometheus" {
					continue
				}
				var each []cost
				for _, span := range spans {
					took, err := timed(ctx, prometheus, target.Expr, panel.grid(target, span, end, shop.scrape), board.vendor())
					if err != nil {
						return fmt.Errorf("%s, %s: %w", board.Title, panel.Title, err)
					}
					each = append(each, took)
					if took.processor > atMost {
						slow = append(slow, fmt.Sprintf("%s, %s %s, %s: %s", board.Title, panel.Title, target.RefID, span, took.processor.Round(time.Millisecond)))
					}
				}
				printRow(print, board.Title, fmt.Sprintf("%.40s %s", panel.Title, target.RefID), each)
				queries = append(queries, each)
			}
			if len(queries) > 1 {
				printRow(print, board.Title, strings.TrimSpace(fmt.Sprintf("%.40s", panel.Title))+", in all", inAll(queries))
			}
		}
	}
	if len(slow) > 0 {
		return fmt.Errorf("over %s:\n%s", atMost, strings.Join(slow, "\n"))
	}
	return nil
}

// cost is the processor time that Prometheus spends on a query, and the shortest time to an answer.
type cost struct{ processor, answer time.Duration }

// inAll is what queries take together, over each of the spans.
func inAll(queries [][]cost) []cost {
	sums := make([]cost, len(queries[0]))
	for _, each := range queries {
		for i, of := range each {
			sums[i].processor += of.processor
			sums[i].answer += of.answer
		}
	}
	return sums
}

func printRow(print io.Writer, dashboard, what string, each []cost) {
	fmt.Fprintf(print, "%-16s %-48s", dashboard, what)
	for _, of := range each {
		fmt.Fprintf(print, " %5d/%5d ms", of.processor.Milliseconds(), of.answer.Milliseconds())
	}
	fmt.Fprintln(print)
}

// spans are the ranges that are looked at: the dashboards' own, twice that, and all of the day.
var spans = []time.Duration{3 * time.Hour, 6 * time.Hour, 24 * time.Hour}

// dashboard is what is read of a dashboard's file.
type dashboard struct {
	Title      string
	Templating struct {
		List []struct {
			Name  string
			Multi bool
		}
	}
	Panels []panel
}

type panel struct {
	Title         string
	MaxDataPoints int
	Targets       []target
}

type target struct {
	RefID      string
	DataSource struct{ Type string }
	Expr       string
	Instant    bool
}

func readDashboard(path string) (dashboard, error) {
	var d dashboard
	text, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// vendor is what is chosen: all, where the dashboard lets one choose several.
func (d dashboard) vendor() string {
	for _, variable := range d.Templating.List {
		if variable.Name == "vendor" && variable.Multi {
			return ".+"
		}
	}
	return vendorName(0)
}

// grid is the times for which a query is asked.
type grid struct {
	from, to                 time.Time
	step, rateInterval, span time.Duration
}

// pixels is how many points Grafana asks for where a panel does not say: its width on a usual screen.
const pixels = 1000

// grid is what Grafana chooses for a target over a range that ends at end.
func (p panel) grid(t target, span time.Duration, end time.Time, scrape time.Duration) grid {
	step := max(scrape, roundInterval(span/time.Duration(cmp.Or(p.MaxDataPoints, pixels))))
	g := grid{end.Add(-span), end, step, max(step+scrape, 4*scrape), span}
	if t.Instant {
		g.from = end
	}
	return g
}

// timed asks ten times as Grafana does, all callers chosen. The processor time of a query includes the collecting of
// garbage. On a machine that does nothing else an answer takes no longer than its processor time.
func timed(ctx context.Context, prometheus *monitoring.Prometheus, expr string, at grid, vendor string) (cost, error) {
	expr = strings.NewReplacer(
		"$__rate_interval", at.rateInterval.String(), "$__range", at.span.String(),
		"$vendor", vendor, "$latency_vendor", vendorName(0), "$caller", ".+", "$synthetic", "no",
	).Replace(expr)
	address := prometheus.URL + "/api/v1/query_range?" + url.Values{
		"query": {expr},
		"start": {at.from.Format(time.RFC3339)},
		"end":   {at.to.Format(time.RFC3339)},
		"step":  {at.step.String()},
	}.Encode()
	before, err := processorTime(ctx, prometheus)
	if err != nil {
		return cost{}, err
	}
	const times = 10
	var answer time.Duration
	for i := range times {
		began := time.Now()
		if err := get(ctx, address, io.Discard); err != nil {
			return cost{}, fmt.Errorf("%s: %w", expr, err)
		}
		if took := time.Since(began); i == 0 || took < answer {
			answer = took
		}
	}
	after, err := processorTime(ctx, prometheus)
	return cost{(after - before) / times, answer}, err
}

// processorTime is what the process has used since its start.
func processorTime(ctx context.Context, prometheus *monitoring.Prometheus) (time.Duration, error) {
	var metrics bytes.Buffer
	if err := get(ctx, prometheus.URL+"/metrics", &metrics); err != nil {
		return 0, err
	}
	found := processSeconds.FindSubmatch(metrics.Bytes())
	if found == nil {
		return 0, errors.New("this system does not tell the processor time of a process")
	}
	seconds, err := strconv.ParseFloat(string(found[1]), 64)
	return time.Duration(seconds * float64(time.Second)), err
}

var processSeconds = regexp.MustCompile(`(?m)^process_cpu_seconds_total (\S+)$`)

// get returns when an answer has come. What a client makes of it is no cost of the query.
func get(ctx context.Context, address string, into io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	_, err = io.Copy(into, response.Body)
	return err
}

// roundInterval is how Grafana rounds the step of a query.
func roundInterval(step time.Duration) time.Duration {
	for _, to := range []struct{ below, round time.Duration }{
		{1500 * time.Millisecond, time.Second},
		{3500 * time.Millisecond, 2 * time.Second},
		{7500 * time.Millisecond, 5 * time.Second},
		{12500 * time.Millisecond, 10 * time.Second},
		{17500 * time.Millisecond, 15 * time.Second},
		{25 * time.Second, 20 * time.Second},
		{45 * time.Second, 30 * time.Second},
		{90 * time.Second, time.Minute},
		{210 * time.Second, 2 * time.Minute},
		{450 * time.Second, 5 * time.Minute},
		{750 * time.Second, 10 * time.Minute},
	} {
		if step < to.below {
			return to.round
		}
	}
	return 15 * time.Minute
}
