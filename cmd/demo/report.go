package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

var outcomes = []string{"success", "vendor_failure", "own_failure", "rejected"}

// expected is how many orders of each outcome the recording holds, told by either signal. The driver calls an order
// that the factory broke factory_rejected, and an order by someone not logged in unauthOrder.
func expected(truth recording.Truth) map[key]int {
	want := map[key]int{}
	for _, signal := range signals {
		byVendor := truth.FailedByReason["factory_rejected"]
		want[key{signal, "success"}] = truth.Orders - truth.Failed
		want[key{signal, "vendor_failure"}] = byVendor
		want[key{signal, "own_failure"}] = truth.Failed - byVendor
		want[key{signal, "rejected"}] = truth.OtherRequests["unauthOrder"]["401"]
	}
	return want
}

// told is how a signal is called in the report.
var told = map[string]string{"traces": "by spans", "logs": "by logs"}

// report prints what an engineer on call wants to know.
func report(to io.Writer, counted counted, tagged tagged, begun, over []outageLine, out string) {
	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "orders\t%s\t\n", strings.Join(outcomes, "\t"))
	for _, signal := range signals {
		fmt.Fprintf(table, "%s\t", told[signal])
		for _, outcome := range outcomes {
			fmt.Fprintf(table, "%d\t", counted.orders[key{signal, outcome}])
		}
		fmt.Fprintln(table)
	}
	table.Flush()

	fmt.Fprintf(to, "\nVendor to blame: %s\n", cmp.Or(counted.vendor, "none"))
	for _, signal := range signals {
		failed, succeeded := counted.calls[key{signal, "failure"}], counted.calls[key{signal, "success"}]
		fmt.Fprintf(to, "  %s: %d of %d calls failed (%s); orders lost: %s; of these %d show chaos\n", told[signal],
			failed, failed+succeeded, reasons(counted.callReason, signal), reasons(counted.orderReason, signal), tagged.chaos[signal])
	}
	if tagged.first != nil {
		fmt.Fprintf(to, "\nFirst failed order: %s UTC, trace id %s\n",
			tagged.first.at.Format("2006-01-02 15:04:05.000"), tagged.first.trace)
	}

	reportOutage(to, begun, over)

	fmt.Fprintf(to, "\nTagged with vendor.name: %d server spans, %d client spans, %d order lines, %d call lines\n",
		tagged.orders["traces"], tagged.calls["traces"], tagged.orders["logs"], tagged.calls["logs"])
	fmt.Fprintf(to, "All telemetry is in %s and %s, one OTLP/JSON request a line. Its tags:\n",
		filepath.Join(out, "traces.jsonl"), filepath.Join(out, "logs.jsonl"))
	fmt.Fprintf(to, "  grep -o '\"key\":\"vendor[^}]*' %s | sort | uniq -c\n\n", filepath.Join(out, "*.jsonl"))
}

func reasons(counts map[key]int, signal string) string {
	of := map[string]int{}
	for k, n := range counts {
		if k.signal == signal {
			of[k.value] = n
		}
	}
	return shares(of)
}

// shares writes how many each reason has.
func shares(of map[string]int) string {
	if len(of) == 0 {
		return "none"
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%d %s", of[reason], reason))
	}
	return strings.Join(parts, ", ")
}

// judge says whether what was counted and tagged is what was recorded, and returns an error if not.
func judge(to io.Writer, want map[key]int, counted counted, tagged tagged, outageFaults []string) error {
	faults := append(differences(want, counted.orders), outageFaults...)
	for _, signal := range signals {
		if failed := want[key{signal, "vendor_failure"}]; tagged.orders[signal] != failed {
			faults = append(faults, fmt.Sprintf("tagged orders %s: %d, recorded %d", told[signal], tagged.orders[signal], failed))
		}
	}
	if tagged.first == nil {
		faults = append(faults, "no server span is tagged, so no trace id to look at")
	}
	if len(faults) > 0 {
		fmt.Fprintln(to, strings.Join(faults, "\n"))
		return errors.New("the figures are not those of " + filepath.Join(incident, "truth.json"))
	}
	fmt.Fprintf(to, "All figures are those of %s\n", filepath.Join(incident, "truth.json"))
	return nil
}

func differences(want, got map[key]int) (faults []string) {
	for _, signal := range signals {
		for _, outcome := range outcomes {
			if k := (key{signal, outcome}); got[k] != want[k] {
				faults = append(faults, fmt.Sprintf("orders %s, %s: %d, recorded %d", told[signal], outcome, got[k], want[k]))
			}
		}
	}
	return faults
}
