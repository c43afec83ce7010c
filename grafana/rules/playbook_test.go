package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jwtpizza/otelcol-vendorfailure/grafana/internal/declared"
)

// block is a piece of code in the playbook.
type block struct{ kind, text string }

// readBlocks returns the blocks of code of the playbook. The kind of a query that needs a test order is promql probe.
func readBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(playbook)
	require.NoError(t, err)
	for _, found := range regexp.MustCompile("(?ms)^ *```([\\w ]+)\n(.*?)^ *```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{found[1], found[2]})
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// What can be pasted asks for what there is, and what can be run is a script.
func TestPlaybook(t *testing.T) {
	d, err := declared.Read(root)
	require.NoError(t, err)
	series := withRecorded(d.Series(), readRules(t))
	kinds := map[string]int{}
	for _, b := range readBlocks(t) {
		kinds[b.kind]++
		switch b.kind {
		case "promql", "promql probe":
			assert.NoError(t, series.Check(b.text))
			assert.Equal(t, b.kind == "promql probe", strings.Contains(b.text, "probe_") || strings.Contains(b.text, "test_order"), b.text)
		case "sh":
			check := exec.Command("bash", "-n")
			check.Stdin = strings.NewReader(b.text)
			output, err := check.CombinedOutput()
			assert.NoError(t, err, "%s\n%s", output, b.text)
		case "logql", "traceql", "text":
		default:
			t.Errorf("a block of kind %q", b.kind)
		}
	}
	for _, kind := range []string{"promql", "promql probe", "sh", "logql", "traceql"} {
		assert.Positive(t, kinds[kind], kind)
	}
}

// Its links lead somewhere.
func TestPlaybookLinks(t *testing.T) {
	text, err := os.ReadFile(playbook)
	require.NoError(t, err)
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		slug := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(slug, " ", "-")] = true
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
		to, anchor, _ := strings.Cut(link[1], "#")
		switch {
		case strings.HasPrefix(to, "https://"):
		case to != "":
			_, err := os.Stat(filepath.Join(filepath.Dir(playbook), to))
			assert.NoError(t, err, link[1])
		default:
			assert.True(t, anchors[anchor], link[1])
		}
	}
}

// askPlaybook runs each query of a kind against a Prometheus that has seen what they ask about: all find something.
func (s *stack) askPlaybook(t *testing.T, kind string) {
	for _, b := range readBlocks(t) {
		if b.kind == kind {
			got, err := s.prometheus.Query(t.Context(), b.text)
			assert.NoError(t, err, b.text)
			assert.NotEmpty(t, got, "the playbook's %s", b.text)
		}
	}
}
