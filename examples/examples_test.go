// Package examples tests the configurations of this folder with the built Collector.
package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

const (
	root = ".."
	// testOrderOver is laid over grafana-cloud.yaml.
	testOrderOver = "grafana-cloud-test-order.yaml"
)

// credentials are what grafana-cloud.yaml wants, for a Grafana Cloud at the address endpoint.
func credentials(endpoint string) []string {
	return []string{
		"GRAFANA_CLOUD_OTLP_ENDPOINT=" + endpoint + "/otlp",
		"GRAFANA_CLOUD_INSTANCE_ID=123456",
		"GRAFANA_CLOUD_API_KEY=glc_key",
		"GRAFANA_CLOUD_BASIC_AUTH=MTIzNDU2OmdsY19rZXk=",
		"PIZZA_URL=https://pizza-service.example.com",
		"PROBE_EMAIL=probe@example.com",
		"PROBE_PASSWORD=0123",
	}
}

// validate runs `otelcol-vendorfailure validate` and returns what it says and whether the configuration is right.
func validate(t *testing.T, configs ...string) (string, bool) {
	t.Helper()
	require.NoError(t, builtcollector.Check(root))
	args := []string{"validate"}
	for _, config := range configs {
		args = append(args, "--config", config)
	}
	command := exec.Command("./"+builtcollector.Path, args...)
	command.Dir = root
	command.Env = slices.Concat(os.Environ(), credentials("https://grafana.example.com"), senders(t))
	output, err := command.CombinedOutput()
	return string(output), err == nil
}

