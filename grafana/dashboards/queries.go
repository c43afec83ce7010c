package main

import (
	"fmt"
	"slices"
)

// What panels select by the variables. With several vendors an order that no vendor broke has no vendor_name; "|" keeps
// it beside the chosen vendors'.
const (
	ofVendor = `vendor_name=~"$vendor"`
	ofCalls  = `vendor_name=~"$vendor", vendor_caller=~"$caller", user_agent_synthetic_type=~"|$synthetic"`
	ofOrders = `vendor_name=~"$vendor|", vendor_caller=~"$caller", user_agent_synthetic_type=~"|$synthetic"`

	// lost are the orders that a vendor broke. What it rejected was the request's own doing.
	lost = `vendor_outcome="vendor_failure", vendor_failure_reason!="rejected"`
)

// perMinute is how many a minute a counter counts. The two signals tell of the same orders: the one that tells of more
// is taken, never their sum. by is empty or ends in a comma.
func perMinute(counter, by, selector string) string {
	return fmt.Sprintf(`max without (vendor_signal) (sum by (%svendor_signal) (rate(%s{%s}[$__rate_interval]))) * 60`, by, counter, selector)
}

// side is whose doing failures are, by their reasons: the table "Is it us or them?" of docs/playbook.md.
type side struct{ reasons, color string }

var (
	theVendors = side{"error|slow|bad_response", "red"}
	between    = side{"timeout|unreachable", "orange"} // the vendor's, or the network's
	oursToMend = side{"unauthorized|throttled", "blue"}
	theRequest = side{"rejected", "yellow"}

	sides = []side{theVendors, between, oursToMend, theRequest}
)

// bySide are the failures a minute that a counter counted, a query a side. by is empty or ends in a comma.
func bySide(counter, by, selector, legend string) []coloredQuery {
	var all []coloredQuery
	for _, of := range sides {
		expr := perMinute(counter, by+"vendor_failure_reason, ", selector+`, vendor_failure_reason=~"`+of.reasons+`"`)
		all = append(all, coloredQuery{query{expr, legend}, Color{"shades", of.color}})
	}
	return all
}

// byOutcome are the orders a minute, a query an outcome; of those that vendors broke as given.
func byOutcome(broken ...coloredQuery) []coloredQuery {
	return slices.Concat(
		[]coloredQuery{ended("success", "", "success", "green")},
		broken,
		[]coloredQuery{ended("own_failure", "", "own_failure", "purple"), ended("rejected", "", "rejected", "yellow")})
}

// brokenByOne are the orders that a vendor broke.
func brokenByOne() []coloredQuery {
	return []coloredQuery{ended("vendor_failure", "", "vendor_failure", "red")}
}

// brokenByAny are those that vendors broke, in two queries, as a large shop's are too many for one (make dashboards-cost).
// Spans and log lines may give one failure different reasons: together are the reasons that both signals can give to one
// failure, so that it counts once. One that is slow by its spans, or bad_response by one signal alone, and something else
// by the other stands under both.
func brokenByAny() []coloredQuery {
	const quiet = "slow|bad_response"
	return []coloredQuery{
		ended("vendor_failure", `, vendor_failure_reason!~"`+quiet+`"`, "vendor_failure", "red"),
		ended("vendor_failure", `, vendor_failure_reason=~"`+quiet+`"`, "vendor_failure: slow, bad_response", "dark-red"),
	}
}

func ended(outcome, also, legend, color string) coloredQuery {
	expr := perMinute("vendor_orders_total", "vendor_outcome, ", ofOrders+`, vendor_outcome="`+outcome+`"`+also)
	return coloredQuery{query{expr, legend}, Color{"fixed", color}}
}

// lastMinute is perMinute of the last minute or, of series that come once a minute, of the last two: one sample shows no
// increase. $__rate_interval would not do for a figure of the whole range, for it grows with the range and with what is
// on the screen.
func lastMinute(counter, by, selector string) string {
	return fmt.Sprintf(`max without (vendor_signal) (sum by (%svendor_signal) (rate(%[2]s{%[3]s}[1m]) or rate(%[2]s{%[3]s}[2m]))) * 60`, by, counter, selector)
}

// inRange is how many a counter counted within the dashboard's range, by the same rule.
func inRange(counter, by, selector string) string {
	return fmt.Sprintf(`max without (vendor_signal) (sum by (%svendor_signal) (increase(%s{%s}[$__range])))`, by, counter, selector)
}

// newest is the present value of a gauge. Replicas do not add up: the largest is told.
func newest(gauge, selector string) string {
	return fmt.Sprintf(`max by (vendor_name) (%s{%s})`, gauge, selector)
}

// newestFresh is newest without what was told more than a minute and a half ago, which is enough where metrics come once a
// minute. A Collector that is replaced leaves no mark of its end where it pushes: Prometheus would show what it told last
// for five minutes beside what its successor tells.
func newestFresh(gauge, selector string) string {
	return fmt.Sprintf(`max by (vendor_name) (%[1]s{%[2]s} and time() - timestamp(%[1]s{%[2]s}) < 90)`, gauge, selector)
}

// most is the largest value of a gauge within the dashboard's range.
func most(gauge, selector string) string {
	return fmt.Sprintf(`max by (vendor_name) (max_over_time(%s{%s}[$__range]))`, gauge, selector)
}

// downFor is how long ago each vendor that is down was last told to be up, or else first told to be down.
const downFor = `(time() - (` +
	`max_over_time(timestamp(max by (vendor_name) (vendor_outage{` + ofVendor + `}) == 0)[1d:30s]) or ` +
	`min_over_time(timestamp(max by (vendor_name) (vendor_outage{` + ofVendor + `}) == 1)[1d:30s])` +
	`)) and max by (vendor_name) (vendor_outage{` + ofVendor + `}) == 1`

// quantile is a percentile of how long calls took.
func quantile(q float64, selector string) string {
	return fmt.Sprintf(`histogram_quantile(%v, sum by (le) (rate(vendor_call_duration_seconds_bucket{%s}[$__rate_interval])))`, q, selector)
}

// The vendor is matched by a pattern: it can be several, and all.
const (
	// failingTraces and failingLines find what the processor tagged; a test order's steps have a vendor's name also
	// when they succeed.
	failingTraces = `{ span.vendor.name =~ "${vendor:pipe}" && span.vendor.failure.reason != nil }`
	failingLines  = `{service_name=~".+"} | vendor_name=~"${vendor:pipe}" | vendor_failure_reason!=""`
	// outageLines are the Collector's own, one at each begin and each end of an outage.
	outageLines = `{service_name=~".+"} | event_name="vendor.outage.start" or event_name="vendor.outage.end" | vendor_name=~"${vendor:pipe}"`
)

func traceQL(query string) Target {
	return Target{RefID: "A", DataSource: tempo, Query: query, QueryType: "traceql", TableType: "traces", Limit: 50}
}

func logQL(query string) Target {
	return Target{RefID: "A", DataSource: loki, Expr: query, QueryType: "range", EditorMode: "code", MaxLines: 200}
}
