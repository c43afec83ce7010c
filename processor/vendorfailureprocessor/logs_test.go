package vendorfailureprocessor

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// addRecord adds a record; its body is given as a string, map or bytes, its attributes as key, value, key, value.
func addRecord(ld plog.Logs, body any, attributes ...any) plog.LogRecord {
	if ld.ResourceLogs().Len() == 0 {
		ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	}
	r := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(day))
	if err := r.Body().FromRaw(body); err != nil {
		panic(err)
	}
	put(r.Attributes(), attributes)
	return r
}

const (
	goodJWT    = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJvcmRlciI6eyJpZCI6MX19.c2lnbmF0dXJl"
	brokenJWT  = "deadbeefOiJSUzI1NiIsImtpZCI6IjEifQ.eyJvcmRlciI6eyJpZCI6MX19.c2lnbmF0dXJl"
	failedBody = `{\"message\":\"Failed to fulfill order at factory\",\"followLinkToEndChaos\":\"https://factory/api/support/vendorkey123/report/x\"}`
)

// quoted returns JSON as a string in JSON.
func quoted(json string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(json, `\`, `\\`), `"`, `\"`) + `"`
}

// TestOrderLine: which records are orders and how they ended, in the words of many loggers.
func TestOrderLine(t *testing.T) {
	const request, items = `{"items":[{"price":0.05}]}`, `"reqBody":"{\"items\":[]}"`
	http := []any{"component", "shop", "level", "info", "type", "http"}
	for _, tc := range []struct {
		name       string
		body       any
		attributes []any
		want       string // outcome/reason, "" is no order
	}{
		// The course's logger.
		{"course logger, success", `{"authorized":true,"path":"/api/order","method":"POST","statusCode":200,` + items + `,"resBody":"{\"jwt\":\"` + goodJWT + `\"}"}`, http, "success/"},
		{"course logger, the factory failed", `{"authorized":true,"path":"/api/order","method":"POST","statusCode":500,` + items + `,"resBody":"` + failedBody + `"}`, http, "vendor_failure/error"},
		{"course logger, twice encoded", `{"path":"/api/order","method":"POST","statusCode":500,` + items + `,"resBody":` + quoted(`"`+failedBody+`"`) + `}`, http, "vendor_failure/error"},
		{"course logger, our own fault", `{"path":"/api/order","method":"POST","statusCode":500,` + items + `,"resBody":"{\"message\":\"No ID found\"}"}`, http, "own_failure/"},
		{"course logger, refused", `{"path":"/api/order","method":"POST","statusCode":500,` + items + `,"resBody":"{\"message\":\"fetch failed\"}"}`, http, "vendor_failure/unreachable"},
		{"course logger, no JSON came", `{"path":"/api/order","method":"POST","statusCode":500,` + items + `,"resBody":"{\"message\":\"Unexpected token '<', \\\"<html>\\\"... is not valid JSON\"}"}`, http, "vendor_failure/bad_response"},
		{"an encoder that escapes < and '", `{"path":"/api/order","method":"POST","statusCode":500,"resBody":{"message":"Unexpected token \u0027\u003c\u0027"}}`, http, "vendor_failure/bad_response"},
		{"the same within a string", `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"{\"message\":\"Unexpected token \\u0027\\u003c\\u0027\"}"}`, http, "vendor_failure/bad_response"},
		{"course logger, not logged in", `{"path":"/api/order","method":"POST","statusCode":401,` + items + `,"resBody":"{\"message\":\"unauthorized\"}"}`, http, "rejected/"},
		{"broken token behind a 200", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"` + brokenJWT + `\",\"reportUrl\":\"x\"}"}`, http, "vendor_failure/bad_response"},
		{"token is no string", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":{"jwt":null}}`, http, "vendor_failure/bad_response"},
		{"an answer of plain text is no fault", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"created"}`, http, "success/"},
		{"no token at all is no fault", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":{"order":{}}}`, http, "success/"},
		{"what the request echoed is no sign", `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":"{\"items\":[{\"description\":\"fetch failed reportUrl\"}]}","resBody":"{\"message\":\"boom\"}"}`, http, "own_failure/"},
		{"cut off in the token", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"eyJhbGciOiJ`, http, "success/"},
		{"an answer cut off in the token", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"eyJhbGciOiJ"}`, http, "success/"},
		{"an answer cut off after a broken token says nothing", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"cut...\""}`, http, "success/"},
		{"the first rule that sets a reason", `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"Unexpected token '<', fetch failed"}`, http, "vendor_failure/unreachable"},
		// Paths.
		{"path with query and slash", `{"path":"/api/order/?a=b","method":"POST","statusCode":200}`, http, "success/"},
		{"a router's path and an order's request", `{"path":"/","method":"POST","statusCode":200,` + items + `}`, http, "success/"},
		{"a router's path, request as object", `{"path":"/","method":"POST","statusCode":200,"reqBody":` + request + `}`, http, "success/"},
		{"a router's path and another request", `{"path":"/","method":"POST","statusCode":200,"reqBody":"{\"email\":\"a@b\"}"}`, http, ""},
		{"no path and an order's request", `{"method":"POST","statusCode":200,` + items + `}`, http, "success/"},
		{"no path and no request", `{"method":"POST","statusCode":200}`, http, ""},
		{"another path and an order's request", `{"path":"/api/cart","method":"POST","statusCode":200,` + items + `}`, http, ""},
		{"URL", `{"url":"https://shop.example.com/api/order?x","method":"POST","statusCode":200}`, http, "success/"},
		{"endpoint with its method", `{"endpoint":"POST /api/order","statusCode":200}`, http, "success/"},
		{"GET", `{"path":"/api/order","method":"GET","statusCode":200}`, http, ""},
		{"no method", `{"path":"/api/order","statusCode":200}`, http, ""},
		// Labels.
		{"http-req", `{"path":"/api/order","method":"POST","statusCode":200}`, []any{"type", "http-req"}, "success/"},
		{"event for type", `{"path":"/api/order","method":"POST","statusCode":200}`, []any{"event", "http_request"}, "success/"},
		{"kind for type", `{"path":"/api/order","method":"POST","statusCode":200}`, []any{"kind", "httpRequest"}, "success/"},
		{"type in the body", `{"type":"http","path":"/api/order","method":"POST","statusCode":200}`, nil, "success/"},
		{"type in a map", map[string]any{"type": "http", "path": "/api/order", "method": "POST", "statusCode": 200}, nil, "success/"},
		{"type in bytes", []byte(`{"type":"http","path":"/api/order","method":"POST","statusCode":200}`), nil, "success/"},
		{"type in a string of a string", quoted(`{"type":"http","path":"/api/order","method":"POST","statusCode":200}`), nil, "success/"},
		{"another type", `{"type":"http","path":"/api/order","method":"POST","statusCode":200}`, []any{"type", "db"}, ""},
		{"no type", `{"path":"/api/order","method":"POST","statusCode":200}`, nil, ""},
		// Names of fields.
		{"status", `{"path":"/api/order","method":"POST","status":"500","response":{"message":"fetch failed"}}`, http, "vendor_failure/unreachable"},
		{"meta.req and meta.res", `{"path":"/api/order","meta":{"req":{"method":"POST"},"res":{"statusCode":500}},"responseBody":"fetch failed"}`, http, "vendor_failure/unreachable"},
		{"requestBody and responseBody", `{"path":"/","method":"POST","statusCode":500,"requestBody":` + request + `,"responseBody":{"message":"fetch failed"}}`, http, "vendor_failure/unreachable"},
		{"request and responseData", `{"path":"/","method":"POST","statusCode":500,"request":` + request + `,"responseData":"{\"message\":\"fetch failed\"}"}`, http, "vendor_failure/unreachable"},
		{"body as the request", `{"path":"/","method":"POST","statusCode":200,"body":` + request + `}`, http, "success/"},
		{"data as the answer", `{"path":"/api/order","method":"POST","statusCode":500,"data":{"message":"fetch failed"}}`, http, "vendor_failure/unreachable"},
		{"semantic conventions in the body", `{"http.request.method":"POST","url.path":"/api/order","http.response.status_code":500}`, http, "own_failure/"},
		{"semantic conventions, nested", `{"http":{"request":{"method":"POST"},"response":{"status_code":500}},"url":{"path":"/api/order"}}`, http, "own_failure/"},
		{"semantic conventions come first", `{"http.route":"/api/order","path":"/","method":"POST","statusCode":200}`, http, "success/"},
		{"in a body what stands first", `{"path":"/api/order","method":"POST","statusCode":200,"http":{"route":"/order"},"http.request.method":"GET"}`, http, "success/"},
		{"nothing on the way to a name", `{"url":{"query":"a=b"},"http":"1.1","path":"/api/order","method":"POST","statusCode":200}`, http, "success/"},
		// OTLP: the fields are attributes.
		{"attributes", "http", []any{"type", "http", "path", "/api/order", "method", "POST", "statusCode", 500, "resBody", `{"message":"fetch failed"}`}, "vendor_failure/unreachable"},
		{"nested attributes", "http", []any{"type", "http", "path", "/api/order", "meta", map[string]any{"req": map[string]any{"method": "POST"}, "res": map[string]any{"statusCode": 500}}, "response", map[string]any{"message": "fetch failed"}}, "vendor_failure/unreachable"},
		{"attributes before the body", `{"statusCode":200}`, []any{"type", "http", "path", "/api/order", "method", "POST", "statusCode", 500}, "own_failure/"},
		{"body as bytes", []byte(`{"path":"/api/order","method":"POST","statusCode":500,"resBody":"fetch failed"}`), http, "vendor_failure/unreachable"},
		{"body as a map", map[string]any{"path": "/api/order", "method": "POST", "statusCode": 500, "resBody": map[string]any{"message": "fetch failed"}}, http, "vendor_failure/unreachable"},
		{"body in a string twice", quoted(quoted(`{"path":"/api/order","method":"POST","statusCode":200}`)), http, "success/"},
		// No status.
		{"no status, level error", `{"path":"/api/order","method":"POST","resBody":"fetch failed"}`, []any{"type", "http", "level", "error"}, "vendor_failure/unreachable"},
		{"no status, pino's 50", `{"path":"/api/order","method":"POST","level":50}`, []any{"type", "http"}, "own_failure/"},
		{"no status, pino's 40 is a warning", `{"path":"/api/order","method":"POST","level":40}`, []any{"type", "http"}, ""},
		{"no status, no error", `{"path":"/api/order","method":"POST"}`, http, ""},
		{"a status that is none", `{"path":"/api/order","method":"POST","statusCode":"ok"}`, http, ""},
		// Broken telemetry.
		{"no JSON", `{"path":"/api/order`, http, ""},
		{"no value", `{"path":,"method":}`, http, ""},
		{"empty body", "", http, ""},
		{"a number", 7, http, ""},
		{"a list", []any{"x"}, http, ""},
		{"types of every kind", map[string]any{"path": []any{1}, "method": map[string]any{}, "statusCode": true}, http, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			ld := plog.NewLogs()
			r := addRecord(ld, tc.body, tc.attributes...)
			before := r.Attributes().AsRaw()
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			// And again once everything has been seen.
			h.logs.(*logsProcessor).watch.readiness.unseen[logs].Store(0)
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			want := map[string]int{}
			if tc.want != "" {
				want[tc.want] = 2
			}
			assert.Equal(t, want, h.counts(t, "vendor.orders", "vendor.outcome", "vendor.failure.reason"))
			if reason, ok := strings.CutPrefix(tc.want, "vendor_failure/"); ok {
				assert.Equal(t, "pizza-factory", mustGet(t, r.Attributes(), tagVendor))
				assert.Equal(t, reason, mustGet(t, r.Attributes(), tagReason))
			} else {
				assert.Equal(t, before, r.Attributes().AsRaw())
			}
			assert.Empty(t, h.counts(t, "vendor.calls"))
		})
	}
}

