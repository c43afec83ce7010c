package main

// The ids of Vendor incident's panels, never given to another panel: links that people keep name them.
const (
	panelTimeline        = 1
	panelFirstFailed     = 2
	panelFound           = 3
	panelLastDown        = 4
	panelDowntime        = 5
	panelLost            = 6
	panelCustomers       = 7
	panelValue           = 8
	panelPeak            = 9
	panelShareLost       = 10
	panelReasons         = 11
	panelIncidentOrders  = 12
	panelIncidentCalls   = 13
	panelIncidentLatency = 14
	panelTraces          = 15
	panelLines           = 16
	panelOutageLines     = 17
	panelOutagesFound    = 18
	panelTestOrders      = 19
	panelLastFailed      = 20
	panelLostCounted     = 21
)

// vendorIncident is read after the fact: choose the vendor and drag the window over the incident. The figures are named
// like the fields of the incident report's template in the playbook.
func vendorIncident() Dashboard {
	const (
		ofThis = `vendor_name="$vendor", vendor_caller=~"$caller", user_agent_synthetic_type=~"|$synthetic"`
		failed = ofThis + `, ` + lost
	)
	down := newestFresh("vendor_outage", `vendor_name="$vendor"`)
	lostEachMinute := lastMinute("vendor_orders_total", "", failed)
	// The times at which orders failed.
	failing := `timestamp((` + lostEachMinute + `) > 0)[$__range:30s]`
	return Dashboard{
		UID: "vendor-incident", Title: "Vendor incident", Tags: []string{"vendor_failure"}, SchemaVersion: schemaVersion, Version: 1,
		Description:  "One vendor, one window: the timeline and the figures that an incident report needs, the traces and the log lines behind them.",
		Editable:     true,
		GraphTooltip: 1, Timezone: "utc", Time: TimeRange{"now-3h", "now"}, Refresh: "",
		Annotations: windows(),
		Links: []Link{
			link("Incident report template", "In the playbook", playbook+"#the-incident-report"),
			link("Vendor health", "All vendors", "/d/vendor-health"),
			link("Failing traces", "In Explore, as the processor tagged them", explore(traceQL(failingTraces))),
			link("Failing log lines", "In Explore, as the processor tagged them", explore(logQL(failingLines))),
		},
		Templating: VariableList{append(dataSources(),
			fromSeries("vendor", "Vendor", "The third party whose incident it is.", vendors),
			callerVariable(),
			syntheticVariable(),
		)},
		Panels: []Panel{
			states("Timeline", "When the vendor was in an outage, when a window was announced, and what test orders saw. All times are UTC.",
				outageStates,
				query{down, "outage"},
				query{newest("vendor_planned", `vendor_name="$vendor"`) + " == 1", "announced"},
				query{`min by (probe_name) (probe_success{vendor_name="$vendor"})`, "test order {{probe_name}}"}).
				mapped("/^test order/", testOrderStates).mapped("/^announced$/", announcedStates).
				at(panelTimeline, 0, 0, 24, 6),

			stat("First failed order", "In the time range, to half a minute, or to one and a half where metrics come once a minute; the line of the outage below has it to the millisecond.", "dateTimeAsIso",
				query{`min_over_time(` + failing + `) * 1000`, "first failed order"}).
				noData("none failed").at(panelFirstFailed, 0, 6, 4, 4),
			stat("Outage found", "When the vendor was first told to be down in the time range, to 15 seconds, or to a minute where metrics come once a minute. From the first failed order to here is what detection took.", "dateTimeAsIso",
				query{`min_over_time(timestamp(` + down + ` == 1)[$__range:15s]) * 1000`, "found"}).
				noData("no outage").at(panelFound, 4, 6, 4, 4),
			stat("Last failed order", "In the time range, late by a minute and a half at the most, or by two where metrics come once a minute; the line of the outage below has it to the millisecond.", "dateTimeAsIso",
				query{`max_over_time(` + failing + `) * 1000`, "last failed order"}).
				noData("none failed").at(panelLastFailed, 8, 6, 4, 4),
			stat("Last seen down", "When the vendor was last told to be down in the time range, to 15 seconds, or to a minute where metrics come once a minute. A Collector that ends in an outage is taken at its word for a minute and a half. An outage ends when no failure was seen for outage.recovery.", "dateTimeAsIso",
				query{`max_over_time(timestamp(` + down + ` == 1)[$__range:15s]) * 1000`, "last seen down"}).
				noData("no outage").at(panelLastDown, 12, 6, 4, 4),
			stat("Time down", "Of the time range, to 15 seconds, or to a minute where metrics come once a minute. Counted from when outages were found; where a Collector ends in one, for a minute and a half more.", "s",
				query{`sum_over_time(` + down + `[$__range:15s]) * 15`, "down"}).
				at(panelDowntime, 16, 6, 4, 4),
			stat("Outages", "That were found in the time range. Flapping within outage.recovery is one.", "none",
				query{`round(sum(increase(vendor_outages_total{vendor_name="$vendor"}[$__range])))`, "outages"}).
				at(panelOutagesFound, 20, 6, 4, 4),

			stat("Orders lost", "Customers' orders that the vendor broke in its largest outage in the time range, as the Collector counts them that saw most of it: what others saw does not add up here, nor do further outages. What it rejected is not among them.", "none",
				query{most("vendor_outage_orders", `vendor_name="$vendor"`), "orders"}).
				colored("green", 1.0, "red").at(panelLost, 0, 10, 4, 4),
			stat("Orders lost in all", "All customers' orders that the vendor broke in the time range, over all Collectors and outages and between them; what it rejected is not among them. To a few: increase() estimates.", "none",
				query{`round(` + inRange("vendor_orders_total", "", `vendor_name="$vendor", vendor_caller=~"$caller", user_agent_synthetic_type="", `+lost) + `)`, "orders"}).
				colored("green", 1.0, "red").at(panelLostCounted, 4, 10, 4, 4),
			stat("Customers hit", "Distinct customers of those orders. Empty where nothing names customers: see impact.user.", "none",
				query{most("vendor_outage_users", `vendor_name="$vendor"`), "customers"}).
				noData("impact.user is not set").colored("green", 1.0, "red").at(panelCustomers, 8, 10, 4, 4),
			withDecimals(stat("Value lost", "Of those orders, in the currency of impact.unit.", "none",
				query{most("vendor_outage_value", `vendor_name="$vendor"`), "value"}), 4).
				noData("impact.value is not set").colored("green", 1e-9, "red").at(panelValue, 12, 10, 4, 4),
			withDecimals(stat("Share of orders lost", "Of the orders that could have succeeded: those that did, and those that the vendor broke. In the whole time range, so drag it over the incident.", "percentunit",
				query{inRange("vendor_orders_total", "", failed) + ` / (` + inRange("vendor_orders_total", "", ofOrders+`, vendor_outcome="success"`) + ` + ` + inRange("vendor_orders_total", "", failed) + `)`, "lost"}), 1).
				at(panelShareLost, 16, 10, 4, 4),
			stat("Peak of failed orders", "The worst minute of the time range.", "suffix: orders/min",
				query{`max_over_time((` + lostEachMinute + `)[$__range:30s])`, "peak"}).
				at(panelPeak, 20, 10, 4, 4),

			shares("Reasons", "Failed orders of the time range by reason, to a few: increase() estimates. The line of the outage below has them exactly.", "none",
				query{inRange("vendor_orders_total", "vendor_failure_reason, ", ofThis+`, vendor_outcome="vendor_failure"`) + ` > 0`, "{{vendor_failure_reason}}"}).
				noData("none failed").at(panelReasons, 0, 14, 6, 8),
			coloredBars("Orders by outcome", "Orders a minute, each outcome by the signal that tells of more of it.", "suffix: orders/min", byOutcome(brokenByOne()...)...).
				at(panelIncidentOrders, 6, 14, 9, 8),
			coloredBars("Call failures by reason", "Failed requests to the vendor a minute. Red is the vendor's, orange the vendor's or the network's between, blue ours to mend, yellow the request's doing. A call to which spans and log lines give different reasons is under both.", "suffix: calls/min",
				bySide("vendor_calls_total", "", ofThis+`, vendor_outcome="failure"`, "{{vendor_failure_reason}}")...).
				at(panelIncidentCalls, 15, 14, 9, 8),

			graph("Call latency percentiles", "Half and 95 % of the requests were answered within this. The points are failed calls: each leads to its trace.", "s", lines,
				query{quantile(0.5, ofThis+`, vendor_signal="traces"`), "p50"},
				query{quantile(0.95, ofThis+`, vendor_signal="traces"`), "p95"}).
				withExemplars().
				at(panelIncidentLatency, 0, 22, 12, 8),
			graph("Test order step times", "How long each step of the test orders took. A gap is a step that did not run.", "s", lines,
				query{`max by (probe_name, probe_step) (probe_step_duration_seconds{vendor_name="$vendor"})`, "{{probe_name}}: {{probe_step}}"}).
				at(panelTestOrders, 12, 22, 12, 8),

			traces("Failing traces", "Traces with a call or an order that this vendor broke, as the processor tagged them.", failingTraces).
				at(panelTraces, 0, 30, 24, 8),
			logLines("Begin and end of outages", "The Collector's own lines: since when, first and last failed order, reasons, orders, customers and value lost, example traces. Here if the Collector sends its own logs.", outageLines).
				at(panelOutageLines, 0, 38, 24, 6),
			logLines("Failed orders and calls", "Log lines that the processor tagged with this vendor. A line can hold the vendor's link, and so its API key: do not paste it anywhere.", failingLines).
				at(panelLines, 0, 44, 24, 10),
		},
	}
}
