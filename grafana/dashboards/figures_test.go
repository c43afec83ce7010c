package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// Each case is what a panel shows at minute 20 of an hour-long range, of samples every 15 s where it does not say: a
// counter that grows by 5 a sample grows by 20 a minute.
func TestFigures(t *testing.T) {
	const (
		of    = `vendor_outcome="vendor_failure", vendor_failure_reason="error", vendor_caller="shop"`
		blame = `vendor_orders_total{vendor_name="a", ` + of
		other = `vendor_orders_total{vendor_name="b", ` + of
		good  = `vendor_orders_total{vendor_outcome="success", vendor_caller="shop"`

		// Down from second 300 to 585, when the Collector ends; the next one tells from second 600 on.
		replacedWhileDown = `vendor_outage{vendor_name="a", instance="1"} 0x19 1x19` + "\n" + `vendor_outage{vendor_name="a", instance="2"} _x40 0x40`
		ownFailure        = `vendor_orders_total{vendor_outcome="own_failure", vendor_caller="shop", vendor_signal="logs"} 0+1x90`
		ofSpans           = `"success", vendor_caller="shop", vendor_signal="traces"`
	)
	failedCall := strings.NewReplacer("vendor_orders_total", "vendor_calls_total", `"vendor_failure"`, `"failure"`).Replace(blame)
	health, incident := vendorHealth(), vendorIncident()
	for _, c := range []struct {
		name   string
		panel  Panel
		series string // one a line
		choice string // of variables, where they differ from all vendors, a for one, and no synthetic orders
		every  string // a sample
		want   string // labels, where there are any, and value
	}{
		{name: "down since minute 15", panel: panelOf(health, panelDownFor),
			series: `vendor_outage{vendor_name="a"} 0x60 1x40`, want: `{vendor_name="a"} 300`},
		{name: "the latest time counts", panel: panelOf(health, panelDownFor),
			series: `vendor_outage{vendor_name="a"} 0x10 1x10 0x40 1x40`, want: `{vendor_name="a"} 270`},
		{name: "down since the first sample", panel: panelOf(health, panelDownFor),
			series: `vendor_outage{vendor_name="a"} 1x90`, want: `{vendor_name="a"} 1200`},
		{name: "one replica sees it", panel: panelOf(health, panelDownFor),
			series: "vendor_outage{vendor_name=\"a\", instance=\"1\"} 0x90\nvendor_outage{vendor_name=\"a\", instance=\"2\"} 0x76 1x20", want: `{vendor_name="a"} 60`},
		{name: "up again", panel: panelOf(health, panelDownFor),
			series: `vendor_outage{vendor_name="a"} 1x60 0x40`, want: ``},
		{name: "of two one is down", panel: panelOf(health, panelBrokenNow),
			series: "vendor_outage{vendor_name=\"a\"} 0x90\nvendor_outage{vendor_name=\"b\"} 1x90", want: `{vendor_name="a"} 0, {vendor_name="b"} 1`},
		{name: "only what is chosen", panel: panelOf(health, panelBrokenNow), choice: "vendor=b",
			series: "vendor_outage{vendor_name=\"a\"} 0x90\nvendor_outage{vendor_name=\"b\"} 1x90", want: `{vendor_name="b"} 1`},

		{name: "replicas' outages do not add up", panel: panelOf(health, panelOrdersLost),
			series: "vendor_outage_orders{vendor_name=\"a\", instance=\"1\"} 0x10 7x10 0x70\nvendor_outage_orders{vendor_name=\"a\", instance=\"2\"} 0x10 9x10 0x70", want: `{vendor_name="a"} 9`},

		{name: "of an incident, too: the largest outage of the Collector that saw most", panel: panelOf(incident, panelLost),
			series: "vendor_outage_orders{vendor_name=\"a\", instance=\"1\"} 0x10 7x10 0x10 5x10 0x70\nvendor_outage_orders{vendor_name=\"a\", instance=\"2\"} 0x10 9x10 0x70", want: `{vendor_name="a"} 9`},
		{name: "in all they add up, but for test orders and what was rejected", panel: panelOf(incident, panelLostCounted), choice: "synthetic=.+",
			series: blame + `, vendor_signal="logs", instance="1"} 0x10 0+1x7 7x10 7+1x5 12x70` + "\n" + blame + `, vendor_signal="logs", instance="2"} 0x10 0+1x9 9x90` + "\n" +
				blame + `, vendor_signal="traces", instance="1"} 0x10 0+1x3 3x90` + "\n" +
				blame + `, vendor_signal="logs", user_agent_synthetic_type="test"} 0x10 0+5x7 35x90` + "\n" +
				strings.Replace(blame, `"error"`, `"rejected"`, 1) + `, vendor_signal="logs"} 0x10 0+5x7 35x90`, want: `21`},

		{name: "signals are not added, the larger counts", panel: panelOf(health, panelOrders),
			series: good + `, vendor_signal="logs"} 0+5x90` + "\n" + good + `, vendor_signal="traces"} 0+4x90`, want: `{vendor_outcome="success"} 20`},
		{name: "replicas and callers add up", panel: panelOf(health, panelOrders),
			series: good + `, vendor_signal="logs", instance="1"} 0+5x90` + "\n" + good + `, vendor_signal="logs", instance="2"} 0+5x90`, want: `{vendor_outcome="success"} 40`},
		{name: "test orders are left out", panel: panelOf(health, panelOrders),
			series: good + `, vendor_signal="logs"} 0+5x90` + "\n" + good + `, vendor_signal="logs", user_agent_synthetic_type="test"} 0+1x90`, want: `{vendor_outcome="success"} 20`},
		{name: "or added on demand", panel: panelOf(health, panelOrders), choice: "synthetic=.+",
			series: good + `, vendor_signal="logs"} 0+5x90` + "\n" + good + `, vendor_signal="logs", user_agent_synthetic_type="test"} 0+1x90`, want: `{vendor_outcome="success"} 24`},
		{name: "of the chosen vendor, and those that none broke", panel: panelOf(health, panelOrders), choice: "vendor=a",
			series: good + `, vendor_signal="logs"} 0+5x90` + "\n" + blame + `, vendor_signal="logs"} 0+1x90` + "\n" + other + `, vendor_signal="logs"} 0+2x90`,
			want:   `{vendor_outcome="success"} 20, {vendor_outcome="vendor_failure"} 4`},
		{name: "whose fault", panel: panelOf(health, panelWhoseFault),
			series: good + `, vendor_signal="logs"} 0+5x90` + "\n" + blame + `, vendor_signal="logs"} 0+1x90`, want: `{vendor_failure_reason="error", vendor_name="a"} 4`},

		{name: "an order that the vendor broke for each reason, and one that we did", panel: panelOf(health, panelWhoseFault),
			series: everyReason(blame) + ownFailure,
			want: `4, {vendor_failure_reason="bad_response", vendor_name="a"} 4, {vendor_failure_reason="error", vendor_name="a"} 4, ` +
				`{vendor_failure_reason="rejected", vendor_name="a"} 4, {vendor_failure_reason="slow", vendor_name="a"} 4, ` +
				`{vendor_failure_reason="throttled", vendor_name="a"} 4, {vendor_failure_reason="timeout", vendor_name="a"} 4, ` +
				`{vendor_failure_reason="unauthorized", vendor_name="a"} 4, {vendor_failure_reason="unreachable", vendor_name="a"} 4`},
		{name: "by outcome: six reasons in one, slow and bad_response in the other", panel: panelOf(health, panelOrders),
			series: everyReason(blame) + ownFailure,
			want:   `{vendor_outcome="own_failure"} 4, {vendor_outcome="vendor_failure"} 24, {vendor_outcome="vendor_failure"} 8`},
		{name: "one order that spans and lines give different reasons is one", panel: panelOf(health, panelOrders),
			series: blame + `, vendor_signal="logs"} 0+1x90` + "\n" + strings.Replace(blame, `"error"`, `"unauthorized"`, 1) + `, vendor_signal="traces"} 0+1x90`,
			want:   `{vendor_outcome="vendor_failure"} 4`},
		{name: "but for slow, which spans alone tell: it is under both", panel: panelOf(health, panelOrders),
			series: blame + `, vendor_signal="logs"} 0+1x90` + "\n" + strings.Replace(blame, `"error"`, `"slow"`, 1) + `, vendor_signal="traces"} 0+1x90`,
			want:   `{vendor_outcome="vendor_failure"} 4, {vendor_outcome="vendor_failure"} 4`},
		{name: "and of an incident all of them are", panel: panelOf(incident, panelIncidentOrders),
			series: blame + `, vendor_signal="logs"} 0+1x90` + "\n" + strings.Replace(blame, `"error"`, `"slow"`, 1) + `, vendor_signal="traces"} 0+1x90`,
			want:   `{vendor_outcome="vendor_failure"} 4`},
		{name: "a failed call for each reason", panel: panelOf(incident, panelIncidentCalls),
			series: everyReason(failedCall),
			want: `{vendor_failure_reason="bad_response"} 4, {vendor_failure_reason="error"} 4, {vendor_failure_reason="rejected"} 4, {vendor_failure_reason="slow"} 4, ` +
				`{vendor_failure_reason="throttled"} 4, {vendor_failure_reason="timeout"} 4, {vendor_failure_reason="unauthorized"} 4, {vendor_failure_reason="unreachable"} 4`},
		{name: "one call that spans and lines give different reasons is under both", panel: panelOf(health, panelCallFailures),
			series: failedCall + `, vendor_signal="logs"} 0+1x90` + "\n" + strings.Replace(failedCall, `"error"`, `"slow"`, 1) + `, vendor_signal="traces"} 0+1x90`,
			want:   `{vendor_failure_reason="error", vendor_name="a"} 4, {vendor_failure_reason="slow", vendor_name="a"} 4`},
		{name: "of an incident, too", panel: panelOf(incident, panelIncidentCalls),
			series: failedCall + `, vendor_signal="logs"} 0+1x90` + "\n" + strings.Replace(failedCall, `"error"`, `"slow"`, 1) + `, vendor_signal="traces"} 0+1x90`,
			want:   `{vendor_failure_reason="error"} 4, {vendor_failure_reason="slow"} 4`},

		{name: "the mean of two callers' calls is that of all, not of their means", panel: panelOf(health, panelMeanLatency),
			series: took("a", `"success", vendor_caller="shop", vendor_signal="traces"`, "0+6x90", "0+1x90") +
				took("a", `"success", vendor_caller="kiosk", vendor_signal="traces"`, "0+3x90", "0+2x90"), want: `{vendor_name="a"} 3`},
		{name: "the slowest vendor comes first", panel: panelOf(health, panelMeanLatency),
			series: took("a", ofSpans, "0+1x90", "0+1x90") + took("b", ofSpans, "0+8x90", "0+1x90") + took("c", ofSpans, "0+3x90", "0+1x90"),
			want:   `{vendor_name="b"} 8, {vendor_name="c"} 3, {vendor_name="a"} 1`},
		{name: "what was slow before the 15 minutes is past", panel: panelOf(health, panelMeanLatency),
			series: took("a", ofSpans, "0+60x20 1201+1x69", "0+1x90"), want: `{vendor_name="a"} 1`},
		{name: "failed calls, test orders' and what lines tell are left out of it", panel: panelOf(health, panelMeanLatency),
			series: took("a", ofSpans, "0+2x90", "0+1x90") + took("a", strings.Replace(ofSpans, "success", "failure", 1), "0+30x90", "0+1x90") +
				took("a", ofSpans+`, user_agent_synthetic_type="test"`, "0+30x90", "0+1x90") + took("a", strings.Replace(ofSpans, "traces", "logs", 1), "0+30x90", "0+1x90"),
			want: `{vendor_name="a"} 2`},
		{name: "test orders' are added on demand", panel: panelOf(health, panelMeanLatency), choice: "synthetic=.+",
			series: took("a", ofSpans, "0+2x90", "0+1x90") + took("a", ofSpans+`, user_agent_synthetic_type="test"`, "0+4x90", "0+1x90"), want: `{vendor_name="a"} 3`},
		{name: "no call is no mean", panel: panelOf(health, panelMeanLatency),
			series: took("a", ofSpans, "0+2x10 20x80", "0+1x10 10x80"), want: ``},

		{name: "a good test order a minute ago", panel: panelOf(health, panelLastGoodOrder),
			series: `probe_last_success_time_seconds{probe_name="test_order", vendor_name="a"} 1140x90`, want: `{probe_name="test_order"} 60`},
		{name: "one of two replicas' test orders fails", panel: panelOf(health, panelTestOrder),
			series: "probe_success{probe_name=\"p\", vendor_name=\"a\", instance=\"1\"} 1x90\nprobe_success{probe_name=\"p\", vendor_name=\"a\", instance=\"2\"} 0x90", want: `{probe_name="p", vendor_name="a"} 0`},

		{name: "the first failed order", panel: panelOf(incident, panelFirstFailed),
			series: blame + `, vendor_signal="logs"} 0x20 1+1x69` + "\n" + blame + `, vendor_signal="traces"} 0x24 1+1x65`, want: `330000`},
		{name: "the last failed order", panel: panelOf(incident, panelLastFailed),
			series: blame + `, vendor_signal="logs"} 0x20 1+1x5 6x60`, want: `420000`},
		{name: "the first of two callers", panel: panelOf(incident, panelFirstFailed),
			series: blame + `, vendor_signal="logs"} 0x20 1+1x69` + "\n" + strings.Replace(blame, `"shop"`, `"kiosk"`, 1) + `, vendor_signal="logs"} 0x24 1+1x65`, want: `330000`},
		{name: "the first of once a minute", panel: panelOf(incident, panelFirstFailed), every: "1m",
			series: blame + `, vendor_signal="logs"} 0x5 1+1x14`, want: `360000`},
		{name: "the last of once a minute", panel: panelOf(incident, panelLastFailed), every: "1m",
			series: blame + `, vendor_signal="logs"} 0x5 1+1x1 2x14`, want: `450000`},
		{name: "what was rejected is not lost", panel: panelOf(incident, panelFirstFailed),
			series: strings.Replace(blame, `"error"`, `"rejected"`, 1) + `, vendor_signal="logs"} 0x20 1+1x69`, want: ``},
		{name: "found", panel: panelOf(incident, panelFound), series: `vendor_outage{vendor_name="a"} 0x39 1x10 0x40`, want: `{vendor_name="a"} 600000`},
		{name: "last seen down", panel: panelOf(incident, panelLastDown), series: `vendor_outage{vendor_name="a"} 0x39 1x10 0x40`, want: `{vendor_name="a"} 750000`},
		{name: "time down", panel: panelOf(incident, panelDowntime), series: `vendor_outage{vendor_name="a"} 0x39 1x9 0x40`, want: `{vendor_name="a"} 150`},
		{name: "time down of once a minute has no gaps", panel: panelOf(incident, panelDowntime), every: "1m",
			series: `vendor_outage{vendor_name="a"} 0x4 1x5 0x10`, want: `{vendor_name="a"} 360`},
		{name: "time down when the Collector was replaced in an outage", panel: panelOf(incident, panelDowntime),
			series: replacedWhileDown, want: `{vendor_name="a"} 375`},
		{name: "last seen down by the one that was replaced", panel: panelOf(incident, panelLastDown),
			series: replacedWhileDown, want: `{vendor_name="a"} 660000`},
		{name: "time down goes on if its successor sees it", panel: panelOf(incident, panelDowntime),
			series: strings.Replace(replacedWhileDown, "0x40", "0x3 1x7 0x40", 1), want: `{vendor_name="a"} 480`},
		{name: "on the timeline it is over", panel: Panel{Targets: panelOf(incident, panelTimeline).Targets[:1]},
			series: `vendor_outage{vendor_name="a", instance="1"} 0x19 1x54` + "\n" + `vendor_outage{vendor_name="a", instance="2"} _x70 0x40`, want: `{vendor_name="a"} 0`},
		{name: "a third was lost", panel: panelOf(incident, panelShareLost),
			series: good + `, vendor_signal="logs"} 0+2x90` + "\n" + blame + `, vendor_signal="logs"} 0+1x90`, want: `0.333333`},
		{name: "a step of annotations between two samples", panel: Panel{Targets: []Target{windows().List[0].Target}}, every: "45s",
			series: `vendor_outage{vendor_name="a"} 0x10 1x20`, want: `{vendor_name="a"} 1`},
		{name: "peak", panel: panelOf(incident, panelPeak), series: blame + `, vendor_signal="logs"} 0x20 5+5x19 100x50`, want: `20`},
		{name: "the peak of two callers in the signal that tells of more", panel: panelOf(incident, panelPeak),
			series: blame + `, vendor_signal="logs"} 0x20 5+5x19 100x50` + "\n" + strings.Replace(blame, `"shop"`, `"kiosk"`, 1) + `, vendor_signal="logs"} 0x20 5+5x19 100x50` + "\n" +
				blame + `, vendor_signal="traces"} 0x20 5+5x19 100x50`, want: `40`},
		{name: "the peak of once a minute", panel: panelOf(incident, panelPeak), every: "1m",
			series: blame + `, vendor_signal="logs"} 0x5 20+20x4 100x10`, want: `20`},
	} {
		t.Run(c.name, func(t *testing.T) {
			choice := map[string]string{"vendor": ".+", "caller": ".+", "synthetic": "no"}
			if strings.Contains(c.panel.Targets[0].Expr, `vendor_name="$vendor"`) {
				choice["vendor"] = "a"
			}
			if name, value, ok := strings.Cut(c.choice, "="); ok {
				choice[name] = value
			}
			stored := promqltest.LoadedStorage(t, "load "+cmp.Or(c.every, "15s")+"\n\t"+strings.ReplaceAll(c.series, "\n", "\n\t"))
			engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 1e6)
			var got []string
			for _, target := range c.panel.Targets {
				query, err := engine.NewInstantQuery(t.Context(), stored, nil, fill(target.Expr, choice, time.Minute, time.Hour), time.Unix(20*60, 0))
				require.NoError(t, err)
				defer query.Close()
				result, err := query.Exec(t.Context()).Vector()
				require.NoError(t, err)
				for _, sample := range result {
					got = append(got, strings.TrimPrefix(fmt.Sprintf("%s %.6g", sample.Metric, sample.F), "{} "))
				}
			}
			if !strings.HasPrefix(c.panel.Targets[0].Expr, "sort_desc(") {
				slices.Sort(got)
			}
			assert.Equal(t, c.want, strings.Join(got, ", "))
		})
	}
}

