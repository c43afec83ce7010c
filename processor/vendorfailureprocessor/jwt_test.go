package vendorfailureprocessor

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/plog"
)

func TestIsJWT(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	join := func(header, claims string) string { return b64([]byte(header)) + "." + b64([]byte(claims)) + ".c2ln" }
	for _, tc := range []struct {
		name, token string
		want        bool
	}{
		{"signed", goodJWT, true},
		{"alg none has no signature", join(`{"alg":"none"}`, `{}`)[:len(join(`{"alg":"none"}`, `{}`))-4], true},
		{"larger than the buffer", join(`{"alg":"RS256"}`, `{"x":"`+strings.Repeat("y", 4096)+`"}`), true},
		{"header does not decode", brokenJWT, false},
		{"no algorithm", join(`{"kid":"1"}`, `{}`), false},
		{"algorithm is no string", join(`{"alg":1}`, `{}`), false},
		{"header is no object", join(`"alg"`, `{}`), false},
		{"claims are no object", join(`{"alg":"RS256"}`, `[]`), false},
		{"claims are cut off", join(`{"alg":"RS256"}`, `{"a":`), false},
		{"two parts", "e30.e30", false},
		{"four parts", goodJWT + ".x", false},
		{"padding", strings.Replace(goodJWT, ".", "=.", 1), false},
		{"not base64url", strings.Replace(goodJWT, "c2lnbmF0dXJl", "c2ln/+", 1), false},
		{"line breaks", strings.Replace(goodJWT, ".", "\n.", 1), false},
		{"empty", "", false},
		{"a word", "none", false},
	} {
		assert.Equal(t, tc.want, isJWT(tc.token), tc.name)
	}
}

// isJWTByLibrary is isJWT in the words of encoding/json.
func isJWTByLibrary(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || strings.ContainsAny(s, "\r\n") {
		return false
	}
	var objects [2]map[string]any
	for i, part := range parts {
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return false
		}
		if i == 2 {
			break
		}
		// A number may be larger than any float64: it is JSON all the same.
		decoder := json.NewDecoder(bytes.NewReader(decoded))
		decoder.UseNumber()
		if !json.Valid(decoded) || decoder.Decode(&objects[i]) != nil || objects[i] == nil {
			return false
		}
	}
	_, ok := objects[0]["alg"].(string)
	return ok
}

// jwtsOf are the tokens in a recording's answers.
func jwtsOf(t testing.TB, name string) (tokens []string) {
	for _, ld := range open(t, name).Logs() {
		eachRecord(ld, func(r plog.LogRecord) {
			if token := walk(gjson.Parse(r.Body().AsString()), "resBody.jwt"); token.Exists() {
				tokens = append(tokens, token.Str)
			}
		})
	}
	return tokens
}

func FuzzIsJWT(f *testing.F) {
	for _, name := range []string{"healthy", "chaos-badjwt"} {
		for _, token := range jwtsOf(f, name)[:5] {
			f.Add(token)
		}
	}
	f.Add(goodJWT)
	f.Fuzz(func(t *testing.T, s string) {
		got := isJWT(s)
		if want := isJWTByLibrary(s); got && !want {
			t.Errorf("isJWT(%q) is %v, by encoding/json it is %v", s, got, want)
		}
	})
}

func TestRecordedJWTs(t *testing.T) {
	for name, want := range map[string]bool{"healthy": true, "incident": true, "chaos-badjwt": false} {
		tokens := jwtsOf(t, name)
		assert.NotEmpty(t, tokens, name)
		for _, token := range tokens {
			assert.Equal(t, want, isJWT(token), name)
			assert.Equal(t, want, isJWTByLibrary(token), name)
		}
	}
}
