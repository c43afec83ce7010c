package vendorfailureprocessor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// twoFactories is a shop of two vendors that both give tokens, in the same field of the answer to an order.
func twoFactories() *Config {
	cfg := pizzaConfig()
	cfg.Vendors = append(cfg.Vendors, cfg.Vendors[0])
	cfg.Vendors[1].Name = "second-factory"
	cfg.Vendors[1].Calls = CallsConfig{URLs: []string{"http://127.0.0.1:5000"}, Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"second"}}}}
	cfg.Vendors[1].Responses = []ResponseConfig{{Contains: "second link", Chaos: true}}
	return cfg
}

const (
	brokenCall  = `{"resBody":"{\"jwt\":\"` + brokenJWT + `\"}"}`
	brokenOrder = `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"` + brokenJWT + `\"}"}`
)

// TestBrokenAnswerOfSeveral: an order that succeeded with a broken token is put down to the vendor, of those that ask for
// one, of whose calls its trace tells that it gave a broken one or failed; to the first of them where nothing tells.
func TestBrokenAnswerOfSeveral(t *testing.T) {
	refused := `{"statusCode":500,"resBody":"{}"}`
	good := `{"resBody":"{\"jwt\":\"` + goodJWT + `\"}"}`
	linked := `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"jwt\":\"` + brokenJWT + `\",\"message\":\"second link\"}"}`
	slow := []any{"http.request.method", "POST", "url.full", "http://127.0.0.1:5000/", "http.response.status_code", 200}
	three := twoFactories()
	three.Vendors = append(three.Vendors, VendorConfig{Name: "payment", Calls: CallsConfig{Logs: CallLogsConfig{Attributes: map[string][]string{"type": {"payment"}}}}})
	inAnother := twoFactories()
	inAnother.Vendors[0].ValidResponse.JWT = []string{"receipt", "jwt"}
	for _, tc := range []struct {
		name  string
		cfg   *Config
		calls []teller
		order string
		want  string // what its line is tagged with
	}{
		{"the second's was broken", twoFactories(), []teller{tellLine("second", brokenCall, true)}, brokenOrder, "second-factory/bad_response"},
		{"the first's was broken", twoFactories(), []teller{tellLine("factory", brokenCall, true)}, brokenOrder, "pizza-factory/bad_response"},
		{"the first's was good", twoFactories(), []teller{tellLine("factory", good, true), tellLine("second", brokenCall, true)}, brokenOrder, "second-factory/bad_response"},
		{"the first refused, and the second's was broken", twoFactories(), []teller{tellLine("factory", refused, true), tellLine("second", brokenCall, true)}, brokenOrder, "second-factory/bad_response"},
		{"the second alone was called, and was slow", twoFactories(), []teller{tellSpan(client, slow, took(32*time.Second))}, brokenOrder, "second-factory/bad_response"},
		{"both were broken: the one that came first", twoFactories(), []teller{tellLine("second", brokenCall, true), tellLine("factory", brokenCall, true)}, brokenOrder, "second-factory/bad_response"},
		{"a call of one who gives no token failed first", three, []teller{tellLine("payment", refused, true), tellLine("second", refused, true)}, brokenOrder, "second-factory/bad_response"},
		{"no trace id on the call", twoFactories(), []teller{tellLine("second", brokenCall, false)}, brokenOrder, "pizza-factory/bad_response"},
		{"nothing tells", twoFactories(), nil, brokenOrder, "pizza-factory/bad_response"},
		{"an exception that names the first tells nothing of an answer", twoFactories(), []teller{tellSpan(internal, nil, threw("Error", "Failed to fulfill order at factory"))}, brokenOrder, "pizza-factory/bad_response"},
		{"the same field among more", inAnother, []teller{tellLine("second", brokenCall, true)}, brokenOrder, "second-factory/bad_response"},
		{"a broken field that the second does not ask for", inAnother, []teller{tellLine("second", brokenCall, true)},
			`{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"receipt\":\"no\"}"}`, "pizza-factory/bad_response"},
		{"chaos by the rules of the one it is put down to", twoFactories(), []teller{tellLine("second", brokenCall, true)}, linked, "second-factory/bad_response/chaos"},
		{"and not by those of another", twoFactories(), []teller{tellLine("factory", brokenCall, true)}, linked, "pizza-factory/bad_response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t, tc.cfg)
			for i, tell := range tc.calls {
				tell(t, h, 1, time.Duration(i)*time.Second)
			}
			m := tellLine("http", tc.order, true)(t, h, 1, time.Minute)
			got := blamed{mustGet(t, m, tagVendor), mustGet(t, m, tagReason), false}
			_, got.chaos = m.Get(tagChaos)
			assert.Equal(t, tc.want, got.String())
			h.shutdown(t)
			assert.Equal(t, map[string]int{got.vendor + "/bad_response": 1}, h.counts(t, "vendor.orders", "vendor.name", "vendor.failure.reason"))
		})
	}

	t.Run("in one request, the order's line first", func(t *testing.T) {
		h := start(t, twoFactories())
		ld := plog.NewLogs()
		order, call := addRecord(ld, brokenOrder, "type", "http"), addRecord(ld, brokenCall, "type", "second")
		for _, r := range []plog.LogRecord{order, call} {
			r.SetTraceID(pcommon.TraceID{15: 1})
		}
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		assert.Equal(t, "second-factory", mustGet(t, order.Attributes(), tagVendor))
		assert.Equal(t, map[string]int{"second-factory": 1}, h.counts(t, "vendor.orders", "vendor.name"), "at once")
		h.shutdown(t)
	})
	t.Run("it is a sign for the other orders of its trace", func(t *testing.T) {
		h := start(t, twoFactories())
		ld := plog.NewLogs()
		gateway := addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500}`, "type", "http")
		for _, r := range []plog.LogRecord{gateway, addRecord(ld, linked, "type", "http"), addRecord(ld, brokenCall, "type", "second")} {
			r.SetTraceID(pcommon.TraceID{15: 1})
		}
		require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
		for _, m := range []pcommon.Map{gateway.Attributes(), tellSpan(server, orderSpan(500))(t, h, 1, time.Minute)} {
			assert.Equal(t, "second-factory", mustGet(t, m, tagVendor))
			assert.Equal(t, "true", mustGet(t, m, tagChaos), "which the order's own line shows")
		}
		h.shutdown(t)
	})
}

// TestBrokenAnswerSettles: the line of such an order is not held and bears the first vendor's name, but its count waits
// for a call that tells more, up to settle; the other undecided orders of its trace wait on their own.
func TestBrokenAnswerSettles(t *testing.T) {
	order, second := tellLine("http", brokenOrder, true), tellLine("second", brokenCall, true)
	for _, tc := range []struct {
		name  string
		after time.Duration
		call  teller
		trace byte
		want  string
	}{
		{"within settle", 4900 * time.Millisecond, second, 1, "second-factory/bad_response"},
		{"too late", 5100 * time.Millisecond, second, 1, "pizza-factory/bad_response"},
		{"of another trace", time.Second, second, 2, "pizza-factory/bad_response"},
		{"a success", time.Second, tellLine("second", `{"resBody":"{\"jwt\":\"`+goodJWT+`\"}"}`, true), 1, "pizza-factory/bad_response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, twoFactories())
				m := order(t, h, 1, 0)
				assert.Equal(t, "pizza-factory", mustGet(t, m, tagVendor))
				counts := func() map[string]int {
					return h.counts(t, "vendor.orders", "vendor.name", "vendor.failure.reason")
				}
				assert.Empty(t, counts(), "it waits")
				time.Sleep(tc.after)
				tc.call(t, h, tc.trace, 0)
				time.Sleep(5 * time.Second)
				assert.Equal(t, map[string]int{tc.want: 1}, counts())
				h.shutdown(t)
				assert.Equal(t, map[string]int{tc.want: 1}, counts(), "counted once")
			})
		})
	}
	t.Run("without a trace id nothing can tell", func(t *testing.T) {
		h := start(t, twoFactories())
		tellLine("http", brokenOrder, false)(t, h, 1, 0)
		assert.Equal(t, map[string]int{"pizza-factory": 1}, h.counts(t, "vendor.orders", "vendor.name"))
		h.shutdown(t)
	})
	t.Run("with orders between that wait for others' calls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := twoFactories()
			for _, name := range []string{"bank", "second-bank"} {
				cfg.Vendors = append(cfg.Vendors, VendorConfig{Name: name, ValidResponse: ValidResponseConfig{JWT: []string{"receipt"}},
					Calls: CallsConfig{Logs: CallLogsConfig{Attributes: map[string][]string{"type": {name}}}}})
			}
			h := start(t, cfg)
			paid := tellLine("http", `{"path":"/api/order","method":"POST","statusCode":200,"resBody":"{\"receipt\":\"no\"}"}`, true)
			counts := func() map[string]int { return h.counts(t, "vendor.orders", "vendor.name") }
			for range 2 {
				order(t, h, 1, 0)
				paid(t, h, 1, 0)
			}
			tellLine("second-bank", `{"statusCode":500}`, true)(t, h, 1, 0)
			assert.Equal(t, map[string]int{"second-bank": 2}, counts())
			order(t, h, 1, 0)
			time.Sleep(3 * time.Second)
			order(t, h, 1, 0)
			time.Sleep(3 * time.Second)
			assert.Equal(t, map[string]int{"second-bank": 2, "pizza-factory": 3}, counts(), "three have settled")
			second(t, h, 1, 0)
			assert.Equal(t, map[string]int{"second-bank": 2, "pizza-factory": 3, "second-factory": 1}, counts())
			time.Sleep(time.Minute)
			h.shutdown(t)
			assert.Equal(t, map[string]int{"second-bank": 2, "pizza-factory": 3, "second-factory": 1}, counts(), "each once")
		})
	})
}
