//go:build race

package vendorfailureprocessor

// endlessOrders is a twentieth of what TestEndlessNames is for: the race detector takes ten times as long. make test runs
// it without the detector as well.
const endlessOrders = 50_000
