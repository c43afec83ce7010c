package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

// alertName is the alert that a drill makes happen. In an announced window it shows and wakes nobody, which is no page.
const (
	alertName = "VendorOutage"
	severity  = "page"
)

// drill sends synthetic calls and watches the alert. Of its watchers, prometheus, alertmanager and webhook, one at least
// is there.
type drill struct {
	vendor string
	calls  *calls
	within time.Duration
	to     io.Writer

	prometheus   *monitoring.Prometheus
	alertmanager *monitoring.Alertmanager
	webhook      *monitoring.Webhook
}

// hop is one step of the alert's way. Its time is zero where nobody saw it.
type hop struct {
	name string
	at   time.Time
}

func (d *drill) run(ctx context.Context) error {
	if err := d.mayBegin(ctx); err != nil {
		return err
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.to, "Sending synthetic calls to %s that fail (%s)\n", d.vendor, d.calls.reason)
	hops, err := d.sendUntil(ctx, true, "first failed synthetic call", d.arrived)
	if err != nil {
		return fmt.Errorf("no %s of severity %s arrived: %w", alertName, severity, err)
	}
	d.print(hops)

	fmt.Fprintf(d.to, "\nSending synthetic calls that succeed\n")
	hops, err = d.sendUntil(ctx, false, "first successful synthetic call", d.resolved)
	if err != nil {
		return fmt.Errorf("%s was not resolved: %w", alertName, err)
	}
	d.print(hops)
	return nil
}

// mayBegin returns an error where a drill would prove nothing.
func (d *drill) mayBegin(ctx context.Context) error {
	if d.prometheus != nil {
		known, err := d.prometheus.Query(ctx, "max by (vendor_name) (vendor_outage)")
		if err != nil {
			return fmt.Errorf("prometheus: %w", err)
		}
		names := make([]string, len(known))
		for i, vendor := range known {
			names[i] = vendor.Labels["vendor_name"]
			if names[i] == d.vendor && vendor.Points[0].Value > 0 {
				return fmt.Errorf("%s is in an outage already, which a drill cannot be told from; wait until it is over", d.vendor)
			}
		}
		if !slices.Contains(names, d.vendor) {
			return fmt.Errorf("-vendor %s: Prometheus has a vendor_outage of %q only; write one of these, or see that the Collector's metrics arrive", d.vendor, names)
		}
		// As long as the rules look back at a window. It excuses what is the vendor's: not that we call too often.
		planned, err := d.prometheus.Query(ctx, fmt.Sprintf("max_over_time(vendor_planned{vendor_name=%q}[3m]) == 1", d.vendor))
		if err != nil {
			return fmt.Errorf("prometheus: %w", err)
		}
		if len(planned) > 0 && d.calls.reason != "throttled" {
			return fmt.Errorf("a window of %s's is announced, in which nobody is paged; wait until three minutes after it ends", d.vendor)
		}
	}
	if hops, done, err := d.arrived(ctx, time.Time{}); err != nil {
		return err
	} else if done {
		return fmt.Errorf("%s already fires for %s since %s; wait until it is resolved", alertName, d.vendor, utc(hops[len(hops)-1].at))
	}
	return nil
}

// begin lets the drill's counters begin, as those of a shop that has had traffic: the rules see no increase in what was
// there from the start. It needs Prometheus to know when that is.
func (d *drill) begin(ctx context.Context) error {
	if d.prometheus == nil {
		return nil
	}
	counters := fmt.Sprintf("vendor_calls_total{vendor_name=%q, vendor_caller=~%q}", d.vendor, caller+"|_other")
	_, err := d.sendUntil(ctx, false, "", func(ctx context.Context, _ time.Time) ([]hop, bool, error) {
		got, err := d.prometheus.Query(ctx, counters)
		return nil, len(got) > 0, err
	})
	if err != nil {
		return fmt.Errorf("no %s comes to Prometheus: %w", counters, err)
	}
	return nil
}

