package main

// The types are what is used here of Grafana's Classic dashboard JSON, schemaVersion 42; the names in JSON, defaults and
// meanings are those of the package @grafana/schema.

// Dashboard is one dashboard file.
type Dashboard struct {
	ID            *int           `json:"id"` // null: Grafana gives one at import
	UID           string         `json:"uid"`
	Title         string         `json:"title"`
	Description   string         `json:"description"`
	Tags          []string       `json:"tags"`
	SchemaVersion int            `json:"schemaVersion"`
	Version       int            `json:"version"`
	Editable      bool           `json:"editable"`
	GraphTooltip  int            `json:"graphTooltip"`
	Timezone      string         `json:"timezone"`
	Time          TimeRange      `json:"time"`
	Refresh       string         `json:"refresh"`
	Links         []Link         `json:"links"`
	Annotations   AnnotationList `json:"annotations"`
	Templating    VariableList   `json:"templating"`
	Panels        []Panel        `json:"panels"`
}

// TimeRange is what a dashboard shows when it is opened.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// DataSource refers to a data source; UID is a variable here, so that the dashboard suits any Grafana.
type DataSource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Link stands above the panels.
type Link struct {
	Title       string   `json:"title"`
	Tooltip     string   `json:"tooltip"`
	Type        string   `json:"type"`
	Icon        string   `json:"icon"`
	URL         string   `json:"url"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
	TargetBlank bool     `json:"targetBlank"`
}

// AnnotationList holds what is drawn over all graphs.
type AnnotationList struct {
	List []Annotation `json:"list"`
}

// Annotation marks the times for which its query gives more than 0.
type Annotation struct {
	Name        string     `json:"name"`
	DataSource  DataSource `json:"datasource"`
	Enable      bool       `json:"enable"`
	IconColor   string     `json:"iconColor"`
	Target      Target     `json:"target"`
	TagKeys     string     `json:"tagKeys"`
	TitleFormat string     `json:"titleFormat"`
	TextFormat  string     `json:"textFormat"`
}

// VariableList holds the choices above the panels.
type VariableList struct {
	List []Variable `json:"list"`
}

// Variable is one choice.
type Variable struct {
	Name        string      `json:"name"`
	Label       string      `json:"label"`
	Description string      `json:"description"`
	Type        string      `json:"type"`
	DataSource  *DataSource `json:"datasource,omitempty"`
	Query       any         `json:"query"`
	Refresh     int         `json:"refresh,omitempty"`
	Sort        int         `json:"sort,omitempty"`
	Multi       bool        `json:"multi"`
	IncludeAll  bool        `json:"includeAll"`
	AllValue    string      `json:"allValue,omitempty"`
	Current     *Choice     `json:"current,omitempty"`
	Options     []Choice    `json:"options,omitempty"`
}

// SeriesQuery is the query of a variable that takes its values from Prometheus.
type SeriesQuery struct {
	Query string `json:"query"`
	RefID string `json:"refId"`
}

// Choice is a value of a variable.
type Choice struct {
	Selected bool `json:"selected"`
	Text     any  `json:"text"`
	Value    any  `json:"value"`
}

// Panel is one visualization.
type Panel struct {
	ID            int         `json:"id"`
	Type          string      `json:"type"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	DataSource    *DataSource `json:"datasource,omitempty"`
	GridPos       GridPos     `json:"gridPos"`
	MaxDataPoints int         `json:"maxDataPoints,omitempty"`
	Targets       []Target    `json:"targets,omitempty"`
	FieldConfig   FieldConfig `json:"fieldConfig"`
	Options       any         `json:"options"`
}

// GridPos is a place in the grid of 24 columns.
type GridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// Target is one query: Expr of Prometheus and Loki, Query of Tempo.
type Target struct {
	RefID        string     `json:"refId"`
	DataSource   DataSource `json:"datasource"`
	Expr         string     `json:"expr,omitempty"`
	Query        string     `json:"query,omitempty"`
	QueryType    string     `json:"queryType,omitempty"`
	TableType    string     `json:"tableType,omitempty"`
	Limit        int        `json:"limit,omitempty"`
	MaxLines     int        `json:"maxLines,omitempty"`
	Format       string     `json:"format,omitempty"`
	EditorMode   string     `json:"editorMode,omitempty"`
	LegendFormat string     `json:"legendFormat,omitempty"`
	Instant      bool       `json:"instant,omitempty"`
	Range        bool       `json:"range,omitempty"`
	Exemplar     bool       `json:"exemplar,omitempty"`
	Interval     string     `json:"interval,omitempty"`
}