// TestCallLine: which records are calls to the vendor, and why they failed.
func TestCallLine(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Vendors[0].Responses = append([]ResponseConfig{{Status: 503, Reason: "rejected"}}, cfg.Vendors[0].Responses...)
	const order = `{"diner":{"id":1},"order":{"items":[]}}`
	label := func(level string) []any { return []any{"component", "shop", "level", level, "type", "factory"} }
	for _, tc := range []struct {
		name       string
		body       any
		attributes []any
		want       string // outcome/reason, "" is not counted
		chaos      bool
	}{
		{"success", `{"reqBody":"{}","resBody":"{\"jwt\":\"` + goodJWT + `\"}"}`, label("info"), "success/", false},
		{"level error", `{"reqBody":"{}","resBody":"{\"message\":\"x\"}"}`, label("error"), "failure/error", false},
		{"severity error", `{"resBody":"{\"message\":\"x\"}"}`, []any{"type", "factory", "severity", "ERROR"}, "failure/error", false},
		{"the oven is full", `{"reqBody":"{}","resBody":"{\"message\":\"Unable to satisfy pizza order. The oven is full.\"}"}`, label("error"), "failure/rejected", false},
		{"the vendor's status by rule", `{"statusCode":503,"resBody":"{}"}`, label("info"), "failure/rejected", false},
		{"status 401", `{"status":401,"resBody":"{}"}`, label("info"), "failure/unauthorized", false},
		{"status 500 with chaos", `{"status":500,"resBody":"{\"message\":\"chaos monkey\",\"reportUrl\":\"https://x\"}"}`, label("info"), "failure/error", true},
		{"the words alone are a decoy", `{"status":500,"resBody":"{\"message\":\"chaos monkey\"}"}`, label("info"), "failure/error", false},
		{"status 200, no response", `{"status":200}`, label("info"), "success/", false},
		{"status 200, level error", `{"status":200,"resBody":"{}"}`, label("error"), "failure/error", false},
		{"broken token", `{"resBody":"{\"jwt\":\"` + brokenJWT + `\",\"reportUrl\":\"x\"}"}`, label("info"), "failure/bad_response", true},
		{"rules tell no reason of a success", `{"status":200,"resBody":"{\"message\":\"The oven is full\"}"}`, label("info"), "success/", false},
		{"what the request echoed is no sign", `{"status":500,"reqBody":"The oven is full reportUrl","resBody":"{}"}`, label("error"), "failure/error", false},
		{"no answer, an error that names a time-out", `{"reqBody":"{}","error":"Headers Timeout Error"}`, label("error"), "failure/timeout", false},
		{"no answer, refused", `{"reqBody":"{}","error":"connect ECONNREFUSED 127.0.0.1:4000"}`, label("error"), "failure/unreachable", false},
		{"no answer, a type that tells nothing and a message that does", `{"exception.type":"Error","exception.message":"connect ECONNREFUSED 127.0.0.1:4000"}`, label("error"), "failure/unreachable", false},
		{"no answer, two names: the time-out", `{"error":"fetch failed","message":"Connect Timeout Error"}`, label("error"), "failure/timeout", false},
		{"no answer, an exception attribute", `{}`, append(label("error"), "exception.type", "TimeoutError"), "failure/timeout", false},
		{"no answer: null", `{"reqBody":"{}","resBody":null}`, label("info"), "", false},
		{"no answer: an empty text", `{"reqBody":"{}","resBody":""}`, label("info"), "", false},
		{"no answer: null in a string, and in a string of that", `{"resBody":"null","data":"\"null\"","body":"\"\""}`, label("info"), "", false},
		{"no answer: an attribute", `{}`, append(label("info"), "response", ""), "", false},
		{"no answer: null, and the request beside it", `{"response":null,"body":{"pizzas":[1]}}`, label("info"), "", false},
		{"no answer under data, but under body", `{"data":null,"body":{"jwt":"` + brokenJWT + `"}}`, label("info"), "failure/bad_response", false},
		{"null, and an error that names a time-out", `{"resBody":null,"error":"Headers Timeout Error"}`, label("error"), "failure/timeout", false},
		{"null, and a status", `{"status":204,"resBody":null}`, label("info"), "success/", false},
		{"an empty object is an answer", `{"resBody":{}}`, label("info"), "success/", false},
		{"the request's own line", `{"reqBody":` + order + `}`, label("info"), "", false},
		{"the request under data", `{"data":` + order + `}`, label("info"), "", false},
		{"the request under body", `{"body":{"items":[1]}}`, label("info"), "", false},
		{"the answer under data", `{"data":{"jwt":"` + goodJWT + `"}}`, label("info"), "success/", false},
		{"the answer under body, request beside it", `{"request":` + order + `,"body":{"jwt":"` + brokenJWT + `"}}`, label("info"), "failure/bad_response", false},
		{"factoryResponse", `{"factoryRequest":` + order + `,"factoryResponse":{"jwt":"` + brokenJWT + `"}}`, label("info"), "failure/bad_response", false},
		{"factory-req", `{"resBody":"{}"}`, []any{"type", "factory-req"}, "success/", false},
		{"no JSON", "vendor said no", label("error"), "failure/error", false},
		{"no JSON and no error", "calling the vendor", label("info"), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, cfg)
			ld := plog.NewLogs()
			r := addRecord(ld, tc.body, tc.attributes...)
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			// And again once everything has been seen.
			h.logs.(*logsProcessor).watch.readiness.unseen[logs].Store(0)
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			want := map[string]int{}
			if tc.want != "" {
				want[tc.want] = 2
			}
			assert.Equal(t, want, h.counts(t, "vendor.calls", "vendor.outcome", "vendor.failure.reason"))
			reason, failed := strings.CutPrefix(tc.want, "failure/")
			if failed {
				assert.Equal(t, reason, mustGet(t, r.Attributes(), tagReason))
			}
			_, tagged := r.Attributes().Get(tagVendor)
			assert.Equal(t, failed, tagged)
			_, chaos := r.Attributes().Get(tagChaos)
			assert.Equal(t, tc.chaos, chaos)
		})
	}
}

