package recording

import "time"

// Truth is what the driver of a run saw: it placed the orders and looked at what came back.
type Truth struct {
	// Orders that were placed by someone logged in, and those among them that did not give a valid pizza.
	Orders int `json:"orders"`
	Failed int `json:"failed"`
	// FailedByReason is in the words of the driver.
	FailedByReason map[string]int `json:"failedByReason"`
	// Statuses counts the HTTP status codes of the answers to Orders.
	Statuses map[string]int `json:"statuses"`
	// SlowOver5s are the orders whose answer took more than five seconds.
	SlowOver5s int `json:"slowOver5s"`
	// FailedDinerIDs are the distinct customers whose orders failed.
	FailedDinerIDs []int `json:"failedDinerIds"`
	// FailedAmount and TotalAmount are the value of orders in bitcoin.
	FailedAmount float64 `json:"failedAmount"`
	TotalAmount  float64 `json:"totalAmount"`
	// OtherRequests counts the other requests by kind and status code. The kind unauthOrder is an order by someone
	// not logged in; these are not among Orders.
	OtherRequests map[string]map[string]int `json:"otherRequests"`
	// TotalRequests that the driver sent, orders and others.
	TotalRequests int `json:"totalRequests"`
	// FirstFailedOrder and LastFailedOrder are when the driver sent them; zero where none failed.
	FirstFailedOrder time.Time `json:"firstFailedOrder"`
	LastFailedOrder  time.Time `json:"lastFailedOrder"`
	// Marks are moments of the run, such as chaosOn and chaosOff.
	Marks map[string]time.Time `json:"marks"`
}
