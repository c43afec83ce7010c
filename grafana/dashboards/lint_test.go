package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
)

const root = "../.."

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(status)
	}))
}

func TestLint(t *testing.T) {
	d, err := declared.Read(root)
	require.NoError(t, err)
	uids := map[string]bool{}
	for _, dashboard := range dashboards() {
		uids[dashboard.UID] = true
	}
	for _, dashboard := range dashboards() {
		assert.Empty(t, lint(t, dashboard, d, uids), dashboard.Title)
	}
}

// Durations that stand for Grafana's while a query is looked at. No panel has such ones of its own.
const (
	rateInterval = 997 * time.Second
	timeRange    = 9973 * time.Second
)

// lint says what is wrong with a dashboard: what would keep it from working in any Grafana, from being understood, or
// from showing what the components declare. uids are those of the dashboards that it may link to.
func lint(t *testing.T, d Dashboard, known *declared.Declaration, uids map[string]bool) (faults []string) {
	where := d.UID
	fault := func(format string, args ...any) { faults = append(faults, where+": "+fmt.Sprintf(format, args...)) }

	if d.ID != nil || d.UID == "" || d.SchemaVersion != 42 {
		fault("id has to be null, uid set, schemaVersion 42")
	}
	if d.Title == "" || d.Description == "" {
		fault("title or description is missing")
	}
	variables, used := map[string]string{}, map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
		if v.Type == "datasource" {
			variables[v.Name] = "datasource " + v.Query.(string)
		}
	}
	use := func(text string) {
		for _, name := range variablesIn(text) {
			used[name] = true
			if _, ok := variables[name]; !ok && !strings.HasPrefix(name, "__") {
				fault("there is no variable %s", name)
			}
		}
	}
	source := func(of *DataSource) {
		if of == nil {
			fault("no data source")
			return
		}
		use(of.UID)
		if names := variablesIn(of.UID); len(names) != 1 || variables[names[0]] != "datasource "+of.Type {
			fault("data source %s is no variable for a data source of type %s", of.UID, of.Type)
		}
	}
	link := func(address string) {
		use(address)
		if uid, ok := strings.CutPrefix(address, "/d/"); ok {
			uid, _, _ = strings.Cut(uid, "?")
			if !uids[uid] {
				fault("there is no dashboard %s to link to", uid)
			}
		} else if section, ok := strings.CutPrefix(address, playbook); ok {
			if section != "" && !slices.Contains(sections(t), section) {
				fault("the playbook has no section %s", section)
			}
		} else if !strings.HasPrefix(address, "/explore?") {
			fault("a link to %s", address)
		}
	}
	promQL := func(target Target, title string) {
		use(target.Expr)
		use(target.Interval)
		for _, problem := range lintPromQL(target, title, known) {
			fault("%s", problem)
		}
	}

	for _, v := range d.Templating.List {
		where = d.UID + ", variable " + v.Name
		if v.Label == "" || v.Description == "" {
			fault("label or description is missing")
		}
		if v.Type == "query" {
			source(v.DataSource)
			expr := v.Query.(SeriesQuery).Query
			parts := labelValues.FindStringSubmatch(expr)
			if parts == nil {
				fault("%s is not label_values(series, label)", expr)
				continue
			}
			promQL(Target{Expr: parts[1], LegendFormat: "{{" + parts[2] + "}}"}, v.Label)
		}
	}
	for _, l := range d.Links {
		where = d.UID + ", link " + l.Title
		link(l.URL)
		if l.IncludeVars {
			for _, v := range d.Templating.List {
				if v.Multi && holdsOne(l.URL, v.Name) {
					fault("it takes several values of %s to where one is chosen", v.Name)
				}
			}
		}
	}
	for _, a := range d.Annotations.List {
		where = d.UID + ", annotation " + a.Name
		source(&a.DataSource)
		source(&a.Target.DataSource)
		a.Target.LegendFormat = a.TitleFormat + a.TextFormat + "{{" + a.TagKeys + "}}"
		promQL(a.Target, a.Name)
	}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		where = fmt.Sprintf("%s, panel %d %q", d.UID, p.ID, p.Title)
		use(p.Title)
		if p.ID <= 0 || ids[p.ID] {
			fault("the id is not set or not unique")
		}
		ids[p.ID] = true
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
			fault("title, description or unit is missing")
		}
		source(p.DataSource)
		for _, l := range p.FieldConfig.Defaults.Links {
			link(l.URL)
		}
		for _, override := range p.FieldConfig.Overrides {
			for _, property := range override.Properties {
				if links, ok := property.Value.([]DataLink); ok {
					link(links[0].URL)
				}
			}
		}
		if at := p.GridPos; at.X < 0 || at.Y < 0 || at.W <= 0 || at.H < 4 || at.X+at.W > 24 {
			fault("it does not fit into the grid, or is too low to be read: %+v", at)
		}
		for _, before := range d.Panels[:i] {
			if overlap(before.GridPos, p.GridPos) {
				fault("it overlaps panel %d", before.ID)
			}
			if before.GridPos.Y > p.GridPos.Y || before.GridPos.Y == p.GridPos.Y && before.GridPos.X > p.GridPos.X {
				fault("it is listed after panel %d, which is read later", before.ID)
			}
		}
		if len(p.Targets) == 0 {
			fault("it asks for nothing")
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			source(&target.DataSource)
			if p.DataSource != nil && target.DataSource != *p.DataSource {
				fault("target %s has another data source than the panel", target.RefID)
			}
			if target.RefID == "" || refs[target.RefID] {
				fault("refId %q is not unique", target.RefID)
			}
			refs[target.RefID] = true
			switch {
			case target.DataSource.Type == "prometheus":
				if target.Instant == target.Range {
					fault("target %s has to be either instant or of a range", target.RefID)
				}
				promQL(target, p.Title)
			case target.Expr == "" && target.Query == "":
				fault("target %s asks for nothing", target.RefID)
			default:
				use(target.Expr)
				use(target.Query)
				for _, tag := range tagsIn(target) {
					if !isTag(known, tag) {
						fault("target %s: no component writes a tag %s", target.RefID, tag)
					}
				}
			}
		}
	}
	where = d.UID
	if holes := holes(d.Panels); holes != 0 {
		fault("the panels leave %d cells of the grid empty", holes)
	}
	for name := range variables {
		if !used[name] {
			fault("nothing uses the variable %s", name)
		}
	}
	return faults
}

