// Package declared reads what metrics and attributes the components of this repository declare, and says what
// Prometheus makes of their names. What checks panels, rules and documentation learns the names here and nowhere else.
package declared

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/otlptranslator"
	"go.yaml.in/yaml/v3"
)

// Kinds of metrics, as OpenTelemetry calls them.
const (
	Counter   = "counter"
	Gauge     = "gauge"
	Histogram = "histogram"
)

// Metric is one metric that a component declares.
type Metric struct {
	// Name, Kind, Unit and Description are OpenTelemetry's. Where the unit is the user's choice it is {}.
	Name, Kind, Unit, Description string
	// Attributes of its data points.
	Attributes []string
}

// Attribute is one attribute of declared metrics.
type Attribute struct {
	Name, Description string
	// Enum holds all values, where they are known.
	Enum []string
}

// Declaration is everything that is declared, in the order of the names.
type Declaration struct {
	Metrics    []Metric
	Attributes []Attribute
}

// Read collects what the components below root, the repository, declare: in their metadata.yaml and, because the unit
// of an instrument there cannot be the user's choice, by instruments that their code makes by hand. The attributes of
// these are those of the metric that is called like them but for the last word, vendor.outage.value like
// vendor.outage, or else like vendor.orders for vendor.order.value.
func Read(root string) (*Declaration, error) {
	folders, err := componentFolders(root)
	if err != nil {
		return nil, err
	}
	d := &Declaration{}
	for _, folder := range folders {
		if err := d.readMetadata(filepath.Join(folder, "metadata.yaml")); err != nil {
			return nil, err
		}
	}
	for _, folder := range folders {
		if err := d.readInstruments(folder); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(d.Metrics, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Attributes, func(a, b Attribute) int { return cmp.Compare(a.Name, b.Name) })
	return d, nil
}

func componentFolders(root string) ([]string, error) {
	var folders []string
	for _, class := range []string{"processor", "receiver"} {
		files, err := filepath.Glob(filepath.Join(root, class, "*", "metadata.yaml"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			folders = append(folders, filepath.Dir(file))
		}
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("%s: no component has a metadata.yaml below it", root)
	}
	return folders, nil
}

// metadata is what of a metadata.yaml tells of metrics: those of a receiver's data, and those of its own telemetry.
type metadata struct {
	Attributes map[string]struct {
		Description  string
		NameOverride string `yaml:"name_override"`
		Enum         []string
	}
	Metrics   map[string]declaredMetric
	Telemetry struct {
		Metrics map[string]declaredMetric
	}
}

type declaredMetric struct {
	Prefix                *string
	Description, Unit     string
	Attributes            []string
	Gauge, Sum, Histogram *struct{ Monotonic bool }
}

func (d *Declaration) readMetadata(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var m metadata
	if err := yaml.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	names := map[string]string{}
	for key, attribute := range m.Attributes {
		names[key] = cmp.Or(attribute.NameOverride, key)
		if !slices.ContainsFunc(d.Attributes, func(a Attribute) bool { return a.Name == names[key] }) {
			d.Attributes = append(d.Attributes, Attribute{names[key], attribute.Description, attribute.Enum})
		}
	}
	add := func(name string, metric declaredMetric) error {
		kind := ""
		switch {
		case metric.Gauge != nil:
			kind = Gauge
		case metric.Histogram != nil:
			kind = Histogram
		case metric.Sum != nil && metric.Sum.Monotonic:
			kind = Counter
		case metric.Sum != nil:
			kind = Gauge // Prometheus takes a sum that may fall for one
		default:
			return fmt.Errorf("%s: metric %s is no gauge, sum or histogram", path, name)
		}
		var attributes []string
		for _, key := range metric.Attributes {
			attribute, ok := names[key]
			if !ok {
				return fmt.Errorf("%s: metric %s has an attribute %s that is not declared", path, name, key)
			}
			attributes = append(attributes, attribute)
		}
		d.Metrics = append(d.Metrics, Metric{name, kind, metric.Unit, metric.Description, attributes})
		return nil
	}
	for name, metric := range m.Metrics {
		err = errors.Join(err, add(name, metric))
	}
	for name, metric := range m.Telemetry.Metrics {
		prefix := "otelcol_"
		if metric.Prefix != nil {
			prefix = *metric.Prefix
		}
		err = errors.Join(err, add(prefix+name, metric))
	}
	return err
}

// instruments are the methods of OpenTelemetry's Meter that make one.
var instruments = map[string]string{
	"Int64Counter": Counter, "Float64Counter": Counter,
	"Int64ObservableCounter": Counter, "Float64ObservableCounter": Counter,
	"Int64Gauge": Gauge, "Float64Gauge": Gauge,
	"Int64ObservableGauge": Gauge, "Float64ObservableGauge": Gauge,
	"Int64Histogram": Histogram, "Float64Histogram": Histogram,
}

// readInstruments adds the instruments that the hand-written code of one component makes.
func (d *Declaration) readInstruments(folder string) error {
	files := token.NewFileSet()
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !isCode(entry) {
			continue
		}
		path := filepath.Join(folder, entry.Name())
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || instruments[method.Sel.Name] == "" || len(call.Args) == 0 {
				return true
			}
			metric := Metric{Name: text(call.Args[0]), Kind: instruments[method.Sel.Name], Unit: "{}"}
			if metric.Name == "" {
				err = errors.Join(err, fmt.Errorf("%s: the name of this instrument is no literal", files.Position(call.Pos())))
				return true
			}
			for _, arg := range call.Args[1:] {
				option, ok := arg.(*ast.CallExpr)
				if !ok || len(option.Args) == 0 {
					continue
				}
				if f, ok := option.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "WithDescription" {
					metric.Description = strings.TrimSuffix(text(option.Args[0]), " [Alpha]")
				}
			}
			like := d.like(metric.Name)
			if like == nil {
				err = errors.Join(err, fmt.Errorf("%s: no declared metric is called like %s", files.Position(call.Pos()), metric.Name))
				return true
			}
			metric.Attributes = like.Attributes
			d.Metrics = append(d.Metrics, metric)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func isCode(entry fs.DirEntry) bool {
	name := entry.Name()
	return !entry.IsDir() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") &&
		!strings.HasPrefix(name, "generated_")
}

// text is the value of a string literal, or "".
func text(e ast.Expr) string {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return s
}

func (d *Declaration) like(name string) *Metric {
	parent := name[:max(0, strings.LastIndexByte(name, '.'))]
	for _, candidate := range []string{parent, parent + "s"} {
		for i := range d.Metrics {
			if d.Metrics[i].Name == candidate {
				return &d.Metrics[i]
			}
		}
	}
	return nil
}

// PrometheusNames are the names of the series that Prometheus and Grafana Cloud make of the metric when it comes by
// OTLP: one, or the three of a histogram, of which the buckets come first.
func (m *Metric) PrometheusNames() []string {
	kinds := map[string]otlptranslator.MetricType{
		Counter: otlptranslator.MetricTypeMonotonicCounter, Gauge: otlptranslator.MetricTypeGauge, Histogram: otlptranslator.MetricTypeHistogram,
	}
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	name, err := namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: kinds[m.Kind]})
	if err != nil {
		return nil // a name of nothing but dots; mdatagen refuses such
	}
	if m.Kind == Histogram {
		return []string{name + "_bucket", name + "_count", name + "_sum"}
	}
	return []string{name}
}

// Label is what Prometheus calls an attribute.
func Label(attribute string) string {
	namer := otlptranslator.LabelNamer{}
	label, err := namer.Build(attribute)
	if err != nil {
		return attribute
	}
	return label
}

// Series returns the series of the declaration. Their labels are those of the attributes, le for buckets, and what
// Prometheus itself adds: job and instance.
func (d *Declaration) Series() Series {
	series := Series{}
	for i := range d.Metrics {
		labels := []string{"job", "instance"}
		for _, attribute := range d.Metrics[i].Attributes {
			labels = append(labels, Label(attribute))
		}
		for _, name := range d.Metrics[i].PrometheusNames() {
			series[name] = labels
			if strings.HasSuffix(name, "_bucket") {
				series[name] = append(slices.Clone(labels), "le")
			}
		}
	}
	return series
}
