package declared

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// Series says which labels a series may have, by its name in Prometheus.
type Series map[string][]string

// Check parses a PromQL expression and returns an error for each thing in it that is not among the series: a name, a
// label that is matched, grouped or joined by, or a selector that names no metric. Labels that label_replace or
// label_join make are known from there on.
func (s Series) Check(expression string) error {
	_, err := s.Labels(expression)
	return err
}

// Labels returns the labels that the result of an expression may have, and the error of Check.
func (s Series) Labels(expression string) ([]string, error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expression, err)
	}
	return s.check(expr)
}

// check returns the labels that the result of an expression may have.
func (s Series) check(expr parser.Node) ([]string, error) {
	if selector, ok := expr.(*parser.VectorSelector); ok {
		return s.checkSelector(selector)
	}
	var children [][]string
	var known []string
	var err error
	for child := range parser.ChildrenIter(expr) {
		of, fault := s.check(child)
		children = append(children, of)
		known = append(known, of...)
		err = errors.Join(err, fault)
	}
	use := func(names ...string) {
		for _, name := range names {
			if !slices.Contains(known, name) {
				err = errors.Join(err, fmt.Errorf("%s: nothing below has a label %s", expr, name))
			}
		}
	}
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		use(e.Grouping...)
		switch {
		case e.Op == parser.TOPK || e.Op == parser.BOTTOMK: // choose among series and leave them whole
		case e.Without:
			known = slices.DeleteFunc(known, func(label string) bool { return slices.Contains(e.Grouping, label) })
		default:
			known = slices.Clone(e.Grouping)
		}
	case *parser.BinaryExpr:
		if e.VectorMatching != nil {
			use(e.VectorMatching.MatchingLabels...)
			use(e.VectorMatching.Include...)
		}
		if e.Op == parser.LAND || e.Op == parser.LUNLESS {
			known = children[0]
		}
	case *parser.Call:
		if e.Func.Name == "label_replace" || e.Func.Name == "label_join" {
			if label, ok := e.Args[1].(*parser.StringLiteral); ok {
				known = append(known, label.Val)
			}
		}
	}
	return known, err
}

func (s Series) checkSelector(selector *parser.VectorSelector) ([]string, error) {
	var named []string
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name != model.MetricNameLabel {
			continue
		}
		for name := range s {
			if matcher.Matches(name) {
				named = append(named, name)
			}
		}
	}
	if len(named) == 0 {
		return nil, fmt.Errorf("%s: no component declares such a metric", selector)
	}
	var known []string
	for _, name := range named {
		known = append(known, s[name]...)
	}
	var err error
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name != model.MetricNameLabel && !slices.Contains(known, matcher.Name) {
			err = errors.Join(err, fmt.Errorf("%s: no component declares a label %s", selector, matcher.Name))
		}
	}
	return known, err
}