var (
	labelValues  = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	variablePart = regexp.MustCompile(`\$(?:(\w+)|\{(\w+)[^}]*\})`)
	legendPart   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// variablesIn finds the names of the variables in a text; of an address, as it reads unescaped.
func variablesIn(text string) []string {
	if unescaped, err := url.PathUnescape(text); err == nil {
		text = unescaped
	}
	var names []string
	for _, match := range variablePart.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1]+match[2])
	}
	return names
}

// tagsIn finds the attributes of spans that a TraceQL query asks for, and the labels that a LogQL query filters by.
func tagsIn(target Target) []string {
	pattern := logQLFilter
	if target.Query != "" {
		pattern = traceQLAttribute
	}
	var tags []string
	for _, match := range pattern.FindAllStringSubmatch(target.Expr+target.Query, -1) {
		tags = append(tags, match[1])
	}
	return tags
}

var (
	traceQLAttribute = regexp.MustCompile(`span\.([\w.]+)`)
	logQLFilter      = regexp.MustCompile(`(?:\||\bor\b|\band\b) (\w+) ?[!=~]`)
)

// isTag takes event_name for one, which OpenTelemetry itself gives to an event.
func isTag(known *declared.Declaration, tag string) bool {
	return tag == "event_name" || slices.ContainsFunc(known.Attributes, func(a declared.Attribute) bool {
		return a.Name == tag || declared.Label(a.Name) == tag
	})
}

