// Command drill makes an alert happen, to see that it gets through and how long each hop takes: it sends marked synthetic
// failures of calls to a vendor to a Collector until the alert arrives, then successes until it is resolved. Nothing of it counts
// as a customer's order, customer or value.
//
// Without addresses it starts a Collector, Prometheus, Alertmanager and receiver of its own, in the root of the
// repository with all of them built: `make drill`. With -collector it drills yours; then at least one of -prometheus,
// -alertmanager and -listen says where to watch the alert:
//
//	go run ./cmd/drill -collector http://localhost:4318 -prometheus http://localhost:9090 -alertmanager http://localhost:9093
//
// A token that the Collector asks for, and the CA of its certificate, are taken from the environment as OpenTelemetry's
// exporters take them: OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20$TOKEN", OTEL_EXPORTER_OTLP_CERTIFICATE=ca.pem,
// and for a certificate of one's own OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

// options are the flags.
type options struct {
	vendor, reason                             string
	rate                                       float64
	within                                     time.Duration
	collector, prometheus, alertmanager, hears string
	out, config, rules, routes                 string
	push                                       time.Duration
	access                                     access
}

// reasons are those that VendorOutage pages for.
var reasons = []string{"error", "timeout", "slow", "unreachable", "bad_response", "throttled"}

func parse(args []string, errs io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.vendor, "vendor", "pizza-factory", "vendor that is to fail, as the processor's configuration names it")
	flags.StringVar(&o.reason, "reason", "error", "reason of the failures: "+strings.Join(reasons, ", ")+", which page the vendor's contact, but throttled, which pages us")
	flags.Float64Var(&o.rate, "rate", 1, "synthetic calls a second; more than the shop's own, or the failures are too small a share")
	flags.DurationVar(&o.within, "within", 10*time.Minute, "how long to wait for the alert, and then for its end")
	flags.StringVar(&o.collector, "collector", "", "OTLP/HTTP address of a Collector to drill, without /v1/traces; empty starts everything here. Its token and CA: OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_CERTIFICATE")
	flags.StringVar(&o.prometheus, "prometheus", "", "with -collector: address of the Prometheus that has the rules")
	flags.StringVar(&o.alertmanager, "alertmanager", "", "with -collector: address of the Alertmanager")
	flags.StringVar(&o.hears, "listen", "", "with -collector: host:port to take notifications at, for which Alertmanager needs a webhook receiver")
	flags.StringVar(&o.out, "out", "dist/drill", "without -collector: folder for logs and data")
	flags.StringVar(&o.config, "config", "examples/demo.yaml", "without -collector: the Collector's configuration")
	flags.StringVar(&o.rules, "rules", "grafana/rules/vendor_failure.yaml", "without -collector: the rules")
	flags.StringVar(&o.routes, "routes", "grafana/alertmanager.yaml", "without -collector: Alertmanager's configuration")
	flags.DurationVar(&o.push, "push", 10*time.Second, "without -collector: how often the Collector pushes metrics")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; see -help", flags.Arg(0))
	}
	if o.rate <= 0 || o.rate > 1000 {
		return o, fmt.Errorf("-rate %v: write synthetic calls a second, above 0 and at most 1000", o.rate)
	}
	if !slices.Contains(reasons, o.reason) {
		return o, fmt.Errorf("-reason %s: write one of %s; rejected opens no outage, and with unauthorized VendorCredentials holds VendorOutage back", o.reason, strings.Join(reasons, ", "))
	}
	watches := o.prometheus + o.alertmanager + o.hears
	if o.collector != "" && watches == "" {
		return o, errors.New("-collector alone: nobody would see whether the alert arrives; give -prometheus, -alertmanager or -listen as well")
	}
	if o.collector == "" && watches != "" {
		return o, errors.New("-prometheus, -alertmanager and -listen go with -collector; without it everything is started here")
	}
	if o.collector != "" {
		var err error
		if o.access, err = newAccess(os.Getenv); err != nil {
			return o, err
		}
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o, os.Stdout)
		cancel()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, to io.Writer) error {
	d := &drill{vendor: o.vendor, to: to, within: o.within, calls: &calls{
		vendor: o.vendor, reason: o.reason, collector: o.collector,
		every: time.Duration(float64(time.Second) / o.rate),
	}}
	if o.collector == "" {
		l, err := start(ctx, o, to)
		if err != nil {
			return err
		}
		defer l.kill()
		d.calls.collector = l.collector.OTLP
		d.prometheus, d.webhook = l.prometheus, l.webhook
		if err := d.run(ctx); err != nil {
			return fmt.Errorf("%w; the logs are in %s", err, o.out)
		}
		return l.untouched(ctx, to)
	}
	d.calls.access = o.access
	defer o.access.client.CloseIdleConnections()
	if o.prometheus != "" {
		d.prometheus = &monitoring.Prometheus{URL: o.prometheus}
	}
	if o.alertmanager != "" {
		d.alertmanager = &monitoring.Alertmanager{URL: o.alertmanager}
	}
	if o.hears != "" {
		webhook, err := monitoring.StartWebhook(o.hears)
		if err != nil {
			return fmt.Errorf("-listen: %w", err)
		}
		defer webhook.Close()
		d.webhook = webhook
	}
	return d.run(ctx)
}
