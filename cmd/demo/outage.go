package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// outageLine is what a line of the Collector's log tells of an outage.
type outageLine struct {
	Event          string         `json:"event.name"`
	Vendor         string         `json:"vendor.name"`
	DetectionDelay float64        `json:"vendor.outage.detection_delay"` // s
	Orders         int            `json:"vendor.outage.orders"`
	Users          int            `json:"vendor.outage.users"`
	Value          float64        `json:"vendor.outage.value"`
	Unit           string         `json:"vendor.outage.value_unit"`
	Reasons        map[string]int `json:"vendor.failure.reasons"`
	Chaos          bool           `json:"vendor.failure.chaos"`
	Planned        string         `json:"vendor.planned.note"`
	First          time.Time      `json:"vendor.outage.first_failure"`
	Last           time.Time      `json:"vendor.outage.last_failure"`
	Recovered      time.Time      `json:"vendor.outage.recovered"`
}

// readOutages returns the openings and closings in the Collector's log.
func readOutages(path string) (begun, over []outageLine, err error) {
	log, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line outageLine
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // not one of ours
		}
		switch line.Event {
		case "vendor.outage.start":
			begun = append(begun, line)
		case "vendor.outage.end":
			over = append(over, line)
		}
	}
	return begun, over, lines.Err()
}

// reportOutage prints the incident as its report would.
func reportOutage(to io.Writer, begun, over []outageLine) {
	const clock = "2006-01-02 15:04:05.000 UTC"
	for i, b := range begun {
		fmt.Fprintf(to, "\nOutage of %s\n", b.Vendor)
		fmt.Fprintf(to, "  first failed order  %s\n", b.First.UTC().Format(clock))
		fmt.Fprintf(to, "  known after         %.1f s and %d orders\n", b.DetectionDelay, b.Orders)
		if i >= len(over) {
			fmt.Fprintln(to, "  not over")
			continue
		}
		o := over[i]
		announced := "not announced"
		if o.Planned != "" {
			announced = "announced: " + o.Planned
		}
		chaos := "no"
		if o.Chaos {
			chaos = "yes"
		}
		fmt.Fprintf(to, "  last failed order   %s\n", o.Last.UTC().Format(clock))
		fmt.Fprintf(to, "  known to be over    %s\n", o.Recovered.UTC().Format(clock))
		fmt.Fprintf(to, "  lost                %d orders of %d customers, %.4f %s\n", o.Orders, o.Users, o.Value, o.Unit)
		fmt.Fprintf(to, "  reasons             %s\n", shares(o.Reasons))
		fmt.Fprintf(to, "  chaos               %s, %s\n", chaos, announced)
	}
}

// outageFaults says where the outage that was told is not the one that was recorded.
func outageFaults(truth recording.Truth, begun, over []outageLine) (faults []string) {
	if len(begun) != 1 || len(over) != 1 {
		return []string{fmt.Sprintf("outages told: %d begun and %d over, recorded 1", len(begun), len(over))}
	}
	o := over[0]
	if o.Orders != truth.Failed {
		faults = append(faults, fmt.Sprintf("orders lost: %d, recorded %d", o.Orders, truth.Failed))
	}
	if o.Users != len(truth.FailedDinerIDs) {
		faults = append(faults, fmt.Sprintf("customers hit: %d, recorded %d", o.Users, len(truth.FailedDinerIDs)))
	}
	if math.Abs(o.Value-truth.FailedAmount) > 0.0001 {
		faults = append(faults, fmt.Sprintf("value lost: %.4f, recorded %.4f", o.Value, truth.FailedAmount))
	}
	return faults
}
