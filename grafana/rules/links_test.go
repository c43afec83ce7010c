package rules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	playbook = root + "/docs/playbook.md"
	runbook  = "https://github.com/jwtpizza/otelcol-vendorfailure/blob/main/docs/playbook.md#"
)

// Every alert tells how bad it is, whose it is, what it means, where to look and what to do, and all of it is there.
func TestLinks(t *testing.T) {
	panels := readPanels(t)
	sections := readSections(t)
	alerts := readRules(t).alerts()
	names := map[string]bool{}
	for _, alert := range alerts {
		names[alert.Alert] = true
		assert.Contains(t, []string{"page", "ticket", "info", "none"}, alert.Labels["severity"], alert.name())
		if !strings.Contains(alert.Labels["side"], "{{") {
			assert.Contains(t, []string{"us", "vendor"}, alert.Labels["side"], alert.name())
		}
		assert.NotEmpty(t, alert.Annotations["summary"], alert.name())
		assert.NotEmpty(t, alert.Annotations["description"], alert.name())
		at := alert.Annotations["__dashboardUid__"] + "/" + alert.Annotations["__panelId__"]
		assert.Contains(t, panels, at, alert.name())
		assert.Equal(t, runbook+strings.ToLower(alert.Alert), alert.Annotations["runbook_url"])
		assert.Contains(t, sections, alert.Alert, "docs/playbook.md has no section for it")
	}
	for section, parts := range sections {
		if section == "" || strings.Contains(section, " ") || strings.HasSuffix(section, "?") {
			continue // no alert's
		}
		assert.True(t, names[section], "docs/playbook.md has a section for %s, and there is no such alert", section)
		assert.Equal(t, []string{"Meaning", "Impact", "Diagnosis", "Mitigation"}, parts, section)
	}
	// Grafana reads both as texts: a number would not link.
	text, err := os.ReadFile(ruleFile)
	require.NoError(t, err)
	assert.Len(t, regexp.MustCompile(`__panelId__: "\d+"\n`).FindAllString(string(text), -1), len(alerts))
}

// readPanels returns uid/id of every panel of the dashboards that are shipped.
func readPanels(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("../dashboards/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	panels := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var dashboard struct {
			UID    string
			Panels []struct{ ID int }
		}
		require.NoError(t, json.Unmarshal(text, &dashboard))
		for _, panel := range dashboard.Panels {
			panels[dashboard.UID+"/"+strconv.Itoa(panel.ID)] = true
		}
	}
	return panels
}

// readSections returns the headings of the third level below each heading of the second in the playbook.
func readSections(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(playbook)
	require.NoError(t, err)
	sections := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(heading)
			sections[section] = nil
		} else if heading, ok := strings.CutPrefix(line, "### "); ok {
			sections[section] = append(sections[section], strings.TrimSpace(heading))
		}
	}
	return sections
}
