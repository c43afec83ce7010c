// Package faults holds the built Collector against what goes wrong in production: it is stopped, reloaded and killed
// under load, what it sends to refuses, hangs and goes away, it gets more than it can take, and its replicas are
// replaced. Each test knows which orders the shop told of and was told to be taken, and compares them with what arrived
// behind the Collector and with what its metrics counted.
//
// `make test` runs all of it at a length that fits; `make faults` at full length.
package faults

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

const (
	root = ".."

	// What takes longer is broken. Nothing is asserted about how long anything takes.
	patience = 60 * time.Second
	often    = 5 * time.Millisecond
)

var rounds = flag.Int("rounds", 15, "how often a Collector is stopped, and reloaded, under load; 500 in make faults")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// start runs a Collector with examples/grafana-cloud.yaml, the cloud in the place of Grafana Cloud, and changes laid
// over the configuration, each of them YAML. The test ends it at the latest.
func start(t *testing.T, to *cloud, changes ...string) *builtcollector.Collector {
	t.Helper()
	return startWith(t, "examples/grafana-cloud.yaml", to.environment(), append([]string{toShop}, changes...)...)
}

// The shop's vendor, in the place of the one that the examples name.
const toShop = `{processors: {vendor_failure: {vendors: [{
	name: pizza-factory,
	calls: {urls: ["` + vendorURL + `"], logs: {attributes: {type: [factory]}}},
	responses: [{contains: Failed to fulfill order at factory}],
}]}}}`

// pushingOften lets a Collector push its metrics more often than every 10 s, and give up a push sooner.
func pushingOften(to *cloud) string {
	return `
service:
  telemetry:
    metrics:
      readers:
        - periodic:
            interval: 300
            timeout: 1000
            exporter: {otlp: {protocol: http/protobuf, endpoint: "` + to.URL + `/otlp/v1/metrics", temporality_preference: cumulative}}
        - pull: {exporter: {prometheus: {host: localhost, port: "${env:METRICS_PORT}", without_type_suffix: false, without_units: false}}}
`
}

// The Collector's own lines stay where they are: what the cloud does is to happen to the shop's.
const ownLinesStay = `{service: {telemetry: {logs: {processors: []}}}}`

func startWith(t testing.TB, config string, environment []string, changes ...string) *builtcollector.Collector {
	t.Helper()
	out := t.TempDir()
	collector, err := builtcollector.Start(t.Context(), root, changed(t, config, out, append([]string{ownLinesStay}, changes...)...), out, environment...)
	require.NoError(t, err)
	t.Cleanup(collector.Kill)
	return collector
}

// changed writes a copy of one of the repository's configurations into the folder out, with changes merged into it as
// the Collector merges several --config, and returns its path.
func changed(t testing.TB, config, out string, changes ...string) string {
	t.Helper()
	if !filepath.IsAbs(config) {
		config = filepath.Join(root, config)
	}
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	merged := confmap.New()
	for _, layer := range append([]string{string(text)}, changes...) {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(layer))
		require.NoError(t, err)
		conf, err := retrieved.AsConf()
		require.NoError(t, err, layer)
		require.NoError(t, merged.Merge(conf))
	}
	text, err = yaml.Marshal(merged.ToStringMap())
	require.NoError(t, err)
	path, err := filepath.Abs(filepath.Join(out, "collector.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}