// everyReason is a series of the same vendor and growth for each reason, one a line.
func everyReason(blame string) string {
	var all strings.Builder
	for _, why := range reason.Names() {
		all.WriteString(strings.Replace(blame, `"error"`, strconv.Quote(why), 1) + `, vendor_signal="logs"} 0+1x90` + "\n")
	}
	return all.String()
}

// took are the seconds that a vendor's calls of an outcome took, and how many there were.
func took(vendor, outcome, seconds, calls string) string {
	return fmt.Sprintf("vendor_call_duration_seconds_sum{vendor_name=%[1]q, vendor_outcome=%[2]s} %[3]s\nvendor_call_duration_seconds_count{vendor_name=%[1]q, vendor_outcome=%[2]s} %[4]s\n",
		vendor, outcome, seconds, calls)
}

// The sides that panels tell apart are those of the playbook's table.
func TestSides(t *testing.T) {
	_, table, found := strings.Cut(read(t, playbookFile), "## Is it us or them?")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	reasons := map[string][]string{}
	for _, row := range sideRow.FindAllStringSubmatch(table, -1) {
		reasons[row[2]] = append(reasons[row[2]], row[1])
	}
	var want, got []string
	for _, of := range reasons {
		slices.Sort(of)
		want = append(want, strings.Join(of, "|"))
	}
	for _, of := range sides {
		sorted := strings.Split(of.reasons, "|")
		slices.Sort(sorted)
		got = append(got, strings.Join(sorted, "|"))
	}
	assert.ElementsMatch(t, want, got)
}

// A row is | `reason` | what | whose side, or whose side: why | ...
var sideRow = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [^|]+ \\| ([^:|]+)")
