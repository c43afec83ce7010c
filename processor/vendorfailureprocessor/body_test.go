package vendorfailureprocessor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/tidwall/gjson"
)

func TestWalk(t *testing.T) {
	for _, tc := range []struct{ name, body, path, want string }{
		{"field", `{"a":{"b":1}}`, "a.b", "1"},
		{"string that holds JSON", `{"a":"{\"b\":1}"}`, "a.b", "1"},
		{"twice", `{"a":"\"{\\\"b\\\":1}\""}`, "a.b", "1"},
		{"the whole in a string", `"{\"a\":{\"b\":1}}"`, "a.b", "1"},
		{"the value itself in a string", `{"a":"{\"b\":\"[1]\"}"}`, "a.b", "[1]"},
		{"every element", `{"a":"[{\"b\":1},{\"b\":2}]"}`, "a.#.b", "[1,2]"},
		{"a key with dots", `{"http.request.method":"POST"}`, "http.request.method", "POST"},
		{"not there", `{"a":{}}`, "a.b", ""},
		{"below a text", `{"a":"text"}`, "a.b", ""},
		{"below a number", `{"a":1}`, "a.b", ""},
		{"of a text", `text`, "a", ""},
	} {
		assert.Equal(t, tc.want, walk(gjson.Result{Type: gjson.String, Str: tc.body}, tc.path).String(), tc.name)
	}
}

func TestContains(t *testing.T) {
	for _, tc := range []struct {
		name, answer, text string
		want               bool
	}{
		{"plain text", `fetch failed`, "fetch failed", true},
		{"value", `{"message":"fetch failed"}`, "fetch failed", true},
		{"key", `{"reportUrl":1}`, "reportUrl", true},
		{"escaped value", `{"message":"\u0027\u003c"}`, "'<", true},
		{"escaped key", `{"\u0027\u003c":1}`, "'<", true},
		{"escaped deep below", `{"a":[{"b":"{\"c\":\"\\u0027<\"}"}]}`, "'<", true},
		{"not there", `{"message":"\u0027"}`, "'<", false},
	} {
		assert.Equal(t, tc.want, contains(unwrap(gjson.Result{Type: gjson.String, Str: tc.answer}), tc.text), tc.name)
	}
}

func TestUnquote(t *testing.T) {
	for quoted, want := range map[string]string{
		`""`:                           ``,
		`"plain"`:                      `plain`,
		`"{\"a\":\"b\"}"`:              `{"a":"b"}`,
		`"\"{\\\"a\\\":1}\""`:          `"{\"a\":1}"`,
		`"\\"`:                         `\`,
		`"\\\\\\"`:                     `\\\`,
		`"a\/b"`:                       `a/b`,
		`"\"line\nbreak\""`:            "\"line\nbreak\"",
		`"\"\u003c\u00e9\ud83c\udf55"`: `"<é🍕`,
		`"\q"`:                         "",
	} {
		assert.Equal(t, want, unquote(quoted, nil), quoted)
		assert.Equal(t, gjson.Parse(quoted).Str, unquote(quoted, nil), quoted)
	}
}

func TestGet(t *testing.T) {
	for _, tc := range []struct{ object, step, want string }{
		{`{"order":{"jwt":1},"jwt":"a.b.c"}`, "jwt", "a.b.c"},
		{`{"jwt":"first","jwt":"second"}`, "jwt", "first"},
		{`{"j\u0077t":"escaped"}`, "jwt", "escaped"},
		{`{"j.t":"dot"}`, `j\.t`, "dot"},
		{`{"jwt":"cut off`, "jwt", ""},
		{`["a","b"]`, "1", "b"},
		{`{}`, "jwt", ""},
	} {
		v := gjson.Parse(tc.object)
		assert.Equal(t, tc.want, get(v, tc.step).String(), tc.object)
		assert.Equal(t, v.Get(tc.step).String(), get(v, tc.step).String(), tc.object)
	}
}
