package vendorfailureprocessor

import "time"

// plan is the announced windows of one vendor.
type plan []PlannedConfig

func newPlans(cfg *Config) []plan {
	plans := make([]plan, len(cfg.Vendors))
	for v := range cfg.Vendors {
		for _, p := range cfg.Planned {
			if p.Vendor == cfg.Vendors[v].Name {
				plans[v] = append(plans[v], p)
			}
		}
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
