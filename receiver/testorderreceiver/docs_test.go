package testorderreceiver

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.yaml.in/yaml/v3"
)

// TestDocs: docs/test-order.md has every key, no other, and an example that is right.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/test-order.md")
	require.NoError(t, err)
	_, keys, _ := strings.Cut(string(text), "\n## Keys\n")
	keys, _, _ = strings.Cut(keys, "\n### ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(keys, -1) {
		documented = append(documented, row[1])
	}
	assert.ElementsMatch(t, keysOf("", reflect.TypeFor[Config]()), documented)

	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	var parsed struct {
		Receivers map[string]any `yaml:"receivers"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(example), &parsed))
	config, err := yaml.Marshal(parsed.Receivers["test_order"])
	require.NoError(t, err)
	t.Setenv("PIZZA_URL", "https://pizza.example.com")
	c, err := load(t, string(config))
	require.NoError(t, err)
	assert.Len(t, c.Steps, 4)
}

// keysOf are the keys of a configuration as the documents write them.
func keysOf(path string, of reflect.Type) (keys []string) {
	switch {
	case of == reflect.TypeFor[confighttp.ClientConfig](), of.Kind() == reflect.Map, of.Kind() == reflect.Slice && of.Elem().Kind() != reflect.Struct:
		return []string{path}
	case of.Kind() == reflect.Slice && of.Elem() == reflect.TypeFor[StepConfig]():
		return append([]string{path}, keysOf(path+"[]", of.Elem())...)
	case of.Kind() == reflect.Slice:
		return []string{path}
	case of.Kind() == reflect.Pointer && of.Elem().Kind() == reflect.Struct:
		return keysOf(path, of.Elem())
	case of.Kind() != reflect.Struct:
		return []string{path}
	}
	for i := range of.NumField() {
		name, option, _ := strings.Cut(of.Field(i).Tag.Get("mapstructure"), ",")
		if option == "squash" {
			keys = append(keys, "metrics.<name>.enabled") // each metric's own, which mdatagen generates
			continue
		}
		keys = append(keys, keysOf(strings.TrimPrefix(path+"."+name, "."), of.Field(i).Type)...)
	}
	return keys
}
