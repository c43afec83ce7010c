// Command dashboards writes the dashboards that lie beside it, to be imported into any Grafana:
//
//	vendor-health.json    is anything broken, who, since when, whose fault, and what does it cost
//	vendor-incident.json  one vendor and one window: the timeline and the figures that an incident report needs
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

//go:generate go run .

func main() {
	for _, dashboard := range dashboards() {
		text, err := render(dashboard)
		if err == nil {
			err = os.WriteFile(dashboard.UID+".json", text, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "dashboards:", err)
			os.Exit(1)
		}
	}
}

// dashboards returns all that are committed, each in the file that is called like its uid.
func dashboards() []Dashboard { return []Dashboard{vendorHealth(), vendorIncident()} }

// render leaves <, > and & as they are, so that queries can be read in the file.
func render(dashboard Dashboard) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(dashboard)
	return text.Bytes(), err
}
