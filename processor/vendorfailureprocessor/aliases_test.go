package vendorfailureprocessor

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

// encodings are how loggers write a request or an answer into the JSON of a line.
var encodings = []func(json string) string{
	func(json string) string { return json }, // an object
	quoted,                                   // a string
	func(json string) string { return quoted(quoted(json)) }, // a string of a string
}

// TestAliasesOfOrderLines: every combination of the names that the loggers of public forks have for the fields of a
// served request, with the defaults. Each line is an order that failed because the factory was not reached, and that was
// worth 0.05; its level says nothing.
func TestAliasesOfOrderLines(t *testing.T) {
	cfg := newDefaultConfig()
	cfg.Orders = []OrderConfig{{Method: "POST", Route: "/api/order", Logs: OrderLogsConfig{RequestHas: []string{"items"}}}}
	cfg.Vendors = []VendorConfig{{Name: "pizza-factory", Responses: []ResponseConfig{{Contains: "fetch failed", Reason: "unreachable"}}}}
	cfg.Impact = ImpactConfig{Value: []string{"reqBody.items.#.price"}, Unit: "BTC"}
	h := start(t, cfg)

	const request, response = `{"items":[{"menuId":1,"price":0.02},{"menuId":2,"price":0.03}]}`, `{"message":"fetch failed"}`
	labels := [][2]string{}
	for _, kind := range []string{"type", "event", "kind"} {
		for _, value := range []string{"http", "http-req", "http_request", "httpRequest"} {
			labels = append(labels, [2]string{kind, value})
		}
	}
	services := []string{"component", "source", "service_name", "job"}
	var told []string
	ld := plog.NewLogs()
	for _, outcome := range []string{
		`"method":"POST","statusCode":500`, `"method":"POST","status":500`, `"method":"POST","status":"500"`,
		`"meta":{"req":{"method":"POST"},"res":{"statusCode":500}}`,
	} {
		for _, path := range []string{
			`"path":"/api/order",`, `"path":"/",`, `"path":"/api/order/",`, `"url":"/api/order?x=1",`,
			`"url":"http://shop/api/order",`, `"endpoint":"/api/order",`, ``,
		} {
			for _, req := range []string{"reqBody", "requestBody", "request"} {
				for _, res := range []string{"resBody", "responseBody", "response"} {
					for _, in := range encodings {
						for _, out := range encodings {
							n := len(told)
							label, service := labels[n%len(labels)], services[n%len(services)]
							body := `{` + outcome + `,` + path + `"` + req + `":` + in(request) + `,"` + res + `":` + out(response) + `}`
							addRecord(ld, body, service, "shop", "level", "info", label[0], label[1])
							told = append(told, body)
						}
					}
				}
			}
		}
	}
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	n := 0
	eachRecord(ld, func(r plog.LogRecord) {
		reason, _ := r.Attributes().Get(tagReason)
		require.Equal(t, "unreachable", reason.Str(), told[n])
		n++
	})
	assert.Equal(t, map[string]int{"shop/vendor_failure/unreachable": n}, h.counts(t, "vendor.orders", "vendor.caller", "vendor.outcome", "vendor.failure.reason"))
	assert.InDelta(t, .05*float64(n), h.worth(t)["vendor_failure"], 1e-6)
}

// callLabels and callRequestNames are those that loggers have for calls to the factory and for what was sent.
var (
	callLabels       = []string{"factory", "factory-req", "factory-res", "factory-request", "factory_request", "factoryRequest", "factory_response", "order"}
	callRequestNames = []string{"reqBody", "requestBody", "request", "requestData", "factoryRequest", "body", "data", "at the top"}
)

// requestUnder returns the members of a line's JSON that hold a request, an object.
func requestUnder(name string, encode func(string) string, request string) string {
	if name == "at the top" {
		return request[1 : len(request)-1]
	}
	return `"` + name + `":` + encode(request)
}

// TestAliasesOfCallLines: the same for lines of calls to a vendor. Each is a call that the factory failed, level info,
// and of a customer of its own.
func TestAliasesOfCallLines(t *testing.T) {
	const request = `{"diner":{"id":%d},"order":{"items":[{"price":0.05}]}}`
	response := `{"jwt":"` + brokenJWT + `"}`
	for _, req := range append(callRequestNames, "none") {
		for _, res := range []string{"resBody", "responseBody", "response", "responseData", "factoryResponse", "data", "body"} {
			if req == res {
				continue
			}
			t.Run(req+" and "+res, func(t *testing.T) {
				cfg := pizzaConfig()
				cfg.Vendors[0].Calls.Logs.Attributes = map[string][]string{"type": callLabels}
				cfg.Impact = ImpactConfig{User: []string{"reqBody.diner.id", "data.diner.id", "body.diner.id", "diner.id"}}
				h := start(t, cfg)
				ld := plog.NewLogs()
				n := 0
				for _, label := range callLabels {
					for _, in := range encodings {
						for _, out := range encodings {
							n++
							told := ""
							if req != "none" {
								told = requestUnder(req, in, fmt.Sprintf(request, n)) + ","
							}
							addRecord(ld, `{`+told+`"`+res+`":`+out(response)+`}`, "component", "shop", "level", "info", "type", label)
						}
					}
				}
				require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
				defer h.shutdown(t)
				assert.Equal(t, map[string]int{"shop/failure/bad_response": n}, h.counts(t, "vendor.calls", "vendor.caller", "vendor.outcome", "vendor.failure.reason"))
				if req != "none" {
					assert.Equal(t, map[string]float64{"pizza-factory": float64(n)}, h.gauge(t, "vendor.outage.users"))
				}
			})
		}
	}
}

// TestCallLinesWithoutAnswer: a line that has the request alone, as pizza-logger and others write it before the call,
// tells of no call, whatever the request is named.
func TestCallLinesWithoutAnswer(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors[0].Calls.Logs.Attributes = map[string][]string{"type": callLabels}
	h := start(t, cfg)
	ld := plog.NewLogs()
	for _, req := range callRequestNames {
		for _, label := range callLabels {
			for _, encode := range encodings {
				addRecord(ld, `{`+requestUnder(req, encode, `{"diner":{"id":1},"order":{"items":[{"price":0.05}]}}`)+`}`, "type", label)
			}
		}
	}
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Empty(t, h.counts(t, "vendor.calls"))
	assert.Equal(t, map[string]int{"other": ld.LogRecordCount()}, h.counts(t, "vendor.records", "vendor.role"))
}
