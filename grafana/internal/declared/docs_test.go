package declared

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const docs = "../../../docs/metrics.md"

var (
	backquoted = regexp.MustCompile("`([^`]+)`")
	firstLine  = regexp.MustCompile("^(counter|gauge|histogram), (no unit|`[^`]+`), in Prometheus (.+)$")
)

// docs/metrics.md has a section for each metric and none for others, with kind, unit, names in Prometheus and
// attributes as declared, and a query that asks for the metric and for nothing that is not declared.
func TestDocs(t *testing.T) {
	known, err := Read("../../..")
	require.NoError(t, err)
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	assert.Empty(t, lintDocs(string(text), known))

	for _, c := range []struct{ old, replaced, want string }{
		{"### `vendor.orders`", "### `vendor.errors`", "vendor.errors: not declared"},
		{"### `vendor.orders`", "### Orders", "vendor.orders: has no section"},
		{"gauge, no unit, in Prometheus `vendor_outage`", "counter, no unit, in Prometheus `vendor_outage`", "vendor.outage: it is a gauge, not a counter"},
		{"counter, `{call}`", "counter, `{order}`", "vendor.calls: its unit is {call}, not {order}"},
		{"in Prometheus `vendor_planned`", "in Prometheus `vendor_plan`", "vendor.planned: Prometheus calls it"},
		{"by what they were taken as: `vendor.signal` `vendor.role`", "by `vendor.signal`", "vendor.records: its attributes are"},
		{"max by (vendor_name) (vendor_outage) == 1\n```", "max by (vendor_name) (vendor_planned) == 1\n```", "vendor.outage: its query asks for something else"},
		{"time() - max by (probe_name", "time() - max by (probe_nam", "nothing below has a label probe_nam"},
		{"| `vendor.role` | `vendor_role`", "| `vendor.role` | `vendor.role`", "attribute vendor.role: Prometheus calls it vendor_role"},
		{"| `vendor.signal` |", "| `vendor.signals` |", "attribute vendor.signal: has no row"},
		{"`aborted` |", "|", "attribute probe.outcome: it can be aborted"},
	} {
		require.Contains(t, string(text), c.old)
		broken := strings.Replace(string(text), c.old, c.replaced, 1)
		assert.Contains(t, strings.Join(lintDocs(broken, known), "\n"), c.want)
	}
}

func lintDocs(text string, known *Declaration) (faults []string) {
	fault := func(of string, parts ...string) { faults = append(faults, of+": "+strings.Join(parts, " ")) }
	sections := map[string]string{}
	for _, section := range strings.Split(text, "\n#")[1:] {
		heading, body, _ := strings.Cut(strings.TrimLeft(section, "# "), "\n")
		if name := backquoted.FindStringSubmatch(heading); name != nil {
			sections[name[1]] = body
		}
	}
	for _, metric := range known.Metrics {
		body, ok := sections[metric.Name]
		delete(sections, metric.Name)
		if !ok {
			fault(metric.Name, "has no section")
			continue
		}
		paragraphs := strings.SplitN(strings.TrimSpace(body), "\n\n", 2)
		first := firstLine.FindStringSubmatch(paragraphs[0])
		if first == nil || len(paragraphs) < 2 {
			fault(metric.Name, "does not begin with kind, unit and name in Prometheus")
			continue
		}
		if first[1] != metric.Kind {
			fault(metric.Name, "it is a", metric.Kind+", not a", first[1])
		}
		unit := strings.Trim(strings.Replace(first[2], "no unit", "", 1), "`")
		if want := strings.Replace(metric.Unit, "{}", "{impact.unit}", 1); unit != want {
			fault(metric.Name, "its unit is", want+", not", unit)
		}
		if names := quoted(first[3]); strings.Join(names, " ") != strings.Join(metric.PrometheusNames(), " ") {
			fault(metric.Name, "Prometheus calls it", strings.Join(metric.PrometheusNames(), " "))
		}
		prose, query, _ := strings.Cut(paragraphs[1], "```promql\n")
		query, _, _ = strings.Cut(query, "```")
		var attributes []string
		for _, word := range quoted(prose) {
			if known.attribute(word) != nil {
				attributes = append(attributes, word)
			}
		}
		if strings.Join(attributes, " ") != strings.Join(metric.Attributes, " ") {
			fault(metric.Name, "its attributes are", strings.Join(metric.Attributes, " "))
		}
		if err := known.Series().Check(query); err != nil {
			fault(metric.Name, err.Error())
		}
		if !strings.Contains(query, metric.PrometheusNames()[0]) {
			fault(metric.Name, "its query asks for something else")
		}
	}
	for name := range sections {
		fault(name, "not declared")
	}

	rows := map[string][]string{}
	for _, line := range strings.Split(text, "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 5 && len(quoted(cells[1])) == 1 {
			rows[quoted(cells[1])[0]] = cells
		}
	}
	for _, attribute := range known.Attributes {
		cells, ok := rows[attribute.Name]
		if !ok {
			fault("attribute "+attribute.Name, "has no row")
			continue
		}
		if label := Label(attribute.Name); strings.TrimSpace(cells[2]) != "`"+label+"`" {
			fault("attribute "+attribute.Name, "Prometheus calls it", label)
		}
		for _, value := range attribute.Enum {
			if !strings.Contains(cells[3], "`"+value+"`") {
				fault("attribute "+attribute.Name, "it can be", value)
			}
		}
	}
	return faults
}

func quoted(text string) []string {
	var words []string
	for _, match := range backquoted.FindAllStringSubmatch(text, -1) {
		words = append(words, match[1])
	}
	return words
}

func (d *Declaration) attribute(name string) *Attribute {
	for i := range d.Attributes {
		if d.Attributes[i].Name == name {
			return &d.Attributes[i]
		}
	}
	return nil
}