// TestSeveralLabels: every attribute of an entry must match, and vendors that share a label are told apart by the URL.
func TestSeveralLabels(t *testing.T) {
	cfg := pizzaConfig()
	cfg.Orders[0].Logs.Attributes["component"] = []string{"shop"}
	cfg.Vendors[0].Calls = CallsConfig{URLs: []string{"https://pay.example.com"}, Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"vendor"}}}}
	cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: "tax", Calls: CallsConfig{URLs: []string{"https://tax.example.com"}, Logs: cfg.Vendors[0].Calls.Logs}})
	cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: "third", Calls: CallsConfig{URLs: []string{"https://third.example.com"}}})
	h := start(t, cfg)
	ld := plog.NewLogs()
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200}`, "type", "http", "component", "shop")
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200}`, "type", "http", "component", "other")
	addRecord(ld, `{"url":"https://tax.example.com/v1","statusCode":500}`, "type", "vendor")
	addRecord(ld, `{"statusCode":500}`, "type", "vendor")                                                          // it tells no address
	addRecord(ld, `{"url":"https://elsewhere.example.com/v1","statusCode":500}`, "type", "vendor")                 // nobody's
	addRecord(ld, `{"url.path":"/v1","url.full":"https://pay.example.com/v1","statusCode":500}`, "type", "vendor") // the URL tells more than the path before it
	addRecord(ld, `{"server.address":"tax.example.com","path":"/v1","statusCode":500}`, "type", "vendor")          // no URL, but host and path
	addRecord(ld, `{"url":"https://third.example.com/v1","statusCode":500}`, "type", "vendor")                     // of a vendor without this label
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"success/shop/": 1}, h.counts(t, "vendor.orders", "vendor.outcome", "vendor.caller", "vendor.name"),
		"with two vendors a success is nobody's")
	assert.Equal(t, map[string]int{"tax": 2, "pizza-factory": 1}, h.counts(t, "vendor.calls", "vendor.name"))
}

