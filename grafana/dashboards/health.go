package main

// The ids of Vendor health's panels. Alerts name the panel that shows what they tell of by its id, and so do links that
// people keep: an id is never given to another panel.
const (
	panelBrokenNow       = 1
	panelOutages         = 2
	panelOrders          = 3
	panelWhoseFault      = 4
	panelLatency         = 5
	panelPercentiles     = 6
	panelTestOrder       = 7
	panelTestOrderSteps  = 8
	panelOrdersLost      = 9
	panelCustomersHit    = 10
	panelValueLost       = 11
	panelReadiness       = 12
	panelOwnFailures     = 13
	panelCallFailures    = 14
	panelDownFor         = 15
	panelLastGoodOrder   = 16
	panelMeanLatency     = 17
	panelTestOrderFaults = 18
)

// vendorHealth reads from top to bottom: what is broken and what it costs, since when, whose fault, and at last whether
// what is seen can be trusted.
func vendorHealth() Dashboard {
	const incident = "/d/vendor-incident?var-vendor=${__field.labels.vendor_name}&${__url_time_range}"
	const oneVendor = `vendor_signal="traces", vendor_name="$latency_vendor", vendor_caller=~"$caller", user_agent_synthetic_type=~"|$synthetic"`
	return Dashboard{
		UID: "vendor-health", Title: "Vendor health", Tags: []string{"vendor_failure"}, SchemaVersion: schemaVersion, Version: 1,
		Description:  "Orders fail: is it us, or a vendor? Who is broken, since when, whose fault is it, and what does it cost.",
		Editable:     true,
		GraphTooltip: 1, Timezone: "browser", Time: TimeRange{"now-3h", "now"}, Refresh: "30s",
		Annotations: windows(),
		Links: []Link{
			link("Playbook", "What to do, an alert at a time", playbook),
			incidentLink(),
			link("Failing traces", "In Explore, as the processor tagged them", explore(traceQL(failingTraces))),
			link("Failing log lines", "In Explore, as the processor tagged them", explore(logQL(failingLines))),
		},
		Templating: VariableList{append(dataSources(),
			anyOf(fromSeries("vendor", "Vendor", "The third parties that orders depend on.", vendors)),
			callerVariable(),
			syntheticVariable(),
			fromSeries("latency_vendor", "Latency of", "Whose latency is shown: that of several vendors together would say nothing.",
				`label_values(vendor_calls_total{vendor_name=~"$vendor"}, vendor_name)`),
		)},
		Panels: []Panel{
			stateNow("Is anything broken now", "Whether each vendor is in an outage: by calls and orders, of customers and test orders, in spans or logs.",
				outageStates, query{newest("vendor_outage", ofVendor), "{{vendor_name}}"}).
				noData("no vendor is watched: see Readiness").
				link("The incident of ${__field.labels.vendor_name}", incident).
				at(panelBrokenNow, 0, 0, 6, 6),
			stat("Down for", "How long the outage that is on has been known, by vendor, to half a minute; up to a day. Empty when no vendor is down.", "s",
				query{downFor, "{{vendor_name}}"}).
				noData("nobody is down").colored("red").
				at(panelDownFor, 6, 0, 4, 6),
			stat("Last good test order", "How long ago the last test order went well, end to end. Empty where none is placed, or none ever went well.", "s",
				query{`time() - max by (probe_name) (probe_last_success_time_seconds{` + ofVendor + `})`, "{{probe_name}}"}).
				noData("no good test order seen").colored("green", 150.0, "orange", 300.0, "red").
				at(panelLastGoodOrder, 10, 0, 4, 6),
			stat("Customers' orders lost", "By the largest outage in the time range, of each vendor. Orders that the vendor rejected and test orders are not among them.", "none",
				query{most("vendor_outage_orders", ofVendor), "{{vendor_name}}"}).
				colored("green", 1.0, "red").link("The incident of ${__field.labels.vendor_name}", incident).
				at(panelOrdersLost, 14, 0, 4, 6),
			stat("Customers hit", "Distinct customers whose orders the vendor broke, in its largest outage in the time range. Empty where nothing names customers: see impact.user.", "none",
				query{most("vendor_outage_users", ofVendor), "{{vendor_name}}"}).
				noData("impact.user is not set").colored("green", 1.0, "red").
				at(panelCustomersHit, 18, 0, 3, 6),
			withDecimals(stat("Value lost", "What the lost orders were worth, in the currency of impact.unit, in the vendor's largest outage in the time range.", "none",
				query{most("vendor_outage_value", ofVendor), "{{vendor_name}}"}), 4).
				noData("impact.value is not set").colored("green", 1e-9, "red").
				at(panelValueLost, 21, 0, 3, 6),

			states("Outages over time", "Outages, and the windows that were announced in the configuration. An announced window does not page.",
				outageStates,
				query{newest("vendor_outage", ofVendor), "{{vendor_name}}"},
				query{newest("vendor_planned", ofVendor) + " == 1", "{{vendor_name}}: announced"}).
				mapped("/: announced$/", announcedStates).
				at(panelOutages, 0, 6, 12, 6),
			states("Test order state", "What the last test order saw, end to end. It fails while customers place no orders, too.",
				testOrderStates, query{`min by (probe_name, vendor_name) (probe_success{` + ofVendor + `})`, "{{probe_name}}: {{vendor_name}}"}).
				noData("no test order is placed: see the test_order receiver").
				at(panelTestOrder, 12, 6, 12, 6),

			coloredBars("Orders by outcome", "Orders a minute: success, broken by the vendor, broken by ourselves, or rejected with a 4xx. Each by the signal that tells of more. With several vendors, orders that no vendor broke are everybody's. An order that is slow by its spans, or bad_response by one signal alone, and something else by the other is under both kinds of vendor_failure.",
				"suffix: orders/min", byOutcome(brokenByAny()...)...).
				at(panelOrders, 0, 12, 12, 8),
			coloredBars("Whose fault: failures by reason", "Failed orders a minute. Red is the vendor's, orange the vendor's or the network's between. Blue is ours to mend: credentials (unauthorized), too many calls (throttled). Yellow is this request's doing. Purple, \"ourselves\", failed with no sign of a vendor. Where spans and log lines give different reasons, an order is under both.",
				"suffix: orders/min", append(
					bySide("vendor_orders_total", "vendor_name, ", ofOrders+`, vendor_outcome="vendor_failure"`, "{{vendor_name}}: {{vendor_failure_reason}}"),
					coloredQuery{query{perMinute("vendor_orders_total", "", ofOrders+`, vendor_outcome="own_failure"`), "ourselves"}, Color{"fixed", "purple"}})...).
				at(panelWhoseFault, 12, 12, 12, 8),

			coloredBars("Call failures by reason", "Failed requests to vendors a minute, in the colors of whose fault they are. A retried call is two calls and one order, so this sees what retries hide from customers. A call to which spans and log lines give different reasons is under both.",
				"suffix: calls/min",
				bySide("vendor_calls_total", "vendor_name, ", ofCalls+`, vendor_outcome="failure"`, "{{vendor_name}}: {{vendor_failure_reason}}")...).
				at(panelCallFailures, 0, 20, 8, 8),
			heatmap("Call latency of $latency_vendor", "How many requests a minute took how long, failed ones too. The points are failed calls: each leads to its trace. Told by spans alone.", "s",
				`sum by (le) (rate(vendor_call_duration_seconds_bucket{`+oneVendor+`}[$__rate_interval])) * 60`).
				withExemplars().
				at(panelLatency, 8, 20, 8, 8),
			graph("Call latency percentiles of $latency_vendor", "Half, 95 % and 99 % of the requests were answered within this. The points are failed calls: each leads to its trace. Told by spans alone.",
				"s", lines,
				query{quantile(0.5, oneVendor), "p50"},
				query{quantile(0.95, oneVendor), "p95"},
				query{quantile(0.99, oneVendor), "p99"}).
				withExemplars().
				at(panelPercentiles, 16, 20, 8, 8),

			graph("Test order step times", "How long each step of the last test order took: which one is slow, ours or the vendor's.", "s", lines,
				query{`max by (probe_name, probe_step) (probe_step_duration_seconds{` + ofVendor + `})`, "{{probe_name}}: {{probe_step}}"}).
				at(panelTestOrderSteps, 0, 28, 12, 8),
			graph("Test orders by outcome", "Test orders a minute. Of failed ones the step that failed and why: vendor_failure where the step speaks for the vendor, own_failure where it does not.",
				"suffix: runs/min", bars,
				query{`sum by (probe_name, probe_outcome, probe_step, vendor_failure_reason) (rate(probe_runs_total{` + ofVendor + `}[$__rate_interval])) * 60 > 0`,
					"{{probe_name}}: {{probe_outcome}} {{probe_step}} {{vendor_failure_reason}}"}).
				paint("/success/", "green").
				at(panelTestOrderFaults, 12, 28, 12, 8),

			withDecimals(shares("Mean call latency of the last 15 minutes", "Of the requests that succeeded, by vendor: who of them is slow. Of the 15 minutes before the end of the time range. Told by spans alone.", "s",
				query{`sort_desc(sum by (vendor_name) (rate(vendor_call_duration_seconds_sum{` + ofCalls + `, vendor_signal="traces", vendor_outcome="success"}[15m]))` +
					` / (sum by (vendor_name) (rate(vendor_call_duration_seconds_count{` + ofCalls + `, vendor_signal="traces", vendor_outcome="success"}[15m])) > 0))`, "{{vendor_name}}"}), 2).
				noData("no call succeeded in them").
				at(panelMeanLatency, 0, 36, 8, 8),
			graph("Own failures and rejected orders: is it us", "Orders a minute that failed with no sign of a vendor, and that we answered with a 4xx. A surge of rejected ones can be a broken user table, which shows as 401s.",
				"suffix: orders/min", lines,
				query{perMinute("vendor_orders_total", "vendor_caller, ", ofOrders+`, vendor_outcome="own_failure"`), "{{vendor_caller}}: own_failure"},
				query{perMinute("vendor_orders_total", "vendor_caller, ", ofOrders+`, vendor_outcome="rejected"`), "{{vendor_caller}}: rejected"}).
				paint("/own_failure$/", "purple").paint("/rejected$/", "yellow").
				at(panelOwnFailures, 8, 36, 8, 8),
			graph("Readiness: what is seen", "Spans and log lines a minute, by what they were taken as. Where orders or calls are missing in a signal that flows, the processor's log tells the likeliest why: then nothing above can be trusted.",
				"suffix: records/min", lines,
				query{`sum by (vendor_signal, vendor_role) (rate(vendor_records_total[$__rate_interval])) * 60`, "{{vendor_signal}}: {{vendor_role}}"}).
				at(panelReadiness, 16, 36, 8, 8),
		},
	}
}

func withDecimals(p Panel, n int) Panel {
	p.FieldConfig.Defaults.Decimals = &n
	return p
}