// lintPromQL says what is wrong with a query of what has the title.
func lintPromQL(target Target, title string, known *declared.Declaration) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	expression := strings.NewReplacer("$__rate_interval", rateInterval.String(), "$__range", timeRange.String(), "$__interval", time.Minute.String()).Replace(target.Expr)
	found, err := known.Series().Labels(expression)
	if err != nil {
		return []string{err.Error()}
	}
	for _, label := range legendPart.FindAllStringSubmatch(target.LegendFormat, -1) {
		if !slices.Contains(found, label[1]) {
			fault("legend %s: the query gives no label %s", target.LegendFormat, label[1])
		}
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return append(faults, err.Error())
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		switch e := node.(type) {
		case *parser.Call:
			if matrix, ok := e.Args[0:min(1, len(e.Args))], false; len(matrix) == 1 {
				_, ok = matrix[0].(*parser.MatrixSelector)
				if ok && slices.Contains([]string{"rate", "irate", "increase", "delta"}, e.Func.Name) {
					of := matrix[0].(*parser.MatrixSelector).Range
					stepped := slices.ContainsFunc(path, func(n parser.Node) bool { _, ok := n.(*parser.SubqueryExpr); return ok })
					window := lastWindow(title)
					switch {
					case stepped:
						// How long $__rate_interval is, for the one point that a figure has, is for nobody to know.
						if of == rateInterval {
							fault("%s: over $__rate_interval within a subquery", e)
						}
					case window != 0 && target.Instant:
						if of != window {
							fault("%s: not over the last %s, which the title tells of", e, window)
						}
					// A graph of such windows would leave out what is between its points; a figure would not say of when it is.
					case of != rateInterval && of != timeRange:
						fault("%s: neither over $__rate_interval nor $__range", e)
					}
				}
			}
		case *parser.AggregateExpr:
			if e.Op != parser.SUM && e.Op != parser.AVG && e.Op != parser.COUNT {
				return nil
			}
			if addsSignals(e, known) {
				fault("%s: it adds signals, which tell of the same orders", e)
			}
		case *parser.VectorSelector:
			for _, matcher := range e.LabelMatchers {
				asked := matcher.SetMatches() // of a|b; none where it is another pattern
				if matcher.Type == labels.MatchEqual || matcher.Type == labels.MatchNotEqual {
					asked = []string{matcher.Value}
				}
				values := enum(known, matcher.Name)
				for _, value := range asked {
					if values != nil && value != "" && !slices.Contains(values, value) {
						fault("%s: %s is never %q", e, matcher.Name, value)
					}
				}
			}
		}
		return nil
	})
	return faults
}

// lastWindow is how long before the end a title says that its figures begin, or 0 where it does not.
func lastWindow(title string) time.Duration {
	told := lastMinutes.FindStringSubmatch(title)
	if told == nil {
		return 0
	}
	minutes, _ := strconv.Atoi(told[1])
	return time.Duration(minutes) * time.Minute
}

var lastMinutes = regexp.MustCompile(` of the last (\d+) minutes$`)

// addsSignals tells whether series of both signals are added: they are not where the signal is matched or kept.
func addsSignals(sum *parser.AggregateExpr, known *declared.Declaration) bool {
	if slices.Contains(sum.Grouping, "vendor_signal") != sum.Without {
		return false
	}
	below, err := known.Series().Labels(sum.Expr.String())
	if err != nil || !slices.Contains(below, "vendor_signal") {
		return false
	}
	matched := true
	parser.Inspect(sum.Expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			matched = matched && slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
				return m.Name == "vendor_signal" && m.Type == labels.MatchEqual && m.Value != ""
			})
		}
		return nil
	})
	return !matched
}

func enum(known *declared.Declaration, label string) []string {
	for _, attribute := range known.Attributes {
		if declared.Label(attribute.Name) == label {
			return attribute.Enum
		}
	}
	return nil
}