// FieldConfig is how values look.
type FieldConfig struct {
	Defaults  Field      `json:"defaults"`
	Overrides []Override `json:"overrides"`
}

// Field is how the values of one field look.
type Field struct {
	Unit       string      `json:"unit"`
	Decimals   *int        `json:"decimals,omitempty"`
	Min        *float64    `json:"min,omitempty"`
	Max        *float64    `json:"max,omitempty"`
	NoValue    string      `json:"noValue,omitempty"`
	Color      Color       `json:"color"`
	Mappings   []Mapping   `json:"mappings,omitempty"`
	Thresholds *Thresholds `json:"thresholds,omitempty"`
	Links      []DataLink  `json:"links,omitempty"`
	Custom     any         `json:"custom,omitempty"`
}

// Color says how a color is chosen.
type Color struct {
	Mode       string `json:"mode"`
	FixedColor string `json:"fixedColor,omitempty"`
}

// Mapping gives values a text and a color.
type Mapping struct {
	Type    string                 `json:"type"`
	Options map[string]MappedValue `json:"options"`
}

// MappedValue is what stands for a value.
type MappedValue struct {
	Text  string `json:"text"`
	Color string `json:"color"`
	Index int    `json:"index"`
}

// Thresholds color values by size.
type Thresholds struct {
	Mode  string      `json:"mode"`
	Steps []Threshold `json:"steps"`
}

// Threshold is where a color begins; null is the lowest.
type Threshold struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// DataLink leads from a value to somewhere else.
type DataLink struct {
	Title       string `json:"title"`
	URL         string `json:"url"`
	TargetBlank bool   `json:"targetBlank"`
}

// Override changes the look of the fields that a matcher finds.
type Override struct {
	Matcher    Matcher    `json:"matcher"`
	Properties []Property `json:"properties"`
}

// Matcher finds fields, such as byName or byRegexp, of a scope: the series unless something else is named.
type Matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
	Scope   string `json:"scope,omitempty"`
}

// Property is one thing of a field's look.
type Property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

// Legend of a graph.
type Legend struct {
	ShowLegend  bool     `json:"showLegend"`
	DisplayMode string   `json:"displayMode"`
	Placement   string   `json:"placement"`
	Calcs       []string `json:"calcs"`
}

// Tooltip of a graph.
type Tooltip struct {
	Mode string `json:"mode"`
	Sort string `json:"sort"`
}

// TimeSeriesOptions are the options of a graph.
type TimeSeriesOptions struct {
	Legend  Legend  `json:"legend"`
	Tooltip Tooltip `json:"tooltip"`
}

// TimeSeriesField is how a graph draws a series.
type TimeSeriesField struct {
	DrawStyle         string   `json:"drawStyle"`
	LineInterpolation string   `json:"lineInterpolation"`
	LineWidth         int      `json:"lineWidth"`
	FillOpacity       int      `json:"fillOpacity"`
	ShowPoints        string   `json:"showPoints"`
	SpanNulls         bool     `json:"spanNulls"`
	Stacking          Stacking `json:"stacking"`
	AxisLabel         string   `json:"axisLabel"`
}

// Stacking says which series are stacked.
type Stacking struct {
	Mode  string `json:"mode"`
	Group string `json:"group"`
}

// StateTimelineOptions are the options of a row of states.
type StateTimelineOptions struct {
	ShowValue   string  `json:"showValue"`
	RowHeight   float64 `json:"rowHeight"`
	MergeValues bool    `json:"mergeValues"`
	AlignValue  string  `json:"alignValue"`
	Legend      Legend  `json:"legend"`
	Tooltip     Tooltip `json:"tooltip"`
}

// StateTimelineField is how a state is drawn.
type StateTimelineField struct {
	LineWidth   int `json:"lineWidth"`
	FillOpacity int `json:"fillOpacity"`
}

