// Package rules tests the alert and recording rules: with promtool, against what the components and dashboards have, and
// with a real Prometheus and Alertmanager.
package rules

import (
	"cmp"
	"flag"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
)

const (
	root      = "../.."
	ruleFile  = "vendor_failure.yaml"
	unitTests = "tests/*.yaml"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests of routes wait, they do not compute.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(status)
	}))
}

// rule is an alert rule or a recording rule.
type rule struct {
	Record        string            `yaml:"record,omitempty"`
	Alert         string            `yaml:"alert,omitempty"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for,omitempty"`
	KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels,omitempty"`
	Annotations   map[string]string `yaml:"annotations,omitempty"`
}

type group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval,omitempty"`
	Rules    []rule `yaml:"rules"`
}

type ruleGroups struct {
	Groups []group `yaml:"groups"`
}

func (g ruleGroups) all() (rules []rule) {
	for _, group := range g.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func (g ruleGroups) alerts() (alerts []rule) {
	return slices.DeleteFunc(g.all(), func(r rule) bool { return r.Alert == "" })
}

// alertsOn returns the names of the alerts for which a rule is needed, by way of other rules too.
func (g ruleGroups) alertsOn(needed rule) map[string]bool {
	if needed.Alert != "" {
		return map[string]bool{needed.Alert: true}
	}
	alerts := map[string]bool{}
	for _, r := range g.all() {
		if r.Record != needed.Record && strings.Contains(r.Expr, needed.Record) {
			maps.Copy(alerts, g.alertsOn(r))
		}
	}
	return alerts
}

// name tells a rule from all others.
func (r rule) name() string {
	name := r.Alert + r.Record
	for _, label := range []string{"severity", "missing", "vendor_outcome"} {
		if value := r.Labels[label]; value != "" {
			name += " " + value
		}
	}
	return name
}

func readRules(t *testing.T) ruleGroups {
	t.Helper()
	text, err := os.ReadFile(ruleFile)
	require.NoError(t, err)
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	var parsed ruleGroups
	require.NoError(t, decoder.Decode(&parsed))
	require.NotEmpty(t, parsed.alerts())
	return parsed
}

// readUnitTests returns the text of each file of unit tests.
func readUnitTests(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(unitTests)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	return texts
}

func promtool(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join(root, ".tools/promtool"))
	require.NoError(t, err)
	require.FileExists(t, binary, "run make .tools/promtool first")
	out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
	return string(out), err
}

// rulesInAGroup is how many the Mimir ruler takes by default: -ruler.max-rules-per-rule-group.
const rulesInAGroup = 20

func TestCheckRules(t *testing.T) {
	for _, group := range readRules(t).Groups {
		assert.LessOrEqual(t, len(group.Rules), rulesInAGroup, group.Name)
	}
	output, err := promtool(t, "check", "rules", "--lint=all", "--lint-fatal", ruleFile)
	assert.NoError(t, err, output)
	assert.Contains(t, output, "SUCCESS")
}

// For each alert there is a case that fires, one that nearly does and one that resolves; labels and annotations are told.
func TestUnitTests(t *testing.T) {
	t.Parallel()
	rules := readRules(t)
	for file := range readUnitTests(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			output, err := promtool(t, "test", "rules", file)
			assert.NoError(t, err, output)
		})
	}
	t.Run("fire and do not", func(t *testing.T) {
		fires, silent := map[string]bool{}, map[string]bool{}
		for _, text := range readUnitTests(t) {
			var parsed struct {
				Tests []struct {
					Alerts []struct {
						Name   string `yaml:"alertname"`
						Expect []struct {
							Labels      map[string]string `yaml:"exp_labels"`
							Annotations map[string]string `yaml:"exp_annotations"`
						} `yaml:"exp_alerts"`
					} `yaml:"alert_rule_test"`
				} `yaml:"tests"`
			}
			require.NoError(t, yaml.Unmarshal([]byte(text), &parsed))
			for _, test := range parsed.Tests {
				for _, alert := range test.Alerts {
					silent[alert.Name] = silent[alert.Name] || len(alert.Expect) == 0
					for _, expected := range alert.Expect {
						assert.NotEmpty(t, expected.Annotations["summary"])
						fires[rule{Alert: alert.Name, Labels: expected.Labels}.name()] = true
					}
				}
			}
		}
		for _, alert := range rules.alerts() {
			if strings.Contains(alert.Labels["missing"], "{{") {
				alert.Labels["missing"] = "logs" // one of its values
			}
			assert.True(t, fires[alert.name()], "no case in which %s fires", alert.name())
			if alert.Alert != "Watchdog" {
				assert.True(t, silent[alert.Alert], "no case in which %s does not fire", alert.Alert)
			}
		}
	})
}