func overlap(a, b GridPos) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// holes counts the cells between the panels that none of them covers, given that none overlap.
func holes(panels []Panel) int {
	covered, bottom := 0, 0
	for _, p := range panels {
		covered += p.GridPos.W * p.GridPos.H
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	return 24*bottom - covered
}

// Each case breaks one thing of a dashboard that is well.
func TestLintFinds(t *testing.T) {
	known, err := declared.Read(root)
	require.NoError(t, err)
	uids := map[string]bool{"vendor-health": true, "vendor-incident": true}
	expr := func(e string) func(*Dashboard) {
		return func(d *Dashboard) { d.Panels[0].Targets[0].Expr = e; d.Panels[0].Targets[0].LegendFormat = "" }
	}
	for _, c := range []struct {
		want   string
		broken func(*Dashboard)
	}{
		{"schemaVersion 42", func(d *Dashboard) { d.SchemaVersion = 41 }},
		{"id has to be null", func(d *Dashboard) { d.ID = new(int) }},
		{"title or description is missing", func(d *Dashboard) { d.Description = "" }},
		{"variable vendor: label or description is missing", func(d *Dashboard) { d.Templating.List[3].Label = "" }},
		{"is not label_values", func(d *Dashboard) { d.Templating.List[3].Query = SeriesQuery{Query: "vendor_outage"} }},
		{"no component declares such a metric", func(d *Dashboard) { d.Templating.List[3].Query = SeriesQuery{Query: "label_values(up, vendor_name)"} }},
		{"the query gives no label vendor_caller", func(d *Dashboard) {
			d.Templating.List[3].Query = SeriesQuery{Query: "label_values(vendor_outage, vendor_caller)"}
		}},
		{"nothing uses the variable more", func(d *Dashboard) {
			d.Templating.List = append(slices.Clone(d.Templating.List), fromSeries("more", "m", "d", vendors))
		}},
		{"no dashboard other to link to", func(d *Dashboard) { d.Links[1].URL = "/d/other?x" }},
		{"the playbook has no section #report", func(d *Dashboard) { d.Links[0].URL += "#report" }},
		{"a link to http://localhost", func(d *Dashboard) { d.Links[0].URL = "http://localhost" }},
		{"it takes several values of vendor to where one is chosen", func(d *Dashboard) { d.Links[1].IncludeVars = true }},
		{"there is no variable who", func(d *Dashboard) { d.Links[1].URL += "?var-vendor=$who" }},
		{"annotation Outages: vendor_down", func(d *Dashboard) { d.Annotations.List[0].Target.Expr = "vendor_down > 0" }},
		{"the query gives no label who", func(d *Dashboard) { d.Annotations.List[0].TitleFormat = "{{who}}" }},
		{"id is not set or not unique", func(d *Dashboard) { d.Panels[1].ID = 1 }},
		{"title, description or unit is missing", func(d *Dashboard) { d.Panels[0].FieldConfig.Defaults.Unit = "" }},
		{"title, description or unit is missing", func(d *Dashboard) { d.Panels[0].Description = "" }},
		{"title, description or unit is missing", func(d *Dashboard) { d.Panels[0].Title = "" }},
		{"no data source", func(d *Dashboard) { d.Panels[0].DataSource = nil }},
		{"data source abc is no variable", func(d *Dashboard) { d.Panels[0].DataSource = &DataSource{"prometheus", "abc"} }},
		{"data source ${loki} is no variable for a data source of type prometheus", func(d *Dashboard) { d.Panels[0].DataSource = &DataSource{"prometheus", "${loki}"} }},
		{"another data source than the panel", func(d *Dashboard) { d.Panels[0].DataSource = &loki }},
		{"does not fit into the grid", func(d *Dashboard) { d.Panels[0].GridPos.W = 25 }},
		{"overlaps panel", func(d *Dashboard) { d.Panels[1].GridPos.X-- }},
		{"which is read later", func(d *Dashboard) { d.Panels[0], d.Panels[1] = d.Panels[1], d.Panels[0] }},
		{"cells of the grid empty", func(d *Dashboard) { d.Panels[0].GridPos.W-- }},
		{"it asks for nothing", func(d *Dashboard) { d.Panels[0].Targets = nil }},
		{`refId "" is not unique`, func(d *Dashboard) { d.Panels[0].Targets[0].RefID = "" }},
		{"either instant or of a range", func(d *Dashboard) { d.Panels[0].Targets[0].Range = true }},
		{"target A asks for nothing", func(d *Dashboard) { d.Panels[0].Targets[0].DataSource = tempo; d.Panels[0].Targets[0].Expr = "" }},
		{"the query gives no label vendor_signal", func(d *Dashboard) { d.Panels[0].Targets[0].LegendFormat = "{{vendor_signal}}" }},
		{"parse error", expr("sum(")},
		{"no component declares such a metric", expr("vendor_errors_total")},
		{"no component declares a label vendor", expr(`vendor_outage{vendor="x"}`)},
		{"there is no variable vendors", expr(`vendor_outage{vendor_name=~"$vendors"}`)},
		{"neither over $__rate_interval nor $__range", expr(`rate(vendor_outages_total[5m])`)},
		{"neither over $__rate_interval nor $__range", func(d *Dashboard) {
			graph := &d.Panels[6]
			graph.Title += " of the last 5 minutes"
			graph.Targets[0].Expr, graph.Targets[0].LegendFormat = `rate(vendor_outages_total[5m])`, ""
		}},
		{"not over the last 15m0s, which the title tells of", func(d *Dashboard) {
			expr(`rate(vendor_outages_total[5m])`)(d)
			d.Panels[0].Title += " of the last 15 minutes"
		}},
		{"not over the last 15m0s, which the title tells of", func(d *Dashboard) {
			expr(`rate(vendor_outages_total[$__range])`)(d)
			d.Panels[0].Title += " of the last 15 minutes"
		}},
		{"over $__rate_interval within a subquery", expr(`max_over_time(rate(vendor_outages_total[$__rate_interval])[$__range:1m])`)},
		{"it adds signals", expr(`sum(rate(vendor_orders_total[$__rate_interval]))`)},
		{"it adds signals", expr(`sum without (vendor_signal) (vendor_calls_total)`)},
		{`vendor_outcome is never "failed"`, expr(`vendor_orders_total{vendor_outcome="failed"}`)},
		{`vendor_failure_reason is never "refused"`, expr(`vendor_orders_total{vendor_failure_reason!="refused"}`)},
		{`vendor_failure_reason is never "refused"`, expr(`vendor_orders_total{vendor_failure_reason=~"error|refused"}`)},
	} {
		d := vendorHealth()
		require.Empty(t, lint(t, d, known, uids))
		c.broken(&d)
		assert.Contains(t, strings.Join(lint(t, d, known, uids), "\n"), c.want)
	}

	for _, c := range []struct {
		panel  int
		wanted string
	}{
		{panelTraces, "no component writes a tag vendor.failure.cause"},
		{panelLines, "no component writes a tag vendor_failure_cause"},
		{panelOutageLines, "no component writes a tag event_names"},
	} {
		d := vendorIncident()
		target := &d.Panels[slices.IndexFunc(d.Panels, func(p Panel) bool { return p.ID == c.panel })].Targets[0]
		for _, query := range []*string{&target.Expr, &target.Query} {
			*query = strings.Replace(strings.Replace(*query, "reason", "cause", 1), "or event_name", "or event_names", 1)
		}
		assert.Contains(t, strings.Join(lint(t, d, known, uids), "\n"), c.wanted)
	}
}

// sections are the links to the headings of the playbook, as GitHub makes them.
func sections(t *testing.T) []string {
	t.Helper()
	var links []string
	for _, heading := range headings.FindAllStringSubmatch(read(t, playbookFile), -1) {
		link := strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")
		links = append(links, "#"+notInLinks.ReplaceAllString(link, ""))
	}
	return links
}

// holdsOne says whether a variable of the dashboard at an address is there and holds one value at a time.
func holdsOne(address, variable string) bool {
	for _, d := range dashboards() {
		if uid, _, _ := strings.Cut(strings.TrimPrefix(address, "/d/"), "?"); d.UID == uid {
			return slices.ContainsFunc(d.Templating.List, func(v Variable) bool { return v.Name == variable && !v.Multi })
		}
	}
	return false
}

const playbookFile = root + "/docs/playbook.md"

var (
	headings   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInLinks = regexp.MustCompile(`[^\w-]`)
	italic     = regexp.MustCompile(`[^*\w]\*([A-Z][^*\n]+)\*[^*]`)
	bracketed  = regexp.MustCompile(`\[([A-Z][a-z ]+)\]`)
)

// The playbook names dashboards and panels as they are called; its template of the incident report is filled from the
// panels of Vendor incident.
func TestPlaybookNames(t *testing.T) {
	playbook := read(t, playbookFile)
	titles := map[string][]string{}
	var all []string
	for _, dashboard := range dashboards() {
		all = append(all, dashboard.Title)
		for _, panel := range dashboard.Panels {
			all = append(all, strings.TrimSuffix(panel.Title, " of $latency_vendor"))
			titles[dashboard.UID] = append(titles[dashboard.UID], panel.Title)
		}
	}
	named := italic.FindAllStringSubmatch(playbook, -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		assert.Contains(t, all, name[1])
	}

	_, template, found := strings.Cut(playbook, "## The incident report")
	require.True(t, found)
	_, template, _ = strings.Cut(template, "```text")
	template, _, _ = strings.Cut(template, "```")
	filled := bracketed.FindAllStringSubmatch(template, -1)
	require.NotEmpty(t, filled)
	for _, panel := range filled {
		assert.Contains(t, titles["vendor-incident"], panel[1])
	}
}

// What is committed is what the program writes.
func TestCommitted(t *testing.T) {
	for _, dashboard := range dashboards() {
		want, err := render(dashboard)
		require.NoError(t, err)
		assert.Equal(t, string(want), read(t, dashboard.UID+".json"), "make generate has to be committed")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