// Reduce says which of a series' values is shown.
type Reduce struct {
	Calcs  []string `json:"calcs"`
	Fields string   `json:"fields"`
	Values bool     `json:"values"`
}

// StatOptions are the options of a big figure.
type StatOptions struct {
	ReduceOptions          Reduce `json:"reduceOptions"`
	Orientation            string `json:"orientation"`
	ColorMode              string `json:"colorMode"`
	GraphMode              string `json:"graphMode"`
	JustifyMode            string `json:"justifyMode"`
	TextMode               string `json:"textMode"`
	WideLayout             bool   `json:"wideLayout"`
	ShowPercentChange      bool   `json:"showPercentChange"`
	PercentChangeColorMode string `json:"percentChangeColorMode"`
}

// BarGaugeOptions are the options of bars.
type BarGaugeOptions struct {
	ReduceOptions Reduce `json:"reduceOptions"`
	Orientation   string `json:"orientation"`
	DisplayMode   string `json:"displayMode"`
	ValueMode     string `json:"valueMode"`
	NamePlacement string `json:"namePlacement"`
	ShowUnfilled  bool   `json:"showUnfilled"`
	Sizing        string `json:"sizing"`
	MinVizWidth   int    `json:"minVizWidth"`
	MinVizHeight  int    `json:"minVizHeight"`
	MaxVizHeight  int    `json:"maxVizHeight"`
	Legend        Legend `json:"legend"`
}

// HeatmapOptions are the options of a heat map of buckets that are counted already.
type HeatmapOptions struct {
	Calculate    bool             `json:"calculate"`
	CellGap      int              `json:"cellGap"`
	CellValues   HeatmapUnit      `json:"cellValues"`
	Color        HeatmapColor     `json:"color"`
	Exemplars    HeatmapExemplars `json:"exemplars"`
	FilterValues HeatmapFilter    `json:"filterValues"`
	Legend       HeatmapLegend    `json:"legend"`
	RowsFrame    HeatmapRows      `json:"rowsFrame"`
	ShowValue    string           `json:"showValue"`
	Tooltip      HeatmapTooltip   `json:"tooltip"`
	YAxis        HeatmapAxis      `json:"yAxis"`
}

// The parts of a heat map's options.
type (
	HeatmapUnit struct {
		Unit string `json:"unit"`
	}
	HeatmapColor struct {
		Mode     string  `json:"mode"`
		Scheme   string  `json:"scheme"`
		Fill     string  `json:"fill"`
		Exponent float64 `json:"exponent"`
		Steps    int     `json:"steps"`
		Reverse  bool    `json:"reverse"`
	}
	HeatmapExemplars struct {
		Color string `json:"color"`
	}
	HeatmapFilter struct {
		LE float64 `json:"le"` // cells of no more than this are left empty
	}
	HeatmapLegend struct {
		Show bool `json:"show"`
	}
	HeatmapRows struct {
		Layout string `json:"layout"`
	}
	HeatmapTooltip struct {
		Mode           string `json:"mode"`
		YHistogram     bool   `json:"yHistogram"`
		ShowColorScale bool   `json:"showColorScale"`
	}
	HeatmapAxis struct {
		Unit          string `json:"unit"`
		AxisPlacement string `json:"axisPlacement"`
		Reverse       bool   `json:"reverse"`
	}
)

// LogsOptions are the options of a list of log lines.
type LogsOptions struct {
	DedupStrategy        string `json:"dedupStrategy"`
	EnableLogDetails     bool   `json:"enableLogDetails"`
	PrettifyLogMessage   bool   `json:"prettifyLogMessage"`
	ShowCommonLabels     bool   `json:"showCommonLabels"`
	ShowLabels           bool   `json:"showLabels"`
	ShowLogContextToggle bool   `json:"showLogContextToggle"`
	ShowTime             bool   `json:"showTime"`
	SortOrder            string `json:"sortOrder"`
	WrapLogMessage       bool   `json:"wrapLogMessage"`
}

// TableOptions are the options of a table.
type TableOptions struct {
	FrameIndex int    `json:"frameIndex"`
	ShowHeader bool   `json:"showHeader"`
	CellHeight string `json:"cellHeight"`
}

// TextOptions are the options of a text.
type TextOptions struct {
	Mode    string `json:"mode"`
	Content string `json:"content"`
}
