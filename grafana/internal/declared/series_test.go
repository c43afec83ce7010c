package declared

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	series := Series{"orders_total": {"vendor", "signal"}, "outage": {"vendor"}, "took_bucket": {"vendor", "le"}}
	for _, c := range []struct{ expr, err string }{
		{"1", ""},
		{`sum by (vendor) (rate(orders_total{signal="logs"}[5m]))`, ""},
		{`max without (signal) (sum by (vendor, signal) (increase(orders_total[1h])))`, ""},
		{`{__name__=~"outage|orders_total",signal=""}`, ""},
		{`histogram_quantile(0.9, sum by (le) (rate(took_bucket[1m])))`, ""},
		{`outage * on (vendor) group_left (signal) orders_total`, ""},
		{`sum by (side) (label_replace(outage, "side", "$1", "vendor", "(.*)"))`, ""},
		{`max_over_time(timestamp(outage == 1)[1h:15s])`, ""},

		{`sum(`, "parse error"},
		{`rate(lost_total[5m])`, "lost_total: no component declares such a metric"},
		{`{vendor="x"}`, `{vendor="x"}: no component declares such a metric`},
		{`outage{signal="logs"}`, "no component declares a label signal"},
		{`sum by (signal) (outage)`, "nothing below has a label signal"},
		{`max without (signal) (sum by (vendor) (orders_total))`, "nothing below has a label signal"},
		{`outage * on (le) outage`, "nothing below has a label le"},
		{`outage * on (vendor) group_left (le) orders_total`, "nothing below has a label le"},
		{`sum by (side) (label_replace(outage, "edge", "$1", "vendor", "(.*)"))`, "nothing below has a label side"},
		{`absent_over_time(lost[5m:1m]) or outage`, "lost: no component declares such a metric"},
	} {
		err := series.Check(c.expr)
		if c.err == "" {
			assert.NoError(t, err, c.expr)
		} else {
			require.ErrorContains(t, err, c.err, c.expr)
		}
	}
}

func TestLabels(t *testing.T) {
	series := Series{"orders_total": {"vendor", "signal"}}
	for expr, want := range map[string][]string{
		`orders_total`:                                                   {"vendor", "signal"},
		`sum by (vendor) (orders_total)`:                                 {"vendor"},
		`max without (signal) (orders_total)`:                            {"vendor"},
		`topk by (vendor) (1, orders_total)`:                             {"vendor", "signal"},
		`bottomk(1, orders_total)`:                                       {"vendor", "signal"},
		`sum(orders_total) and on () orders_total`:                       {},
		`sum by (signal) (orders_total) unless on (signal) orders_total`: {"signal"},
		`sum(rate(orders_total[5m]))`:                                    {},
		`label_join(orders_total, "side", "")`:                           {"vendor", "signal", "side"},
		`time() - sum by (signal) (orders_total)`:                        {"signal"},
	} {
		got, err := series.Labels(expr)
		require.NoError(t, err)
		assert.ElementsMatch(t, want, got, expr)
	}
}
