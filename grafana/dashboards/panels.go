package main

import "fmt"

// Constructors of panels, by the kind of visualization. A panel's place and id are the dashboard's to give.

// at puts a panel into the grid.
func (p Panel) at(id, x, y, w, h int) Panel {
	p.ID, p.GridPos = id, GridPos{h, w, x, y}
	return p
}

// noData is shown instead of Grafana's "No data".
func (p Panel) noData(text string) Panel {
	p.FieldConfig.Defaults.NoValue = text
	return p
}

func (p Panel) override(matcher Matcher, property Property) Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{matcher, []Property{property}})
	return p
}

// paint gives the series whose names match a color of their own.
func (p Panel) paint(names, color string) Panel {
	return p.override(Matcher{ID: "byRegexp", Options: names}, Property{"color", Color{"fixed", color}})
}

// link leads from a value of the panel to somewhere else.
func (p Panel) link(title, url string) Panel {
	p.FieldConfig.Defaults.Links = append(p.FieldConfig.Defaults.Links, DataLink{Title: title, URL: url})
	return p
}

// query is one Prometheus query and what its series are called.
type query struct{ expr, legend string }

func targets(queries []query, of Target) []Target {
	of.DataSource, of.EditorMode = prometheus, "code"
	var all []Target
	for i, q := range queries {
		of.RefID, of.Expr, of.LegendFormat = string(rune('A'+i)), q.expr, q.legend
		all = append(all, of)
	}
	return all
}

// How many steps a query over the dashboard's range takes at the most, so that it stays cheap: make dashboards-cost.
// Bars stand for hundreds of series where a shop is large.
const (
	points    = 180
	barPoints = 100
)

func graph(title, description, unit, style string, queries ...query) Panel {
	field := TimeSeriesField{
		DrawStyle: style, LineInterpolation: "linear", LineWidth: 1, ShowPoints: "auto", Stacking: Stacking{"none", "A"},
	}
	maxPoints := points
	if style == bars {
		maxPoints = barPoints
		field.FillOpacity, field.LineWidth, field.Stacking.Mode = 80, 0, "normal"
	}
	return Panel{
		Type: "timeseries", Title: title, Description: description, DataSource: &prometheus, MaxDataPoints: maxPoints,
		Targets: targets(queries, Target{Range: true}),
		FieldConfig: FieldConfig{
			Defaults:  Field{Unit: unit, Min: new(float64), Color: Color{Mode: "palette-classic-by-name"}, Custom: field},
			Overrides: []Override{},
		},
		Options: TimeSeriesOptions{
			Legend{ShowLegend: true, DisplayMode: "list", Placement: "bottom", Calcs: []string{}},
			Tooltip{"multi", "desc"},
		},
	}
}

const (
	bars  = "bars"
	lines = "line"
)

// coloredQuery is a query whose series have a color, or shades of one.
type coloredQuery struct {
	query
	color Color
}

func coloredBars(title, description, unit string, queries ...coloredQuery) Panel {
	var plain []query
	for _, q := range queries {
		plain = append(plain, q.query)
	}
	p := graph(title, description, unit, bars, plain...)
	for i, q := range queries {
		p = p.override(Matcher{ID: "byFrameRefID", Options: p.Targets[i].RefID}, Property{"color", q.color})
	}
	return p
}

// withExemplars also asks for the traces behind the figures. The link does not need the data source to know that
// trace_id is one.
func (p Panel) withExemplars() Panel {
	for i := range p.Targets {
		p.Targets[i].Exemplar = true
	}
	return p.override(Matcher{ID: "byName", Options: "trace_id", Scope: "exemplar"},
		Property{"links", []DataLink{{Title: "The trace", URL: explore(traceQL("${__value.raw}")), TargetBlank: true}}})
}

// stat shows one figure a series, of the query's value at the end of the dashboard's range.
func stat(title, description, unit string, queries ...query) Panel {
	return Panel{
		Type: "stat", Title: title, Description: description, DataSource: &prometheus,
		Targets: targets(queries, Target{Instant: true}),
		FieldConfig: FieldConfig{
			Defaults:  Field{Unit: unit, Color: Color{Mode: "thresholds"}, Thresholds: thresholds("text")},
			Overrides: []Override{},
		},
		Options: StatOptions{
			ReduceOptions: lastValue, Orientation: "auto", ColorMode: "value", GraphMode: "none", JustifyMode: "auto",
			TextMode: "auto", WideLayout: true, PercentChangeColorMode: "standard",
		},
	}
}

var lastValue = Reduce{Calcs: []string{"lastNotNull"}}

// colored gives the figure the last color whose bound it reaches: first, then pairs of bound and color.
func (p Panel) colored(first string, then ...any) Panel {
	p.FieldConfig.Defaults.Thresholds = thresholds(first, then...)
	return p
}

func thresholds(first string, then ...any) *Thresholds {
	t := &Thresholds{Mode: "absolute", Steps: []Threshold{{Color: first}}}
	for i := 0; i < len(then); i += 2 {
		bound := then[i].(float64)
		t.Steps = append(t.Steps, Threshold{then[i+1].(string), &bound})
	}
	return t
}

// state is what a value stands for.
type state struct {
	value       int
	text, color string
}

