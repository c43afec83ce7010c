package vendorfailureprocessor

import "time"

// plan is the announced windows of one vendor.
type plan []PlannedConfig

func newPlans(cfg *Config) map[string]plan {
	plans := map[string]plan{}
	for _, p := range cfg.Planned {
		plans[p.Vendor] = append(plans[p.Vendor], p)
	}
	return plans
}

// at returns the window that is on at a time.
func (p plan) at(t time.Time) (PlannedConfig, bool) {
	for _, window := range p {
		if !t.Before(window.From) && !t.After(window.To) {
			return window, true
		}
	}
	return PlannedConfig{}, false
}
