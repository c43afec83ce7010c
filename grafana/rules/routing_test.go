package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

// alertmanagerFile is the example.
const alertmanagerFile = "../alertmanager.yaml"

// heldBack is where an alert goes that another one speaks for.
const heldBack = "held back"

// Where the example of an Alertmanager sends what, what it holds back because something else says it, and what it does
// not though it nearly does. An alert is written as alertname, severity, side, other labels -> where it goes.
func TestRouting(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		alerts []string // what holds back comes first, as it does where rules are evaluated in the order of the file
	}{
		{"an outage goes to the vendor's contact", []string{"VendorOutage page vendor vendor_name=a -> vendor-contact"}},
		{"an outage that is ours goes to us", []string{"VendorOutage page us vendor_name=a -> our-on-call"}},
		{"an announced one wakes nobody", []string{"VendorOutage info vendor vendor_name=a -> announced"}},
		{"tickets wait", []string{"VendorSlow ticket vendor vendor_name=a -> tickets", "TestOrderMissing ticket us vendor_name=b -> tickets"}},
		{"the heartbeat", []string{"Watchdog none us -> heartbeat"}},
		{"each vendor is told of apart", []string{"VendorOutage page vendor vendor_name=a -> vendor-contact", "VendorOutage page vendor vendor_name=b -> vendor-contact"}},
		{"and each alert", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "TestOrderFailing page us vendor_name=a -> our-on-call"}},
		{"but all test orders at a vendor together", []string{"TestOrderFailing page us vendor_name=a probe_name=1 -> our-on-call", "TestOrderFailing page us vendor_name=a probe_name=2 -> our-on-call"}},

		{"an outage says it all of its vendor", []string{"VendorOutage page vendor vendor_name=a -> vendor-contact", "VendorErrorBudgetBurn page vendor vendor_name=a -> held back",
			"VendorSlow ticket vendor vendor_name=a -> held back", "VendorBadResponses ticket vendor vendor_name=a -> held back", "TestOrderFailing page vendor vendor_name=a -> held back"}},
		{"and one that is ours of what is ours", []string{"VendorOutage page us vendor_name=a -> our-on-call", "VendorThrottled ticket us vendor_name=a -> held back", "VendorErrorBudgetBurn page us vendor_name=a -> held back"}},
		{"but of no other vendor", []string{"VendorOutage page vendor vendor_name=a -> vendor-contact", "VendorErrorBudgetBurn page vendor vendor_name=b -> vendor-contact", "VendorSlow ticket vendor vendor_name=b -> tickets",
			"VendorBadResponses ticket vendor vendor_name=b -> tickets", "TestOrderFailing page vendor vendor_name=b -> vendor-contact"}},
		{"nor of what is ours", []string{"VendorOutage page us vendor_name=a -> our-on-call", "VendorThrottled ticket us vendor_name=b -> tickets"}},
		{"a vendor's outage does not hide what is ours", []string{"VendorOutage page vendor vendor_name=a -> vendor-contact", "TestOrderFailing page us vendor_name=a -> our-on-call", "VendorThrottled ticket us vendor_name=a -> tickets"}},
		{"nor does one of ours hide what is the vendor's", []string{"VendorOutage page us vendor_name=a -> our-on-call", "VendorSlow ticket vendor vendor_name=a -> tickets"}},
		{"but of the budget, whoever burned it before", []string{"VendorOutage page us vendor_name=a -> our-on-call", "VendorErrorBudgetBurn page vendor vendor_name=a -> held back", "VendorErrorBudgetBurn ticket vendor vendor_name=a -> held back"}},
		{"nor does any hide refused credentials, or that we fail ourselves", []string{"VendorOutage page vendor vendor_name=a -> vendor-contact", "VendorCredentials page us vendor_name=a -> our-on-call",
			"OrdersFailingNotVendor page us vendor_name=a -> our-on-call", "TestOrderMissing ticket us vendor_name=a -> tickets", "VendorTelemetryMissing ticket us vendor_name=a missing=orders -> tickets"}},
		{"nor does an announced one hide anything", []string{"VendorOutage info vendor vendor_name=a -> announced", "TestOrderFailing page us vendor_name=a -> our-on-call",
			"TestOrderFailing page vendor vendor_name=a -> vendor-contact", "VendorErrorBudgetBurn page vendor vendor_name=a -> vendor-contact"}},

		{"refused credentials name the outage", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "VendorOutage page us vendor_name=a -> held back"}},
		{"and what burns by it", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "VendorErrorBudgetBurn page us vendor_name=a -> held back"}},
		{"but not another vendor's", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "VendorOutage page us vendor_name=b -> our-on-call"}},
		{"nor another's burn", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "VendorErrorBudgetBurn page us vendor_name=b -> our-on-call"}},
		{"nor one that is the vendor's", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "VendorOutage page vendor vendor_name=a -> vendor-contact"}},
		{"nor what the vendor burns", []string{"VendorCredentials page us vendor_name=a -> our-on-call", "VendorErrorBudgetBurn page vendor vendor_name=a -> vendor-contact"}},

		{"a page makes its ticket needless", []string{"VendorErrorBudgetBurn page vendor vendor_name=a -> vendor-contact", "VendorErrorBudgetBurn ticket vendor vendor_name=a -> held back"}},
		{"but not another vendor's", []string{"VendorErrorBudgetBurn page vendor vendor_name=a -> vendor-contact", "VendorErrorBudgetBurn ticket vendor vendor_name=b -> tickets"}},
		{"nor does a ticket its page", []string{"VendorErrorBudgetBurn ticket vendor vendor_name=a -> tickets", "VendorErrorBudgetBurn page vendor vendor_name=b -> vendor-contact"}},
		{"nor another alert's ticket", []string{"VendorErrorBudgetBurn page vendor vendor_name=a -> vendor-contact", "VendorSlow ticket vendor vendor_name=a -> tickets"}},

		{"what breaks all orders breaks the test orders", []string{"OrdersFailingNotVendor page us -> our-on-call", "TestOrderFailing page us vendor_name=a -> held back"}},
		{"but not those that a vendor breaks", []string{"OrdersFailingNotVendor page us -> our-on-call", "TestOrderFailing page vendor vendor_name=a -> vendor-contact"}},
		{"nor does it hide that none are placed", []string{"OrdersFailingNotVendor page us -> our-on-call", "TestOrderMissing ticket us vendor_name=a -> tickets"}},

		{"no metrics, no test order", []string{"VendorTelemetryMissing page us missing=metrics -> our-on-call", "TestOrderMissing ticket us vendor_name=a -> held back"}},
		{"but one of several Collectors may be another", []string{"VendorTelemetryMissing ticket us missing=collector -> tickets", "TestOrderMissing ticket us vendor_name=a -> tickets"}},
		{"no metrics, no Collector's", []string{"VendorTelemetryMissing page us missing=metrics -> our-on-call", "VendorTelemetryMissing ticket us missing=collector -> held back"}},
		{"but a signal may be missing besides", []string{"VendorTelemetryMissing page us missing=metrics -> our-on-call", "VendorTelemetryMissing ticket us missing=logs -> tickets"}},
		{"and one Collector beside a signal", []string{"VendorTelemetryMissing ticket us missing=logs -> tickets", "VendorTelemetryMissing ticket us missing=collector -> tickets"}},
		{"one of several Collectors is a ticket", []string{"VendorTelemetryMissing ticket us missing=collector -> tickets"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			webhook, alertmanager := startAlertmanager(t)
			var posted []map[string]map[string]string
			var goTo []string
			for _, text := range row.alerts {
				text, to, ok := strings.Cut(text, " -> ")
				require.True(t, ok, text)
				words := strings.Fields(text)
				labels := map[string]string{"alertname": words[0], "severity": words[1], "side": words[2]}
				for _, word := range words[3:] {
					name, value, _ := strings.Cut(word, "=")
					labels[name] = value
				}
				posted = append(posted, map[string]map[string]string{"labels": labels})
				goTo = append(goTo, to)
			}
			body, err := json.Marshal(posted)
			require.NoError(t, err)
			response, err := http.Post(alertmanager.URL+"/api/v2/alerts", "application/json", bytes.NewReader(body))
			require.NoError(t, err)
			response.Body.Close()
			require.Equal(t, http.StatusOK, response.StatusCode)

			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for i, to := range goTo {
				labels := posted[i]["labels"]
				if to != heldBack {
					_, n, err := webhook.Wait(ctx, func(a monitoring.Alert) bool { return fmt.Sprint(a.Labels) == fmt.Sprint(labels) })
					require.NoError(t, err, row.alerts[i])
					assert.Equal(t, "/"+to, n.Path, row.alerts[i])
					together := 0
					for j, other := range posted {
						if other := other["labels"]; goTo[j] == to && other["alertname"] == labels["alertname"] && other["vendor_name"] == labels["vendor_name"] {
							together++
						}
					}
					assert.Len(t, n.Alerts, together, "what is of one kind and vendor comes together, and nothing else")
					continue
				}
				require.Eventually(t, func() bool {
					for _, a := range alertsIn(t, alertmanager) {
						if fmt.Sprint(a.Labels) == fmt.Sprint(labels) {
							return a.Status.State == "suppressed"
						}
					}
					return false
				}, 30*time.Second, 100*time.Millisecond, row.alerts[i])
				for _, n := range webhook.Notifications() {
					for _, a := range n.Alerts {
						assert.NotEqual(t, labels, a.Labels)
					}
				}
			}
		})
	}
}

// timing is what a route of an Alertmanager says of when it tells, and what comes together. What it does not say it has
// from the route above.
type timing struct {
	GroupBy        []string `yaml:"group_by"`
	GroupWait      string   `yaml:"group_wait"`
	GroupInterval  string   `yaml:"group_interval"`
	RepeatInterval string   `yaml:"repeat_interval"`
}

// How long a page waits, how soon its end is told, and how seldom it comes again. Of these waits docs/metrics.md tells.
func TestRouteTimings(t *testing.T) {
	text, err := os.ReadFile(alertmanagerFile)
	require.NoError(t, err)
	var parsed struct {
		Route struct {
			timing `yaml:",inline"`
			Routes []struct {
				Receiver string
				timing   `yaml:",inline"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &parsed))
	assert.Equal(t, timing{[]string{"alertname", "vendor_name"}, "5s", "1m", "4h"}, parsed.Route.timing)
	own := map[string]timing{}
	for _, route := range parsed.Route.Routes {
		own[route.Receiver] = route.timing
	}
	assert.Equal(t, map[string]timing{
		// Whoever misses it for five minutes calls.
		"heartbeat": {nil, "0s", "1m", "1m"},
		"announced": {}, "vendor-contact": {}, "our-on-call": {},
	}, own)
}
