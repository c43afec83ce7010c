package builtcollector

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	got, err := parse(strings.NewReader(`# HELP orders_total Orders, by "outcome".
# TYPE orders_total counter
orders_total{caller="a \"b\", c={d} 1",outcome="success"} 2
latency_bucket{le="+Inf"} 1e+03
up 0.5 1764946739131
`))
	require.NoError(t, err)
	assert.Equal(t, []Sample{
		{"orders_total", map[string]string{"caller": `a \"b\", c={d} 1`, "outcome": "success"}, 2},
		{"latency_bucket", map[string]string{"le": "+Inf"}, 1000},
		{"up", map[string]string{}, 0.5},
	}, got)

	_, err = parse(strings.NewReader("up much\n"))
	require.ErrorContains(t, err, "metric up: ")
}
