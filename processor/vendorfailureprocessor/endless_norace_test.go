//go:build !race

package vendorfailureprocessor

const endlessOrders = 1_000_000