// TestCallerOfARecord: the resource's service.name, else the record's service label.
func TestCallerOfARecord(t *testing.T) {
	deep := `{"user":"a@example.com"}`
	for range maxUnwrap + 2 {
		deep = quoted(deep)
	}
	for _, tc := range []struct {
		name     string
		resource []any
		record   []any
		body     string // what its body has more
		want     string
	}{
		{"resource", []any{"service.name", "shop"}, []any{"component", "x"}, "", "shop"},
		{"component", nil, []any{"component", "shop"}, "", "shop"},
		{"source", nil, []any{"source", "shop"}, "", "shop"},
		{"service_name", nil, []any{"service_name", "shop", "job", "x"}, "", "shop"},
		{"job", nil, []any{"job", "shop"}, "", "shop"},
		{"nothing", nil, nil, "", "unknown_service"},
		{"a name in a string twice", nil, []any{"component", `"shop"`}, "", "shop"},
		{"what has parts is no name", nil, []any{"source", map[string]any{"ip": "198.51.100.7"}, "job", "shop"}, "", "shop"},
		{"nor is a list", nil, []any{"component", []any{"a@example.com"}, "job", "shop"}, "", "shop"},
		{"nor is JSON", nil, []any{"component", ` {"user":"a@example.com"}`, "source", `[1`, "service", `"{}"`, "job", "shop"}, "", "shop"},
		{"nor is JSON that is encoded again and again", nil, []any{"component", deep, "job", "shop"}, "", "shop"},
		{"nor is a number", nil, []any{"component", 7, "job", "shop"}, "", "shop"},
		{"nor is an empty text", nil, []any{"component", "", "job", "shop"}, "", "shop"},
		{"no name in attributes, one in the body", nil, []any{"source", map[string]any{"ip": "198.51.100.7"}}, `,"source":{"ip":"198.51.100.7"},"service":{"id":"7","name":"shop"}`, "shop"},
		{"an attribute before the body", nil, []any{"job", "shop"}, `,"service.name":"x"`, "shop"},
		{"ECS: the customer is the source", nil, nil, `,"source":{"ip":"198.51.100.7","user":{"email":"a@example.com"}}`, "unknown_service"},
		{"a resource's name that has parts", []any{"service.name", map[string]any{"user": "a@example.com"}}, []any{"component", "shop"}, "", "shop"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, pizzaConfig())
			ld := plog.NewLogs()
			addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":200`+tc.body+`}`, append(tc.record, "type", "http")...)
			put(ld.ResourceLogs().At(0).Resource().Attributes(), tc.resource)
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			assert.Equal(t, map[string]int{tc.want: 1}, h.counts(t, "vendor.orders", "vendor.caller"))
		})
	}
}

