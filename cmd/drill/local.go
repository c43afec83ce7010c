package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

// nowhere is where the example of an Alertmanager sends to.
const nowhere = "http://127.0.0.1:9/"

// local is everything from the Collector to the receiver, wired together on this machine.
type local struct {
	webhook      *monitoring.Webhook
	alertmanager *monitoring.Alertmanager
	prometheus   *monitoring.Prometheus
	collector    *builtcollector.Collector
}

func start(ctx context.Context, o options, to io.Writer) (_ *local, err error) {
	fmt.Fprintf(to, "Starting %s with %s, Prometheus with %s, Alertmanager with %s\n", builtcollector.Path, o.config, o.rules, o.routes)
	// Data of an earlier drill would show an outage.
	if err := os.RemoveAll(filepath.Join(o.out, "data")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	l := &local{}
	defer func() {
		if err != nil {
			l.kill()
		}
	}()
	if l.webhook, err = monitoring.StartWebhook("127.0.0.1:0"); err != nil {
		return nil, err
	}
	routes, err := os.ReadFile(o.routes)
	if err != nil {
		return nil, err
	}
	routed := filepath.Join(o.out, "alertmanager.yaml")
	if err := os.WriteFile(routed, bytes.ReplaceAll(routes, []byte(nowhere), []byte(l.webhook.URL+"/")), 0o600); err != nil {
		return nil, err
	}
	if l.alertmanager, err = monitoring.StartAlertmanager(ctx, ".", o.out, routed); err != nil {
		return nil, err
	}
	l.prometheus, err = monitoring.StartPrometheus(ctx, ".", o.out, monitoring.PrometheusConfig{
		Rules: []string{o.rules}, Alertmanager: l.alertmanager.URL})
	if err != nil {
		return nil, err
	}
	config, err := l.prometheus.PushFrom(o.config, o.out, o.push)
	if err != nil {
		return nil, err
	}
	if l.collector, err = builtcollector.Start(ctx, ".", config, o.out, "DEMO_OUT="+o.out); err != nil {
		return nil, err
	}
	return l, l.firstPush(ctx, o.push)
}

// firstPush returns when the Collector's metrics are there.
func (l *local) firstPush(ctx context.Context, push time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, push+30*time.Second, fmt.Errorf("the Collector's metrics do not reach Prometheus; the Collector's log is %s", l.collector.Log))
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		if got, err := l.prometheus.Query(ctx, "vendor_outage"); err == nil && len(got) > 0 {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *local) kill() {
	if l.collector != nil {
		l.collector.Kill()
	}
	if l.prometheus != nil {
		l.prometheus.Kill()
	}
	if l.alertmanager != nil {
		l.alertmanager.Kill()
	}
	if l.webhook != nil {
		l.webhook.Close()
	}
}

// customerFigures are the figures of which a drill must leave nothing, as queries.
var customerFigures = []struct{ name, query string }{
	{"customers' orders", `sum(max_over_time(vendor_orders_total{user_agent_synthetic_type=""}[1h]))`},
	{"calls for customers", `sum(max_over_time(vendor_calls_total{user_agent_synthetic_type=""}[1h]))`},
	{"value of orders", `sum(max_over_time(vendor_order_value_total[1h]))`},
	{"orders lost in the outage", `sum(max_over_time(vendor_outage_orders[1h]))`},
	{"customers hit by the outage", `sum(max_over_time(vendor_outage_users[1h]))`},
	{"value lost in the outage", `sum(max_over_time(vendor_outage_value[1h]))`},
}

// untouched returns errTouched if the drill, before which there was nothing, is in customers' figures.
func (l *local) untouched(ctx context.Context, to io.Writer) error {
	for _, figure := range customerFigures {
		got, err := l.prometheus.Query(ctx, figure.query)
		if err != nil {
			return err
		}
		for _, series := range got {
			if value := series.Points[0].Value; value != 0 {
				return fmt.Errorf("%w: %s are %v", errTouched, figure.name, value)
			}
		}
	}
	fmt.Fprintln(to, "\nCustomers' orders, their value and the outage's impact are all 0: the drill is in none of them")
	return nil
}
