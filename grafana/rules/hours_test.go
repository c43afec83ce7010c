package rules

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
)

// gridStep is how often the series are sampled, as often as they are pushed.
const gridStep = 10 * time.Second

// scenario is how many hours longer the chaos and then good orders go on than in the recording, and what is told in which hour.
type scenario struct {
	Chaos  time.Duration `yaml:"chaos"`
	Orders time.Duration `yaml:"orders"`
	Told   []struct {
		expectedAlert `yaml:",inline"`
		Hour          int `yaml:"hour"`
	} `yaml:"told"`
}

// hoursLater lets promtool evaluate the rules on what Prometheus has of the incident, with hours of the same chaos and then of
// the same good orders added: what the table names is told in its hour, once, and nothing else. What Alertmanager holds
// back is worked out from its configuration.
func (s *stack) hoursLater(t *testing.T, began time.Time, later scenario) {
	series, err := s.prometheus.QueryRange(t.Context(),
		`{__name__=~"vendor_(calls|orders|outages|records)_total|vendor_outage|vendor_outage_orders|vendor_planned"}`, began, time.Now(), gridStep)
	require.NoError(t, err)
	require.NotEmpty(t, series)
	// While the counters of failures grow there is chaos; while any does there are orders.
	var chaosEnds, ordersEnd int
	for _, one := range series {
		last := lastGrowth(one, began)
		if one.Labels["vendor_outcome"] == "vendor_failure" {
			chaosEnds = max(chaosEnds, last)
		}
		ordersEnd = max(ordersEnd, last)
	}
	require.Greater(t, ordersEnd, chaosEnds+2, "good orders follow the chaos")

	input := []map[string]string{}
	for _, one := range series {
		input = append(input, map[string]string{"series": selector(one.Labels), "values": strings.Join(later.prolonged(one, began, chaosEnds-1, ordersEnd-1), " ")})
	}
	rules, err := filepath.Abs(ruleFile)
	require.NoError(t, err)
	folder := t.TempDir()
	write := func(name string, content any) string {
		text, err := yaml.Marshal(content)
		require.NoError(t, err)
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		return path
	}
	told := group{Name: "told", Interval: gridStep.String(), Rules: []rule{
		{Record: "told", Expr: toldBy(t)},
		{Record: "told:begins", Expr: "told unless told offset " + gridStep.String()},
	}}
	groups := []string{}
	for _, group := range append(readRules(t).Groups, told) {
		groups = append(groups, group.Name)
	}
	hours := map[int][]map[string]any{}
	for _, alert := range later.Told {
		labels := map[string]string{"alertname": alert.Alert, "severity": alert.Severity, "side": alert.Side, "vendor_name": alert.Vendor}
		hours[alert.Hour] = append(hours[alert.Hour], map[string]any{"labels": selector(labels), "value": 1})
	}
	var tests []map[string]any
	for hour := 1; hour <= int((later.Chaos+later.Orders)/time.Hour); hour++ {
		tests = append(tests, map[string]any{
			"expr":        "sum by (alertname, severity, side, vendor_name) (count_over_time(told:begins[1h]))",
			"eval_time":   fmt.Sprintf("%dh", hour),
			"exp_samples": hours[hour],
		})
	}
	output, err := promtool(t, "test", "rules", write("hours.yaml", map[string]any{
		"rule_files":       []string{rules, write("told.yaml", ruleGroups{[]group{told}})},
		"group_eval_order": groups,
		"tests":            []any{map[string]any{"interval": gridStep.String(), "input_series": input, "promql_expr_test": tests}},
	}))
	assert.NoError(t, err, "%s more of chaos: %s", later.Chaos, output)
}

// lastGrowth is the last step of the grid at which a counter grew.
func lastGrowth(series monitoring.Series, began time.Time) (last int) {
	if !strings.HasSuffix(series.Labels["__name__"], "_total") {
		return 0
	}
	for i := range series.Points[1:] {
		if series.Points[i+1].Value > series.Points[i].Value {
			last = stepOf(series.Points[i+1], began)
		}
	}
	return last
}

func stepOf(point monitoring.Point, began time.Time) int {
	return int(math.Round(float64(point.At.Sub(began)) / float64(gridStep)))
}

// prolonged returns the values of a series, a step each, in promtool's notation. What it grew by in the three steps before
// chaosEnds it goes on to grow by while the chaos lasts, and so after ordersEnd. A gauge stays at what it was, at last.
func (later scenario) prolonged(series monitoring.Series, began time.Time, chaosEnds, ordersEnd int) (values []string) {
	byStep := map[int]float64{}
	for _, point := range series.Points {
		byStep[stepOf(point, began)] = point.Value
	}
	last := slices.Max(slices.Collect(maps.Keys(byStep)))
	counter := strings.HasSuffix(series.Labels["__name__"], "_total")
	growth := func(until int) float64 {
		before, ok := byStep[until-3]
		if !ok || !counter {
			return 0
		}
		return (byStep[until] - before) / 3
	}
	added := 0.0
	write := func(value float64) { values = append(values, strconv.FormatFloat(value, 'g', -1, 64)) }
	for step := 0; step <= last; step++ {
		value, ok := byStep[step]
		if !ok {
			values = append(values, "_")
		} else if counter && step > ordersEnd {
			break
		} else {
			write(value + added)
		}
		if step == chaosEnds {
			for range int(later.Chaos / gridStep) {
				if ok {
					added += growth(chaosEnds)
					write(value + added)
				} else {
					values = append(values, "_")
				}
			}
		}
	}
	end, each := byStep[last]+added, 0.0
	if counter {
		end, each = byStep[ordersEnd]+added, growth(ordersEnd)
	}
	for range int(later.Orders / gridStep) {
		end += each
		write(end)
	}
	return values
}

// selector writes labels as a series.
func selector(labels map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != "__name__" {
			pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
		}
	}
	return labels["__name__"] + "{" + strings.Join(pairs, ", ") + "}"
}

var matcher = regexp.MustCompile(`^\s*(\w+)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*$`)

// toldBy is an expression of the alerts that fire and that the example of an Alertmanager does not hold back.
func toldBy(t *testing.T) string {
	text, err := os.ReadFile(alertmanagerFile)
	require.NoError(t, err)
	var parsed struct {
		InhibitRules []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
			Equal  []string `yaml:"equal"`
		} `yaml:"inhibit_rules"`
	}
	require.NoError(t, yaml.Unmarshal(text, &parsed))
	require.NotEmpty(t, parsed.InhibitRules)
	firing := func(matchers ...string) string {
		labels := []string{`alertstate="firing"`}
		for _, one := range matchers {
			parts := matcher.FindStringSubmatch(one)
			require.NotNil(t, parts, one)
			labels = append(labels, fmt.Sprintf("%s%s%q", parts[1], parts[2], parts[3]))
		}
		return "ALERTS{" + strings.Join(labels, ", ") + "}"
	}
	told := firing("severity != none")
	for _, rule := range parsed.InhibitRules {
		told += fmt.Sprintf(" unless (%s and on (%s) %s)", firing(rule.Target...), strings.Join(rule.Equal, ", "), firing(rule.Source...))
	}
	return told
}