// TestSharedLabels: who asks for more than the label that others have too is asked by what else a record has, whichever of
// them comes first; and a record with the labels of an order and of a call is one order.
func TestSharedLabels(t *testing.T) {
	far := VendorConfig{Name: "far", Calls: CallsConfig{Logs: CallLogsConfig{Attributes: map[string][]string{"kind": {"call"}}}}}
	near := VendorConfig{Name: "near", Calls: CallsConfig{Logs: CallLogsConfig{Attributes: map[string][]string{"kind": {"call"}, "zone": {"eu"}}}}}
	for _, vendors := range [][]VendorConfig{{near, far}, {far, near}} {
		cfg := pizzaConfig()
		cfg.Vendors = vendors
		h := start(t, cfg)
		ld := plog.NewLogs()
		addRecord(ld, `{"statusCode":500}`, "kind", "call", "zone", "us")
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		h.shutdown(t)
		assert.Equal(t, map[string]int{"far": 1}, h.counts(t, "vendor.calls", "vendor.name"))
	}

	cfg := pizzaConfig()
	cfg.Vendors = []VendorConfig{near}
	ld := plog.NewLogs()
	inUS, inEU := addRecord(ld, "", "kind", "call", "zone", "us"), addRecord(ld, "", "kind", "call", "zone", "eu")
	for _, l := range newLabels(cfg) {
		assert.Nil(t, l.match(inUS, ld.ResourceLogs().At(0).Resource()), "what has not all is not read on")
		assert.Equal(t, l.names[0].name == "kind", l.match(inEU, ld.ResourceLogs().At(0).Resource()) != nil)
	}

	cfg = pizzaConfig()
	cfg.Vendors[0].Calls.Logs.Attributes = map[string][]string{"zone": {"call"}}
	h := start(t, cfg)
	ld = plog.NewLogs()
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500}`, "type", "http", "zone", "call")
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
	assert.Empty(t, h.counts(t, "vendor.calls", "vendor.name"))
}

// TestLabelOfAResource: a label may stand on the resource, as some shippers have it. A record's own comes first.
func TestLabelOfAResource(t *testing.T) {
	h := start(t, pizzaConfig())
	ld := plog.NewLogs()
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500}`)
	addRecord(ld, `{"statusCode":500}`, "type", "factory")
	addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500}`, "type", "db")
	ld.ResourceLogs().At(0).Resource().Attributes().PutStr("type", "http")
	require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
	h.shutdown(t)
	assert.Equal(t, map[string]int{"own_failure": 1}, h.counts(t, "vendor.orders", "vendor.outcome"))
	assert.Equal(t, map[string]int{"pizza-factory": 1}, h.counts(t, "vendor.calls", "vendor.name"))
}
