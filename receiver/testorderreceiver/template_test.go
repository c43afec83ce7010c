package testorderreceiver

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// known is what a run has captured.
var known = captured{
	"token": gjson.Parse(`"abc"`),
	"order": gjson.Parse(`{"id": 7, "note": "say \"hi\"\n", "items": [1.50, {"a": null}]}`),
	"n":     gjson.Parse(`12345678901234567890`),
	"odd":   gjson.Parse(`"a/b?c=d&e f"`),
}

func TestTemplate(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"plain }} text", "plain }} text"},
		{"{{token}}", "abc"},
		{"Bearer {{ token }}!", "Bearer abc!"},
		{"{{token}}{{order.id}}", "abc7"},
		{"{{order.note}}", "say \"hi\"\n"},
		{"{{order.items.#}}", "2"},
		{"{{order.items.1}}", `{"a": null}`},
		{"{{n}}", "12345678901234567890"},
		{"{ {token} }", "{ {token} }"},
	} {
		got, err := parseTemplate(tc.text)
		require.NoError(t, err, tc.text)
		assert.Equal(t, tc.want, got.render(known, asIs), tc.text)
	}
}

// TestJSONTemplate: what is the whole of a string keeps its type, what is within one is escaped.
func TestJSONTemplate(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{"jwt":"{{token}}"}`, `{"jwt":"abc"}`},
		{`{"id":"{{order.id}}"}`, `{"id":7}`},
		{`{"id":"no. {{order.id}}"}`, `{"id":"no. 7"}`},
		{`{"id":"{{order.id}}{{order.id}}"}`, `{"id":"77"}`},
		{`["{{order}}"]`, `[{"id": 7, "note": "say \"hi\"\n", "items": [1.50, {"a": null}]}]`},
		{`["<{{order.note}}>"]`, `["<say \"hi\"\n>"]`},
		{`["\"{{token}}"]`, `["\"abc"]`},
		{`["\"{{token}}\""]`, `["\"abc\""]`},
		{`["{{n}}"]`, `[12345678901234567890]`},
	} {
		require.True(t, json.Valid([]byte(tc.text)), tc.text)
		got, err := parseJSONTemplate(jsonText(tc.text))
		require.NoError(t, err, tc.text)
		assert.Equal(t, tc.want, got.render(known, withinString), tc.text)
	}
}

func TestAddress(t *testing.T) {
	for _, tc := range []struct{ url, want, told, host, port string }{
		{"https://shop/api/order", "https://shop/api/order", "https://shop/api/order", "shop", "443"},
		{"http://shop:8080?a=hunter2#x", "http://shop:8080?a=hunter2#x", "http://shop:8080", "shop", "8080"},
		{"http://shop/{{odd}}/x?y={{odd}}", "http://shop/a%2Fb%3Fc=d&e%20f/x?y=a%2Fb%3Fc%3Dd%26e+f", "http://shop/{{odd}}/x", "shop", "80"},
		{"http://[::1]:3000/{{order.id}}", "http://[::1]:3000/7", "http://[::1]:3000/{{order.id}}", "::1", "3000"},
		{"http://shop/a?b={{odd}}&c={{odd}}", "http://shop/a?b=a%2Fb%3Fc%3Dd%26e+f&c=a%2Fb%3Fc%3Dd%26e+f", "http://shop/a", "shop", "80"},
	} {
		require.NoError(t, checkURL(tc.url))
		template, err := parseTemplate(tc.url)
		require.NoError(t, err)
		r := request{url: template}
		address, ok := r.address(known)
		assert.True(t, ok)
		assert.Equal(t, tc.want, address)
		told, host, port := r.target()
		assert.Equal(t, []string{tc.told, tc.host, tc.port}, []string{told, host, port}, "of %s nothing captured and no query is told", tc.url)
	}
}

// TestSegments: what was captured stays in its segment of the path.
func TestSegments(t *testing.T) {
	for _, tc := range []struct {
		path, is string
		ok       bool
	}{
		{"order/{{id}}", "7", true},
		{"order/{{id}}", "..", false},
		{"order/{{id}}", ".", false},
		{"order/{{id}}", "", false},
		{"order/{{id}}", "...", true},
		{"order/{{id}}", "../..", true},  // its slash is escaped
		{"order/{{id}}", "%2e%2e", true}, // so is its %
		{"order/{{id}}/items", "..", false},
		{"order/{{id}}?a=b", "..", false},
		{"order/{{id}}#a", "..", false},
		{"order/{{id}}{{id}}", ".", false},
		{"order/.{{id}}/items", ".", false},
		{"order/%2e{{id}}/items", ".", false},
		{"order/{{id}}.json", ".", true},
		{"order/a{{id}}", "", true},
		{"order?id={{id}}", "..", true},
		{"order#/{{id}}", "..", true},
		{"order/../{{id}}", "7", true}, // as it was written
	} {
		parsed, err := parseTemplate("https://shop/" + tc.path)
		require.NoError(t, err)
		r := request{url: parsed}
		_, ok := r.address(captured{"id": gjson.Parse(string(mustMarshal(tc.is)))})
		assert.Equal(t, tc.ok, ok, "%s with %q", tc.path, tc.is)
	}
}

// FuzzTemplate: a text either has a fault or is rendered with every place filled; JSON stays JSON, and an address stays
// at its host.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"", "{{token}}", "a {{ token }} b", "{{", "}}{{token}}", "{{token", "{{order.id}}", `"{{token}}"`, `\"{{token}}"`, "{{order.items.1}}{{n}}", "{{}}", "{{a.b.}}", "?a={{odd}}&b={{odd}}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if parsed, err := parseTemplate(text); err == nil {
			for _, p := range parsed.places() {
				if !p.of(known).Exists() {
					return
				}
			}
			if len(parsed.places()) == 0 {
				assert.Equal(t, text, parsed.render(known, asIs))
			}
			r := request{url: append(template{{text: "https://shop/"}}, parsed...)}
			address, _ := r.address(known)
			if u, err := url.Parse(address); err == nil && address != "" {
				assert.Equal(t, "shop", u.Host)
			}
			if !strings.Contains(text, "abc") {
				told, _, _ := r.target()
				assert.NotContains(t, told, "abc")
			}
		}
		quoted, err := json.Marshal([]string{text})
		require.NoError(t, err)
		if parsed, err := parseJSONTemplate(jsonText(quoted)); err == nil {
			for _, p := range parsed.places() {
				if !p.of(known).Exists() {
					return
				}
			}
			assert.True(t, json.Valid([]byte(parsed.render(known, withinString))), "%s", quoted)
		}
	})
}

func TestSame(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{`1`, `1`, true},
		{`1`, `2`, false},
		{`1`, `"1"`, true},
		{`"a"`, `"a"`, true},
		{`"a"`, `"A"`, false},
		{`true`, `true`, true},
		{`true`, `false`, false},
		{`null`, `null`, true},
		{`null`, `""`, false},
		{`""`, `null`, false},
		{`0.05`, `5e-2`, true},
		{`1.0`, `1`, true},
		{`12345678901234567890`, `12345678901234567891`, false},
		{`{"a":1,"b":[2,{"c":"3"}]}`, `{"b":[2.0,{"c":3}],"a":1}`, true},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":null}`, `{"b":null}`, false},
		{`[1,2]`, `[2,1]`, false},
		{`[1,2]`, `[1,2,3]`, false},
		{`[]`, `{}`, false},
		{`{}`, `""`, false},
		{`"[]"`, `[]`, false},
	} {
		assert.Equal(t, tc.want, same(gjson.Parse(tc.a), gjson.Parse(tc.b)), "%s %s", tc.a, tc.b)
	}
}

// FuzzSame: any two JSON values, hostile ones too, are compared alike both ways, and each is the same as itself.
func FuzzSame(f *testing.F) {
	for _, seed := range [][2]string{{`1`, `1.0`}, {`{"a":[1,null]}`, `{"a":[1,null]}`}, {`1e999`, `1e400`}, {`{"a":1,"a":2}`, `{"a":2}`}, {`[[[[]]]]`, `[[[]]]`}, {`-0`, `0`}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) {
			return
		}
		left, right := gjson.Parse(a), gjson.Parse(b)
		assert.True(t, same(left, left), a)
		assert.Equal(t, same(left, right), same(right, left), "%s %s", a, b)
	})
}