// sendUntil sends synthetic calls until what is watched has come, and returns the steps on the way.
func (d *drill) sendUntil(ctx context.Context, failed bool, name string, watched func(context.Context, time.Time) ([]hop, bool, error)) ([]hop, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.within, fmt.Errorf("waited for %s", d.within))
	defer cancel()
	next := time.NewTicker(d.calls.every)
	defer next.Stop()
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	// Prometheus tells milliseconds.
	began := time.Now().Truncate(time.Millisecond)
	steps := []hop{{name, began}}
	for {
		if err := d.calls.send(ctx, failed); err != nil {
			return nil, because(ctx, err)
		}
		for looking := true; looking; {
			select {
			case <-next.C:
				looking = false
			case <-look.C:
				more, done, err := watched(ctx, began)
				if err != nil {
					return nil, because(ctx, err)
				}
				if done {
					return append(steps, more...), nil
				}
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

// because returns why the context is done, if it is.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// arrived returns the steps of the alert and whether the last watcher has seen it fire, since a time; for a drill that goes on,
// those before it too, for one can be asked a moment before it knows.
func (d *drill) arrived(ctx context.Context, since time.Time) (hops []hop, done bool, err error) {
	if d.prometheus != nil {
		pushed, err := d.changed(ctx, 1, since)
		if err != nil {
			return nil, false, err
		}
		active, fires, err := d.firing(ctx)
		if err != nil {
			return nil, false, err
		}
		done = fires
		hops = append(hops, hop{"the Collector knows, Prometheus has the metric", pushed}, hop{"the rule's evaluation fires", active.ActiveAt})
	}
	if d.alertmanager != nil {
		alert, has, err := d.managed(ctx)
		if err != nil {
			return nil, false, err
		}
		done = has && (done || d.prometheus == nil || since.IsZero())
		hops = append(hops, hop{"Alertmanager has it, for " + alert.receivers(), alert.UpdatedAt})
	}
	if d.webhook != nil {
		alert, n, told := d.told("firing", since)
		done = told && (done || d.prometheus == nil && d.alertmanager == nil || since.IsZero())
		if d.prometheus == nil {
			hops = append(hops, hop{"the rule's evaluation fires", alert.StartsAt})
		}
		hops = append(hops, hop{"the receiver " + n.Receiver + " is told: " + alert.Annotations["summary"], n.At})
	}
	return hops, done, nil
}

// resolved returns the steps of the alert's end and whether all watchers have seen it, since a time.
func (d *drill) resolved(ctx context.Context, since time.Time) (hops []hop, done bool, err error) {
	done = true
	if d.prometheus != nil {
		over, err := d.changed(ctx, 0, since)
		if err != nil {
			return nil, false, err
		}
		_, fires, err := d.firing(ctx)
		if err != nil {
			return nil, false, err
		}
		hops = append(hops, hop{"the Collector knows, Prometheus has the metric", over})
		if done = !fires; done {
			hops = append(hops, hop{"the rule's keep_firing_for is over", time.Now()})
		}
	}
	if d.alertmanager != nil {
		_, has, err := d.managed(ctx)
		if err != nil {
			return nil, false, err
		}
		if done = done && !has; !has {
			hops = append(hops, hop{"Alertmanager has it no more", time.Now()})
		}
	}
	if d.webhook != nil {
		alert, n, told := d.told("resolved", since)
		done = done && told
		if !alert.EndsAt.IsZero() && len(hops) > 1 {
			hops[1].at = alert.EndsAt
		}
		hops = append(hops, hop{"the receiver " + n.Receiver + " is told", n.At})
	}
	return hops, done, nil
}

// changed returns the time of the first sample since a time at which a Collector says that the vendor's outage is on, 1,
// or off, 0; zero where it has not yet.
func (d *drill) changed(ctx context.Context, to float64, since time.Time) (time.Time, error) {
	series, err := d.prometheus.Query(ctx, fmt.Sprintf("vendor_outage{vendor_name=%q}[%ds]", d.vendor, int(d.within.Seconds())+60))
	if err != nil {
		return time.Time{}, fmt.Errorf("prometheus: %w", err)
	}
	var first time.Time
	for _, one := range series {
		for i, point := range one.Points {
			if point.At.Before(since) || point.Value != to || i > 0 && one.Points[i-1].Value == to {
				continue
			}
			if first.IsZero() || point.At.Before(first) {
				first = point.At
			}
		}
	}
	return first, nil
}

// activeAlert is an alert as Prometheus has it.
type activeAlert struct {
	Labels   map[string]string `json:"labels"`
	State    string            `json:"state"`
	ActiveAt time.Time         `json:"activeAt"`
}

func (d *drill) firing(ctx context.Context) (activeAlert, bool, error) {
	var active struct {
		Alerts []activeAlert `json:"alerts"`
	}
	if err := d.prometheus.Get(ctx, "/api/v1/alerts", nil, &active); err != nil {
		return activeAlert{}, false, fmt.Errorf("prometheus: %w", err)
	}
	for _, alert := range active.Alerts {
		if d.is(alert.Labels) && alert.State == "firing" {
			return alert, true, nil
		}
	}
	return activeAlert{}, false, nil
}

// managedAlert is an alert as Alertmanager has it.
type managedAlert struct {
	Labels    map[string]string `json:"labels"`
	UpdatedAt time.Time         `json:"updatedAt"`
	Receivers []struct {
		Name string `json:"name"`
	} `json:"receivers"`
}

func (m managedAlert) receivers() string {
	var names []string
	for _, receiver := range m.Receivers {
		names = append(names, receiver.Name)
	}
	return strings.Join(names, ", ")
}

// managed returns the alert that Alertmanager has, if it does and neither silences nor inhibits it.
func (d *drill) managed(ctx context.Context) (managedAlert, bool, error) {
	var alerts []managedAlert
	if err := d.alertmanager.Get(ctx, "/api/v2/alerts?active=true&silenced=false&inhibited=false", &alerts); err != nil {
		return managedAlert{}, false, fmt.Errorf("alertmanager: %w", err)
	}
	for _, alert := range alerts {
		if d.is(alert.Labels) {
			return alert, true, nil
		}
	}
	return managedAlert{}, false, nil
}

// told returns the alert in the first notification since a time that has it in a status.
func (d *drill) told(status string, since time.Time) (monitoring.Alert, monitoring.Notification, bool) {
	for _, n := range d.webhook.Notifications() {
		for _, alert := range n.Alerts {
			if alert.Status == status && d.is(alert.Labels) && !n.At.Before(since) {
				return alert, n, true
			}
		}
	}
	return monitoring.Alert{}, monitoring.Notification{}, false
}

func (d *drill) is(labels map[string]string) bool {
	return labels["alertname"] == alertName && labels["severity"] == severity && labels["vendor_name"] == d.vendor
}

// print writes the steps with the seconds since the first and since the one before.
func (d *drill) print(hops []hop) {
	fmt.Fprintf(d.to, "%9s %9s\n", "since", "hop")
	last := hops[0].at
	for _, step := range hops {
		if step.at.IsZero() {
			fmt.Fprintf(d.to, "%9s %9s  %s\n", "?", "", step.name)
			continue
		}
		fmt.Fprintf(d.to, "%8.2fs %8.2fs  %s  %s\n", step.at.Sub(hops[0].at).Seconds(), step.at.Sub(last).Seconds(), utc(step.at), step.name)
		last = step.at
	}
}

func utc(t time.Time) string { return t.UTC().Format("15:04:05.000 UTC") }

// errTouched says that a drill has left something in what customers' figures are made of.
var errTouched = errors.New("the drill is in customers' figures")