func all(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.yaml", "loggers/*.yaml", "scale-out/*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		names = append(names, found...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == testOrderOver || name == publicOver })
	require.Subset(t, names, []string{"demo.yaml", "jwt-pizza.yaml", "grafana-cloud.yaml", "loggers/course-logger.yaml", "scale-out/agent.yaml", "scale-out/gateway.yaml"})
	return names
}

// configOf returns a configuration of this folder as it is written.
func configOf(t *testing.T, name string) *confmap.Conf {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	parsed, err := confmap.NewRetrievedFromYAML(text)
	require.NoError(t, err)
	config, err := parsed.AsConf()
	require.NoError(t, err)
	return config
}

// TestSnippets: what README and docs give to copy is right once it has what it leaves out, and wrong with a wrong value in it.
func TestSnippets(t *testing.T) {
	const leftOut = `
receivers: {otlp: {protocols: {grpc: {}}}, loki: {protocols: {http: {}}}}
processors: {memory_limiter: {check_interval: 1s, limit_mib: 256}}
`
	t.Setenv("OTLP_ENDPOINT", "https://otlp.example.com")
	write := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "snippet.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	snippet := func(t *testing.T, name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		_, rest, ok := strings.Cut(string(text), "\n```yaml\n")
		require.True(t, ok)
		yaml, _, ok := strings.Cut(rest, "\n```\n")
		require.True(t, ok)
		return yaml
	}
	for _, tc := range []struct{ of, over string }{
		{of: "README.md"},
		{of: "docs/configuration.md"},
		{of: "docs/test-order.md", over: "README.md"},
	} {
		t.Run(tc.of, func(t *testing.T) {
			configs := []string{write(t, leftOut)}
			if tc.over != "" {
				configs = append(configs, write(t, snippet(t, tc.over)))
			}
			text := snippet(t, tc.of)
			output, ok := validate(t, append(configs, write(t, text))...)
			assert.True(t, ok, output)
			broken := strings.Replace(text, "sizer: bytes", "sizer: bits", 1)
			require.NotEqual(t, text, broken)
			output, ok = validate(t, append(configs, write(t, broken))...)
			assert.False(t, ok, output)
		})
	}
}

func TestValid(t *testing.T) {
	for _, name := range all(t) {
		t.Run(name, func(t *testing.T) {
			output, ok := validate(t, "examples/"+name)
			assert.True(t, ok, output)
			assert.Empty(t, output)
		})
	}
}

// TestTestOrderOver: what is laid over a configuration is right together with it, and is the test order of
// jwt-pizza.yaml.
func TestTestOrderOver(t *testing.T) {
	output, ok := validate(t, "examples/grafana-cloud.yaml", "examples/"+testOrderOver)
	assert.True(t, ok, output)
	assert.Empty(t, output)

	receiver := func(name string) string {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		_, after, found := strings.Cut(string(text), "  test_order:\n")
		require.True(t, found)
		steps, _, found := strings.Cut(after, "\n\n")
		require.True(t, found)
		return regexp.MustCompile(`(?m):-[^}]*}|^ *#.*\n`).ReplaceAllString(steps, "}")
	}
	assert.Equal(t, receiver("jwt-pizza.yaml"), receiver(testOrderOver))
}

// TestSameMarks: whichever of them runs at JWT Pizza, test orders are known by the same marks, in each line that tells of
// one: those of the order and of its call under all names under which customers are looked for.
func TestSameMarks(t *testing.T) {
	const synthetic, user = "processors::vendor_failure::synthetic", "processors::vendor_failure::impact::user"
	for _, name := range []string{"jwt-pizza.yaml", "grafana-cloud.yaml", "scale-out/gateway.yaml"} {
		config := configOf(t, name)
		assert.Equal(t, configOf(t, "jwt-pizza.yaml").Get(synthetic), config.Get(synthetic), name)
		marks := config.Get(synthetic).(map[string]any)["fields"].(map[string]any)
		for _, path := range config.Get(user).([]any) {
			if line, ok := strings.CutSuffix(path.(string), "diner.id"); ok {
				assert.Equal(t, []any{"test order"}, marks[line+"order.items.#.description"], "%s: beside %s", name, path)
			}
		}
	}
}

func TestShape(t *testing.T) {
	for _, name := range all(t) {
		t.Run(name, func(t *testing.T) {
			config := configOf(t, name)
			endpoints := 0
			for _, key := range config.AllKeys() {
				if strings.HasPrefix(key, "receivers::") && strings.HasSuffix(key, "::endpoint") {
					endpoints++
					assert.Regexp(t, `^127\.0\.0\.1:`, config.Get(key), "%s: nothing but loopback", key)
				}
			}
			assert.GreaterOrEqual(t, endpoints, 2)

			for _, signal := range []string{"traces", "logs"} {
				processors, _ := config.Get("service::pipelines::" + signal + "::processors").([]any)
				processors = slices.DeleteFunc(slices.Clone(processors), func(name any) bool {
					return strings.HasPrefix(name.(string), "transform/") // gives records the names they lack
				})
				// What goes to Grafana Cloud is batched behind the exporter's queue.
				want := []any{"memory_limiter", "vendor_failure", "batch"}
				if config.IsSet("exporters::otlp_http/grafana_cloud::sending_queue::batch") {
					want = want[:2]
				}
				if config.IsSet("exporters::load_balancing") { // what gateways do is none of an agent's
					want = want[:1]
				}
				assert.Equal(t, want, processors)
			}
		})
	}
}

// Each wrong configuration stands over the right one of demo.yaml.
func TestWrong(t *testing.T) {
	for _, wrong := range []struct {
		name, config string
		says         []string
	}{
		{"no vendor", `{vendors: []}`, []string{"vendors: none given; name at least one"}},
		{"no order endpoint", `{orders: []}`, []string{"orders: none given; name at least one"}},
		{"two vendors of one name", `{vendors: [{name: a, calls: {urls: ["http://a"]}}, {name: a, calls: {urls: ["http://b"]}}]}`,
			[]string{`vendors[1].name: "a" is already vendors[0]; give each vendor a name of its own`}},
		{"unparsable URL", `{vendors: [{name: a, calls: {urls: ["http://a:x y"]}}]}`,
			[]string{`vendors[0].calls.urls[0]: "http://a:x y" is not a URL`, "write host[:port] and a path prefix"}},
		{"unknown reason", `{vendors: [{name: a, calls: {urls: ["http://a"]}, responses: [{status: 500, reason: broken}]}]}`,
			[]string{`vendors[0].responses[0].reason: "broken" is not known; write one of error, timeout, slow,`}},
		{"negative duration", `{settle: -1s}`, []string{"settle: -1s is negative; write how long to wait"}},
		{"no duration", `{settle: soon}`, []string{"'settle' time: invalid duration"}},
		{"unknown key", `{setle: 1s}`, []string{"vendor_failure", "setle: ", "settle"}},
		{"all at once", `{orders: [], settle: -1s, vendors: [{name: "", calls: {urls: ["http://a"]}, slow_after: -1s}]}`, []string{
			"orders: none given",
			"settle: -1s is negative",
			`vendors[0].name: "" is empty`,
			"vendors[0].slow_after: -1s is negative; write a duration such as 10s",
		}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			output, ok := validate(t, "examples/demo.yaml", "yaml:processors::vendor_failure: "+wrong.config)
			assert.False(t, ok)
			for _, says := range wrong.says {
				assert.Contains(t, output, says)
			}
		})
	}
}
