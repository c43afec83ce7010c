package rules

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
)

// block is a piece of code in the playbook.
type block struct{ kind, text string }

// readBlocks returns the blocks of code of the playbook. The kind of a query that needs a test order is promql probe.
func readBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(playbook)
	require.NoError(t, err)
	for _, found := range regexp.MustCompile("(?ms)^ *```([\\w ]+)\n(.*?)^ *```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{found[1], found[2]})
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// What can be pasted asks for what there is, and what can be run is a script.
func TestPlaybook(t *testing.T) {
	d, err := declared.Read(root)
	require.NoError(t, err)
	series := withRecorded(d.Series(), readRules(t))
	kinds := map[string]int{}
	for _, b := range readBlocks(t) {
		kinds[b.kind]++
		switch b.kind {
		case "promql", "promql probe":
			assert.NoError(t, series.Check(b.text))
			assert.NoError(t, showsAll(series, b.text))
			assert.Equal(t, b.kind == "promql probe", strings.Contains(b.text, "probe_") || strings.Contains(b.text, "test_order"), b.text)
		case "sh":
			check := exec.Command("bash", "-n")
			check.Stdin = strings.NewReader(b.text)
			output, err := check.CombinedOutput()
			assert.NoError(t, err, "%s\n%s", output, b.text)
		case "logql", "traceql", "text":
		default:
			t.Errorf("a block of kind %q", b.kind)
		}
	}
	for _, kind := range []string{"promql", "promql probe", "sh", "logql", "traceql"} {
		assert.Positive(t, kinds[kind], kind)
	}
}

// showsAll returns an error where an `or` leaves out what the text around the query promises: it does not ask for names, and
// of series that differ by theirs alone shows those to its left.
func showsAll(series declared.Series, query string) error {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return err
	}
	or, ok := expr.(*parser.BinaryExpr)
	if !ok || or.Op != parser.LOR {
		return nil
	}
	left, err := series.Labels(or.LHS.String())
	if err != nil {
		return err
	}
	right, err := series.Labels(or.RHS.String())
	if err != nil {
		return err
	}
	slices.Sort(left)
	slices.Sort(right)
	if slices.Equal(slices.Compact(left), slices.Compact(right)) {
		return fmt.Errorf("%s: of what has equal labels only the left side is shown", query)
	}
	return showsAll(series, or.LHS.String())
}

func TestShowsAll(t *testing.T) {
	series := declared.Series{"ratio1h": {"vendor"}, "ratio6h": {"vendor"}, "orders": {"vendor", "signal"}}
	for query, says := range map[string]string{
		`ratio1h or ratio6h`:           "only the left side is shown",
		`ratio1h or ratio6h or orders`: "only the left side is shown",
		`{__name__=~"ratio(1h|6h)"}`:   "",
		`ratio1h or orders`:            "",
		`ratio1h / ratio6h`:            "",
		`ratio1h or`:                   "parse error",
	} {
		if err := showsAll(series, query); says == "" {
			assert.NoError(t, err, query)
		} else {
			assert.ErrorContains(t, err, says, query)
		}
	}
}

// An order that is placed by hand is nobody's by what the shop's own lines tell of it.
func TestPlaybookOrders(t *testing.T) {
	text, err := os.ReadFile(root + "/examples/jwt-pizza.yaml")
	require.NoError(t, err)
	var config struct {
		Processors struct {
			VendorFailure struct {
				Synthetic struct{ Fields map[string][]string }
			} `yaml:"vendor_failure"`
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &config))
	marks := config.Processors.VendorFailure.Synthetic.Fields["reqBody.items.#.description"]
	require.NotEmpty(t, marks)
	orders := 0
	for _, b := range readBlocks(t) {
		for _, body := range regexp.MustCompile(`-d '(.*)'`).FindAllStringSubmatch(b.text, -1) {
			var order struct {
				Items []struct{ Description string }
			}
			require.NoError(t, json.Unmarshal([]byte(body[1]), &order), body[1])
			require.NotEmpty(t, order.Items, body[1])
			for _, item := range order.Items {
				assert.Contains(t, marks, item.Description, body[1])
			}
			orders++
		}
	}
	assert.Equal(t, 2, orders)
}

// What holds for test orders once a minute is named where the playbook tells what to change for a longer interval.
func TestPlaybookInterval(t *testing.T) {
	text, err := os.ReadFile(playbook)
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "for their `interval` of a minute.")
	require.True(t, ok)
	told, _, ok := strings.Cut(rest, "\n## ")
	require.True(t, ok)

	// Five minutes is how long a series lasts that is told no more, whatever the interval.
	windows := 0
	for _, r := range readRules(t).all() {
		for _, window := range regexp.MustCompile(`probe_[a-z_]+(?:\{[^}]*\})?(?:\[| offset )(\d+m)`).FindAllStringSubmatch(r.Expr, -1) {
			if window[1] == "5m" {
				continue
			}
			windows++
			assert.Contains(t, told, r.Alert+r.Record)
			assert.Regexp(t, "`\\[?"+window[1]+"\\]?`", told, r.name())
		}
	}
	assert.Equal(t, 4, windows)

	dashboard, err := os.ReadFile("../dashboards/vendor-health.json")
	require.NoError(t, err)
	_, panel, ok := strings.Cut(string(dashboard), `"title": "Last good test order"`)
	require.True(t, ok)
	panel, _, ok = strings.Cut(panel, `"title": "Customers' orders lost"`)
	require.True(t, ok)
	bounds := regexp.MustCompile(`"value": (\d+)`).FindAllStringSubmatch(panel, -1)
	require.Len(t, bounds, 2)
	for _, bound := range bounds {
		assert.Contains(t, told, bound[1])
	}
}

// Its links lead somewhere.
func TestPlaybookLinks(t *testing.T) {
	text, err := os.ReadFile(playbook)
	require.NoError(t, err)
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		slug := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(slug, " ", "-")] = true
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
		to, anchor, _ := strings.Cut(link[1], "#")
		switch {
		case strings.HasPrefix(to, "https://"):
		case to != "":
			_, err := os.Stat(filepath.Join(filepath.Dir(playbook), to))
			assert.NoError(t, err, link[1])
		default:
			assert.True(t, anchors[anchor], link[1])
		}
	}
}

// askPlaybook runs each query of a kind against a Prometheus that has seen what they ask about: all find something.
func (s *stack) askPlaybook(t *testing.T, kind string) {
	for _, b := range readBlocks(t) {
		if b.kind == kind {
			got, err := s.prometheus.Query(t.Context(), b.text)
			assert.NoError(t, err, b.text)
			assert.NotEmpty(t, got, "the playbook's %s", b.text)
		}
	}
}