var (
	outageStates    = []state{{0, "works", "green"}, {1, "DOWN", "red"}}
	testOrderStates = []state{{0, "FAILS", "red"}, {1, "works", "green"}}
	announcedStates = []state{{1, "announced", "blue"}}
)

func mappings(states []state) []Mapping {
	options := map[string]MappedValue{}
	for i, s := range states {
		options[fmt.Sprint(s.value)] = MappedValue{s.text, s.color, i}
	}
	return []Mapping{{"value", options}}
}

// stateNow shows one colored tile a series.
func stateNow(title, description string, states []state, q query) Panel {
	p := stat(title, description, "none", q)
	p.FieldConfig.Defaults.Mappings = mappings(states)
	options := p.Options.(StatOptions)
	options.ColorMode, options.TextMode = "background", "value_and_name"
	p.Options = options
	return p
}

// states shows one row a series, colored by what it stood for when.
func states(title, description string, of []state, queries ...query) Panel {
	return Panel{
		Type: "state-timeline", Title: title, Description: description, DataSource: &prometheus,
		Targets: targets(queries, Target{Range: true}),
		FieldConfig: FieldConfig{
			Defaults: Field{
				Unit: "none", Color: Color{Mode: "thresholds"}, Thresholds: thresholds("text"), Mappings: mappings(of),
				Custom: StateTimelineField{LineWidth: 0, FillOpacity: 80},
			},
			Overrides: []Override{},
		},
		Options: StateTimelineOptions{
			ShowValue: "auto", RowHeight: 0.8, MergeValues: true, AlignValue: "left",
			Legend:  Legend{ShowLegend: false, DisplayMode: "list", Placement: "bottom", Calcs: []string{}},
			Tooltip: Tooltip{"single", "none"},
		},
	}
}

// mapped gives the rows whose names match states of their own.
func (p Panel) mapped(names string, of []state) Panel {
	return p.override(Matcher{ID: "byRegexp", Options: names}, Property{"mappings", mappings(of)})
}

// heatmap shows a histogram's buckets over time.
func heatmap(title, description, unit, expr string) Panel {
	return Panel{
		Type: "heatmap", Title: title, Description: description, DataSource: &prometheus, MaxDataPoints: points,
		Targets:     targets([]query{{expr, "{{le}}"}}, Target{Range: true, Format: "heatmap"}),
		FieldConfig: FieldConfig{Defaults: Field{Unit: unit, Color: Color{Mode: "thresholds"}}, Overrides: []Override{}},
		Options: HeatmapOptions{
			CellGap: 1, CellValues: HeatmapUnit{"suffix: calls/min"},
			Color:        HeatmapColor{Mode: "scheme", Scheme: "Oranges", Fill: "dark-orange", Exponent: 0.5, Steps: 64},
			Exemplars:    HeatmapExemplars{"rgba(255,0,255,0.7)"},
			FilterValues: HeatmapFilter{1e-9}, Legend: HeatmapLegend{true}, RowsFrame: HeatmapRows{"auto"}, ShowValue: "never",
			Tooltip: HeatmapTooltip{Mode: "single", YHistogram: true}, YAxis: HeatmapAxis{Unit: unit, AxisPlacement: "left"},
		},
	}
}

// shares shows one bar a series.
func shares(title, description, unit string, queries ...query) Panel {
	return Panel{
		Type: "bargauge", Title: title, Description: description, DataSource: &prometheus,
		Targets: targets(queries, Target{Instant: true}),
		FieldConfig: FieldConfig{
			Defaults:  Field{Unit: unit, Decimals: new(int), Min: new(float64), Color: Color{Mode: "palette-classic-by-name"}},
			Overrides: []Override{},
		},
		Options: BarGaugeOptions{
			ReduceOptions: lastValue, Orientation: "horizontal", DisplayMode: "basic", ValueMode: "color", NamePlacement: "auto",
			ShowUnfilled: true, Sizing: "auto", MinVizWidth: 8, MinVizHeight: 16, MaxVizHeight: 300,
			Legend: Legend{ShowLegend: false, DisplayMode: "list", Placement: "bottom", Calcs: []string{}},
		},
	}
}

// logLines lists what a LogQL query finds, the newest first.
func logLines(title, description, query string) Panel {
	return Panel{
		Type: "logs", Title: title, Description: description, DataSource: &loki,
		Targets:     []Target{logQL(query)},
		FieldConfig: FieldConfig{Defaults: Field{Unit: "none", Color: Color{Mode: "thresholds"}}, Overrides: []Override{}},
		Options: LogsOptions{
			DedupStrategy: "none", EnableLogDetails: true, ShowTime: true, ShowLogContextToggle: true, SortOrder: "Descending", WrapLogMessage: true,
		},
	}
}

// traces lists what a TraceQL query finds.
func traces(title, description, query string) Panel {
	return Panel{
		Type: "table", Title: title, Description: description, DataSource: &tempo,
		Targets:     []Target{traceQL(query)},
		FieldConfig: FieldConfig{Defaults: Field{Unit: "none", Color: Color{Mode: "thresholds"}}, Overrides: []Override{}},
		Options:     TableOptions{ShowHeader: true, CellHeight: "sm"},
	}
}
