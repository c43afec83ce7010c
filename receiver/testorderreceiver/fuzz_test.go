package testorderreceiver

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"
)

// canary is put into all that may be a secret.
const canary = "c4n4ry"

// hide puts the canary into each text of a configuration that may be a secret.
func hide(at string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = hide(at+"."+key, v[key])
		}
	case []any:
		for i := range v {
			v[i] = hide(at, v[i])
		}
	case string:
		switch {
		case regexp.MustCompile(`(?s)^\.(http\.headers\.|steps\.(request\.(bearer$|body$|headers\.|json\.)|expect\.json\.|jwt\.(token$|claims\.)))`).MatchString(at):
			return v + canary
		case at == ".steps.request.url" || at == ".steps.jwt.jwks":
			return v + "?key=" + canary
		}
	}
	return value
}

// FuzzConfig: any configuration is taken or refused. What is refused is told with its key and without what may be a
// secret; what is taken can be built, and shows no secret when it is printed.
func FuzzConfig(f *testing.F) {
	seeds := 0
	seed := func(text []byte) {
		retrieved, err := confmap.NewRetrievedFromYAML(text)
		require.NoError(f, err)
		whole, err := retrieved.AsConf()
		require.NoError(f, err)
		if receivers, err := whole.Sub("receivers"); err == nil && len(receivers.ToStringMap()) > 0 {
			whole = receivers
		}
		for id, part := range whole.ToStringMap() {
			if strings.HasPrefix(id, "test_order") {
				one, err := yaml.Marshal(part)
				require.NoError(f, err)
				f.Add(string(one))
				seeds++
			}
		}
	}
	examples, err := filepath.Glob(filepath.Join("..", "..", "examples", "*.yaml"))
	require.NoError(f, err)
	for _, file := range append(examples, filepath.Join("testdata", "config.yaml")) {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		seed(text)
	}
	require.GreaterOrEqual(f, seeds, 4)
	f.Add(`{vendor: v, steps: [` + wrongLogin + `, ` + wrongOrder + `]}`)
	f.Add(`{interval: 0s, vendor: "", http: {endpoint: a, headers: {"X Y": "1\n"}}, steps: [{request: {url: "https://u:p@h/%", json: x}}, {jwt: {algorithms: [none]}}, {request: {url: "http://h", json: {a: 2025-12-05}}}]}`)
	f.Add(`{vendor: v, steps: [{name: a, request: {url: "http://h/{{b", body: "{{", headers: {Host: "{{a}}"}}, expect: {status: [0], json: {a: "{{x}}"}}}]}`)

	keys := []string{"interval", "timeout", "collection_interval", "max_orders_per_day", "vendor", "http", "steps", "metrics"}
	named := regexp.MustCompile(`^[a-z_]+`)
	f.Fuzz(func(t *testing.T, text string) {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(text))
		if err != nil {
			return
		}
		parsed, err := retrieved.AsConf()
		if err != nil || strings.Contains(text, canary) {
			return
		}
		conf := confmap.NewFromStringMap(hide("", parsed.ToStringMap()).(map[string]any))
		c := newDefaultConfig()
		if err := conf.Unmarshal(c); err != nil {
			assert.NotContains(t, err.Error(), canary)
			return
		}
		if err := confmap.Validate(c); err != nil {
			assert.NotContains(t, err.Error(), canary)
			for line := range strings.SplitSeq(err.Error(), "\n") {
				assert.True(t, slices.Contains(keys, named.FindString(line)), "%q names a key", line)
			}
			return
		}
		_, faults := newSteps(c)
		assert.Empty(t, faults)
		marshaled := confmap.New()
		require.NoError(t, marshaled.Marshal(c))
		printed, err := yaml.Marshal(marshaled.ToStringMap())
		require.NoError(t, err)
		assert.NotContains(t, string(printed), canary)
	})
}
