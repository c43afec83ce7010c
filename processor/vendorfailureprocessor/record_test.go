package vendorfailureprocessor

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/plog"
)

// TestIsOther: a line that surely is no order is known by its beginning; of one that may be, all is read.
func TestIsOther(t *testing.T) {
	endpoints := []endpoint{
		newEndpoint(OrderConfig{Method: "POST", Route: "/api/order"}),
		newEndpoint(OrderConfig{Method: "PUT", Route: "/api/carts/:cart/order"}),
		newEndpoint(OrderConfig{Method: "DELETE", Route: "/api/admin"}), // its lines have another label
	}
	among := []candidate{{index: 0}, {index: 1}}
	answer := `,"resBody":"` + strings.Repeat(`{\"title\":\"Veggie\"},`, 100) + `"}`
	for _, tc := range []struct {
		name, body string
		want       bool
	}{
		{"another path", `{"path":"/api/order/menu","method":"GET"`, true},
		{"another method", `{"method":"GET","path":"/api/order"`, true},
		{"an order", `{"method":"POST","path":"/api/order?a=b"`, false},
		{"an order of the second endpoint", `{"method":"PUT","path":"/api/carts/7/order/"`, false},
		{"another method of the second endpoint", `{"method":"GET","path":"/api/carts/7/order/"`, true},
		{"an endpoint of another label", `{"method":"DELETE","path":"/api/admin"`, true},
		{"a whole URL", `{"path":"http://localhost:3000/api/order/menu"`, true},
		{"method in the path", `{"path":"POST /api/order"`, false},
		{"names of the conventions", `{"http.request.method":"GET","url.path":"/api/order"`, true},
		{"a path that others come before", `{"url":"/api/order/menu","method":"GET"`, false},
		{"a method that others come before", `{"path":"/api/order","meta.req.method":"GET"`, false},
		{"the way to a name", `{"http":{"route":"/"},"path":"/api/order/menu"`, false},
		{"no method", `{"path":"/api/order"`, false},
		{"the path of a router", `{"path":"/","method":"GET"`, false},
		{"an empty path", `{"path":"","method":"GET"`, false},
		{"no path", `{"method":"GET"`, false},
		{"after the answer too", `{"a":0` + strings.TrimSuffix(answer, "}") + `,"path":"/","method":"GET"`, false},
		{"no JSON", `path=/api/order/menu method=GET`, false},
	} {
		l := readLine(&asked{record: addRecord(plog.NewLogs(), tc.body+answer)}, nil)
		assert.Equal(t, tc.want, l.isOther(endpoints, among), tc.name)
		if tc.want {
			assert.LessOrEqual(t, len(l.members), 2, "%s: the answer is not read", tc.name)
		}
	}
	r := addRecord(plog.NewLogs(), `{"path":"/api/order/menu","method":"GET"}`)
	r.Attributes().PutStr("http.route", "/api/order")
	l := readLine(&asked{record: r}, nil)
	assert.False(t, l.isOther(endpoints, among), "an attribute that may say otherwise")
}