// Without any one rule the unit tests fail.
func TestEveryRuleIsNeeded(t *testing.T) {
	t.Parallel()
	rules, tests := readRules(t), readUnitTests(t)
	evaluations := map[string]float64{}
	for file, text := range tests {
		evaluations[file] = evaluationsIn(t, text)
	}
	for g := range rules.Groups {
		for r := range rules.Groups[g].Rules {
			without := ruleGroups{Groups: slices.Clone(rules.Groups)}
			without.Groups[g].Rules = slices.Delete(slices.Clone(rules.Groups[g].Rules), r, r+1)
			deleted := rules.Groups[g].Rules[r]
			t.Run(deleted.name(), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				text, err := yaml.Marshal(without)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, ruleFile), text, 0o600))
				require.NoError(t, os.Mkdir(filepath.Join(dir, "tests"), 0o700))
				// The files that speak most of the alerts that need the rule, for the time they take, are asked first.
				files := slices.SortedFunc(maps.Keys(tests), func(a, b string) int {
					return cmp.Compare(mentions(tests[b], rules.alertsOn(deleted))/evaluations[b], mentions(tests[a], rules.alertsOn(deleted))/evaluations[a])
				})
				for _, file := range files {
					require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(tests[file]), 0o600))
					if output, err := promtool(t, "test", "rules", filepath.Join(dir, file)); err != nil {
						assert.Contains(t, output, "FAILED:", "it fails by what it expects")
						return
					}
				}
				t.Error("all unit tests pass without it")
			})
		}
	}
}

// mentions is how often a text speaks of alerts.
func mentions(text string, alerts map[string]bool) (n float64) {
	for alert := range alerts {
		n += float64(strings.Count(text, alert))
	}
	return n
}

// evaluationsIn is how often a file of unit tests has the rules evaluated.
func evaluationsIn(t *testing.T, text string) (n float64) {
	type asked struct {
		At model.Duration `yaml:"eval_time"`
	}
	var parsed struct {
		Interval model.Duration `yaml:"evaluation_interval"`
		Tests    []struct {
			Alerts      []asked `yaml:"alert_rule_test"`
			Expressions []asked `yaml:"promql_expr_test"`
		} `yaml:"tests"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &parsed))
	for _, test := range parsed.Tests {
		last := slices.MaxFunc(slices.Concat(test.Alerts, test.Expressions), func(a, b asked) int { return cmp.Compare(a.At, b.At) })
		n += 1 + float64(last.At)/float64(parsed.Interval)
	}
	return n
}

// withRecorded adds what the rules record. Some of them ask for themselves, so their labels are told, not derived.
func withRecorded(series declared.Series, rules ruleGroups) declared.Series {
	for _, recorded := range rules.all() {
		if recorded.Record != "" {
			series[recorded.Record] = []string{"vendor_name", "vendor_failure_reason", "vendor_failure_chaos", "vendor_outcome",
				"vendor_signal", "counted", "side", "probe_name", "probe_step", "probe_outcome"}
		}
	}
	for _, name := range []string{"ALERTS", "ALERTS_FOR_STATE"} {
		series[name] = []string{"alertname", "alertstate", "severity", "side", "vendor_name"}
	}
	return series
}

// Nothing is asked for that no component declares and no rule records.
func TestExpressionsAskForWhatThereIs(t *testing.T) {
	d, err := declared.Read(root)
	require.NoError(t, err)
	rules := readRules(t)
	series := withRecorded(d.Series(), rules)
	for _, r := range rules.all() {
		labels, err := series.Labels(r.Expr)
		assert.NoError(t, err, r.name())
		if r.Record != "" {
			assert.Subset(t, series[r.Record], labels, r.Record)
		}
		// What a text speaks of is there, too.
		for _, text := range append(slices.Collect(maps.Values(r.Annotations)), slices.Collect(maps.Values(r.Labels))...) {
			for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				assert.Contains(t, labels, label[1], r.name())
			}
		}
	}
}
