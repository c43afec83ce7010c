package main

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// schemaVersion is the last of the Classic format.
const schemaVersion = 42

// The data sources are variables whose defaults are what a Grafana Cloud stack calls its own.
var (
	prometheus = DataSource{"prometheus", "${prometheus}"}
	loki       = DataSource{"loki", "${loki}"}
	tempo      = DataSource{"tempo", "${tempo}"}
)

const playbook = "https://github.com/jwtpizza/otelcol-vendorfailure/blob/main/docs/playbook.md"

// vendors asks for whoever is watched, by the processor or by a test order.
const vendors = `label_values({__name__=~"vendor_outage|probe_success"}, vendor_name)`

func dataSources() []Variable {
	of := func(name, label, stack string) Variable {
		return Variable{
			Name: name, Label: label, Type: "datasource", Query: name,
			Description: "The data source that holds the " + label + ".",
			Current:     &Choice{Selected: true, Text: stack, Value: stack},
		}
	}
	return []Variable{
		of("prometheus", "metrics", "grafanacloud-prom"),
		of("loki", "logs", "grafanacloud-logs"),
		of("tempo", "traces", "grafanacloud-traces"),
	}
}

func fromSeries(name, label, description, query string) Variable {
	return Variable{
		Name: name, Label: label, Description: description, Type: "query", DataSource: &prometheus,
		Query: SeriesQuery{Query: query, RefID: "variable-" + name}, Refresh: onTimeRangeChange, Sort: alphabetical,
	}
}

const (
	onTimeRangeChange = 2
	alphabetical      = 1
)

// anyOf lets a variable hold several values, and all of them at first.
func anyOf(v Variable) Variable {
	v.Multi, v.IncludeAll, v.AllValue = true, true, ".+"
	v.Current = &Choice{Selected: true, Text: []string{"All"}, Value: []string{"$__all"}}
	return v
}

func callerVariable() Variable {
	return anyOf(fromSeries("caller", "Caller", "The services of ours that take orders and call vendors.",
		`label_values({__name__=~"vendor_orders_total|vendor_calls_total"}, vendor_caller)`))
}

// syntheticVariable is matched as user_agent_synthetic_type=~"|$synthetic": customers' orders always, and with yes those
// of any synthetic type.
func syntheticVariable() Variable {
	return Variable{
		Name: "synthetic", Label: "Synthetic", Type: "custom", Query: "no : no, yes : .+",
		Description: "Whether test orders are shown among those of customers.",
		Current:     &Choice{Selected: true, Text: "no", Value: "no"},
		Options:     []Choice{{true, "no", "no"}, {false, "yes", ".+"}},
	}
}

// windows marks outages and announced windows. Grafana asks for a hundred steps only, so each looks back to the one before,
// or to the newest sample where that is older.
func windows() AnnotationList {
	of := func(name, color, metric, text string) Annotation {
		return Annotation{
			Name: name, DataSource: prometheus, Enable: true, IconColor: color,
			Target: Target{
				RefID: name, DataSource: prometheus, Range: true, EditorMode: "code", Interval: "15s",
				Expr: `max by (vendor_name) (max_over_time(` + metric + `{vendor_name=~"$vendor"}[$__interval]) or ` + metric + `{vendor_name=~"$vendor"}) > 0`,
			},
			TagKeys: "vendor_name", TitleFormat: "{{vendor_name}}", TextFormat: text,
		}
	}
	return AnnotationList{[]Annotation{
		of("Outages", "red", "vendor_outage", "in an outage"),
		of("Announced windows", "blue", "vendor_planned", "an announced window: chaos test or maintenance"),
	}}
}

// explore is the address of a query in Grafana's Explore, over the dashboard's range. Grafana fills the variables in it.
func explore(t Target) string {
	panes, err := json.Marshal(map[string]any{"a": map[string]any{
		"datasource": t.DataSource.UID,
		"queries":    []Target{t},
		"range":      map[string]string{"from": "${__from}", "to": "${__to}"},
	}})
	if err != nil {
		panic(err) // strings in maps
	}
	return "/explore?schemaVersion=1&orgId=1&panes=" + keepVariables(url.QueryEscape(string(panes)))
}

// keepVariables takes back the escaping of Grafana's variables in an escaped text.
func keepVariables(escaped string) string {
	return strings.NewReplacer("+", "%20", "%3Apipe}", ":pipe}").Replace(variable.ReplaceAllString(escaped, "$${$1}"))
}

var variable = regexp.MustCompile(`%24%7B([\w.]+(?:%3Apipe)?)%7D`)

// incidentLink leads from several vendors to the incident of one, so it takes all variables along but the vendor.
func incidentLink() Link {
	l := link("Vendor incident", "One vendor, one window",
		"/d/vendor-incident?${prometheus:queryparam}&${loki:queryparam}&${tempo:queryparam}&${caller:queryparam}&${synthetic:queryparam}")
	l.IncludeVars = false
	return l
}

// link stands above the panels. To another dashboard it takes the range and the variables along.
func link(title, tooltip, address string) Link {
	l := Link{Title: title, Tooltip: tooltip, Type: "link", Icon: "external link", URL: address, Tags: []string{}, TargetBlank: true}
	if strings.HasPrefix(address, "/d/") {
		l.Icon, l.TargetBlank, l.IncludeVars, l.KeepTime = "dashboard", false, true, true
	}
	return l
}
