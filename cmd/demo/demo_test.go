package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

// The tests run this very program as a process of its own, to see its exit status.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_DEMO") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func demo(t *testing.T, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	require.NoError(t, builtcollector.Check("../.."))
	command := exec.Command(os.Args[0], append([]string{"-out", t.TempDir()}, args...)...)
	command.Dir = "../.."
	command.Env = append(append(os.Environ(), "RUN_DEMO=1"), env...)
	var out, errs strings.Builder
	command.Stdout, command.Stderr = &out, &errs
	_ = command.Run()
	t.Log(out.String(), errs.String())
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

func TestDemo(t *testing.T) {
	t.Parallel()
	out, _, status := demo(t, nil)
	assert.Equal(t, 0, status)
	assert.Contains(t, out, "by spans       240              240             0         85")
	assert.Contains(t, out, "by logs       240              240             0         85")
	assert.Contains(t, out, "Vendor to blame: pizza-factory")
	assert.Regexp(t, `First failed order: 2025-12-05 15:00:0\d\.\d{3} UTC, trace id [0-9a-f]{32}`, out)
	assert.Regexp(t, `first failed order  2025-12-05 15:00:0\d\.\d{3} UTC`, out)
	assert.Regexp(t, `known after         [0-5]\.\d s and \d+ orders`, out)
	assert.Regexp(t, `last failed order   2025-12-05 15:0(1:59|2:0\d)\.\d{3} UTC`, out)
	assert.Regexp(t, `known to be over    2025-12-05 15:02:\d\d\.\d{3} UTC`, out)
	assert.Contains(t, out, "lost                240 orders of 6 customers, 1.9477 BTC")
	assert.Contains(t, out, "reasons             240 error")
	assert.Contains(t, out, "chaos               yes, not announced")
	assert.Contains(t, out, "All figures are those of testdata/incident/truth.json")
}

func TestDemoSeesALostLine(t *testing.T) {
	t.Parallel()
	out, errs, status := demo(t, nil, "-drop-order-lines", "1")
	assert.Equal(t, 1, status)
	assert.Regexp(t, `orders by logs, \w+: \d+, recorded \d+`, out)
	assert.NotContains(t, out, "orders by spans, ")
	assert.Contains(t, errs, "the figures are not those of testdata/incident/truth.json")
}

func TestDemoNamesATakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)

	_, errs, status := demo(t, []string{"LOKI_PORT=" + port})
	assert.Equal(t, 1, status)
	assert.Contains(t, errs, "LOKI_PORT="+port+" cannot be used")
	assert.Contains(t, errs, "stop what listens there, or unset LOKI_PORT to get a free port")
}
