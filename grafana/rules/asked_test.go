package rules

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// findNothing are the rules, and selectors in rules, whose whole expression finds nothing in any recording, and why it is not to: what they ask
// about does not happen there. Their unit tests, which every rule has, let it happen. Before the first push metrics are
// missing, and before the second test order is seen, orders.
var findNothing = map[string]string{
	"VendorOutage info":                                         "no window is announced",
	"VendorCredentials page":                                    "no key is refused",
	"VendorThrottled ticket":                                    "the factory has no limit",
	"VendorSlow ticket":                                         "it answers at once or not at all",
	"VendorBadResponses ticket":                                 "what it answers can be read",
	"OrdersFailingNotVendor page rejected":                      "customers can log in",
	"TestOrderMissing ticket":                                   "test orders go on",
	"VendorTelemetryMissing ticket collector":                   "the only one",
	"VendorTelemetryMissing ticket {{ $labels.vendor_signal }}": "both signals flow",
	"vendor:signal_missing:info":                                "both signals flow",
	`vendor:lost_orders_reason:info1h{vendor_failure_reason="unauthorized"}`: "no key is refused",
	`vendor_orders_total{vendor_name="",vendor_outcome="success"}`:           "the only vendor's name is in all",
	`vendor:outage_side:info{side="us"}`:                                     "no outage is ours",
	"vendor:refused_credentials:increase10m":                                 "no key is refused",
	"vendor:successes_yesterday:increase30m":                                 "there is no yesterday",
	"vendor:too_few_successes:increase30m":                                   "nobody knows how many are usual",
}

// mayFind are the rules that find something in a recording where an evaluation of their group falls between the push of the
// first failures and the next evaluation of vendor:outage:max, which leaves them out. The alert's `for` outlasts that:
// expected-alerts.yaml does not let it fire.
var mayFind = []string{"vendor:burned_orders:max", "vendor:burn_side:info", "VendorErrorBudgetBurn page"}

// askedRules is what rules found in the recordings.
type askedRules struct {
	mu               sync.Mutex
	rules, selectors map[string]bool
}

// note asks a Prometheus that has seen a recording for the whole expression of each rule, and for each of its selectors, at
// each of the last ten minutes' evaluations.
func (a *askedRules) note(t *testing.T, s *stack, rules ruleGroups) {
	ask := func(expression string) bool {
		got, err := s.prometheus.Query(t.Context(), "count_over_time(("+expression+")[10m:10s])")
		assert.NoError(t, err, expression)
		return len(got) > 0
	}
	for _, r := range rules.all() {
		found := ask(r.Expr)
		selectors := map[string]bool{}
		for _, selector := range selectorsIn(t, r.Expr) {
			selectors[selector] = ask(selector)
		}
		a.mu.Lock()
		a.rules[r.name()] = a.rules[r.name()] || found
		for selector, found := range selectors {
			a.selectors[selector] = a.selectors[selector] || found
		}
		a.mu.Unlock()
	}
}

// check says which rules, or series that they ask for, found nothing in any recording.
func (a *askedRules) check(t *testing.T, rules ruleGroups) {
	known := map[string]bool{}
	for _, r := range rules.all() {
		known[r.name()] = true
		if why, nothing := findNothing[r.name()]; !slices.Contains(mayFind, r.name()) {
			assert.Equal(t, !nothing, a.rules[r.name()], "%s finds something but where %q", r.name(), why)
		}
		for _, selector := range selectorsIn(t, r.Expr) {
			known[selector] = true
			// Of reasons that all are 0, before the first failure, any one leads.
			if _, nothing := findNothing[selector]; !nothing && !slices.Contains(mayFind, selector) {
				assert.True(t, a.selectors[selector], "%s: %s finds something", r.name(), selector)
			}
		}
	}
	for _, name := range slices.AppendSeq(slices.Clone(mayFind), maps.Keys(findNothing)) {
		assert.True(t, known[name], "there is no rule or selector %s", name)
	}
}

// selectorsIn are those of an expression, without what they are offset by.
func selectorsIn(t *testing.T, expression string) (selectors []string) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	require.NoError(t, err)
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			anytime := *selector
			anytime.OriginalOffset, anytime.Offset = 0, 0
			selectors = append(selectors, anytime.String())
		}
		return nil
	})
	return selectors
}
