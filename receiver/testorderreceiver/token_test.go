package testorderreceiver

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// aVerification verifies tokens of order 1 with the keys at a URL.
func aVerification(t testing.TB, keysAt string) *verification {
	t.Helper()
	c, err := load(t, fmt.Sprintf(`{vendor: v, steps: [{name: order, request: {url: "http://shop"}, capture: {jwt: jwt, order: order}},
		{name: verify, jwt: {token: "{{jwt}}", jwks: %q, claims: {order.id: "{{order.id}}"}}}]}`, keysAt))
	require.NoError(t, err)
	steps, faults := newSteps(c)
	require.Empty(t, faults)
	return steps[1].token
}

func (v *verification) of(t testing.TB, token string) *failure {
	by := newSender(clients{keys: &http.Client{Transport: http.DefaultTransport}}, "otelcol-test-order/test")
	c := captured{"jwt": gjson.Parse(string(mustMarshal(token))), "order": gjson.Parse(`{"id":1}`)}
	return v.verify(t.Context(), by, c, "00-0-0-01")
}

func mustMarshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// TestKeysAreKept: they are fetched once, again for a key id that is not among them, but not for each such token, and
// again when they are old.
func TestKeysAreKept(t *testing.T) {
	var fetched, rotated atomic.Int32
	s := newShop(t, map[string]http.HandlerFunc{keys: func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		text := jwks(vendorKey())
		if rotated.Load() != 0 {
			text = strings.ReplaceAll(text, keyID, "key-2")
		}
		fmt.Fprint(w, text)
	}})
	v := aVerification(t, s.URL+"/jwks.json")
	newID := func() string { return sign(claimsOf(1), with("kid", "key-2")) }
	old := func(age time.Duration) { v.keys.fetched = time.Now().Add(-age) }

	assert.Nil(t, v.of(t, good()))
	assert.Nil(t, v.of(t, good()))
	assert.EqualValues(t, 1, fetched.Load(), "kept")

	assert.Equal(t, "the token's key is not among the vendor's", v.of(t, newID()).detail)
	assert.EqualValues(t, 1, fetched.Load(), "fetched a moment ago")
	old(keysAgain)
	assert.NotNil(t, v.of(t, newID()))
	assert.EqualValues(t, 2, fetched.Load(), "an unknown id is asked for again")

	rotated.Store(1)
	old(keysAgain)
	assert.Nil(t, v.of(t, newID()), "the new key is found")
	assert.EqualValues(t, 3, fetched.Load())

	old(keysFor)
	assert.NotNil(t, v.of(t, good()), "the old key is no longer the vendor's")
	assert.EqualValues(t, 4, fetched.Load(), "old keys are fetched again")
}

// TestReplacedKey: a key that the vendor replaced under the same id is fetched for the first token that the old one has
// not signed, but not for each wrong token, and while it cannot be fetched the old one is kept.
func TestReplacedKey(t *testing.T) {
	var fetched, fails atomic.Int32
	var key atomic.Pointer[rsa.PrivateKey]
	key.Store(vendorKey())
	s := newShop(t, map[string]http.HandlerFunc{keys: func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		if fails.Load() != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, jwks(key.Load()))
	}})
	v := aVerification(t, s.URL+"/jwks.json")
	before, now := good(), signWith(otherKey(), jwa.RS256(), claimsOf(1), nil)
	old := func(age time.Duration) { v.keys.fetched = time.Now().Add(-age) }
	require.Nil(t, v.of(t, before))

	key.Store(otherKey())
	assert.Equal(t, "the token's signature is wrong", v.of(t, now).detail)
	assert.EqualValues(t, 1, fetched.Load(), "fetched a moment ago")

	fails.Store(1)
	old(keysAgain)
	assert.Equal(t, reason.Error, v.of(t, now).reason, "nobody can say whose key it is")
	assert.Nil(t, v.of(t, before), "the old key is kept")
	assert.EqualValues(t, 2, fetched.Load())

	fails.Store(0)
	assert.Nil(t, v.of(t, now), "the new key is found")
	assert.EqualValues(t, 3, fetched.Load())
	assert.Equal(t, "the token's signature is wrong", v.of(t, before).detail, "the old key is no longer the vendor's")
	old(keysAgain)
	assert.Equal(t, "the token's signature is wrong", v.of(t, before).detail)
	assert.EqualValues(t, 4, fetched.Load(), "once for a wrong token")
}

// TestWhichKey: a key is for its id, its use, its algorithm and its type.
func TestWhichKey(t *testing.T) {
	public := gjson.Get(jwks(vendorKey()), "keys.0").Raw
	other := gjson.Get(jwks(otherKey()), "keys.0").Raw
	secret := `{"kty":"oct","kid":"` + keyID + `","k":"` + base64.RawURLEncoding.EncodeToString([]byte("shared")) + `"}`
	also := func(key, member string) string { return strings.TrimSuffix(key, "}") + "," + member + "}" }
	noID := func() string { return sign(claimsOf(1), func(h jws.Headers) { _ = h.Remove("kid") }) }
	for _, tc := range []struct {
		name, keys string
		token      func() string
		ok         bool
	}{
		{"its id", public, good, true},
		{"two of one id", other + "," + public, good, true},
		{"to sign", also(public, `"use":"sig"`), good, true},
		{"to encrypt", also(public, `"use":"enc"`), good, false},
		{"of its algorithm", also(public, `"alg":"RS256"`), good, true},
		{"of another algorithm", also(public, `"alg":"RS512"`), good, false},
		{"a secret among them", secret, good, false},
		{"a type nobody knows beside it", `{"kty":"XYZ","kid":"x"},` + public, good, true},
		{"no id, two keys", other + "," + public, noID, false},
		{"four of one id", strings.Repeat(other+",", maxKeysOfID-1) + public, good, true},
		{"five of one id", strings.Repeat(other+",", maxKeysOfID) + public, good, false},
		{"four of the greatest size before it", strings.Repeat(rsaKey(maxRSABits, maxExponent)+",", maxKeysOfID) + public, good, false},
		{"four too great, which are none", strings.Repeat(rsaKey(maxRSABits+1, 65537)+",", maxKeysOfID) + public, good, true},
		{"four of too great an exponent, which are none", strings.Repeat(rsaKey(2048, maxExponent+2)+",", maxKeysOfID) + public, good, true},
		{"none", "", good, false},
		{"too many", strings.Repeat(public+",", maxKeys) + public, good, false},
		{"PS256", public, func() string { return signWith(vendorKey(), jwa.PS256(), claimsOf(1), nil) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newShop(t, map[string]http.HandlerFunc{keys: answers(200, `{"keys":[`+tc.keys+`]}`)})
			f := aVerification(t, s.URL+"/jwks.json").of(t, tc.token())
			assert.Equal(t, tc.ok, f == nil, "%+v", f)
		})
	}
}

// rsaKey is a key of a size, whose modulus is all ones. Nobody can sign with it.
func rsaKey(bits, exponent uint) string {
	modulus := new(big.Int).Lsh(big.NewInt(1), bits)
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q}`, keyID, encode(modulus.Sub(modulus, big.NewInt(1)).Bytes()), encode(new(big.Int).SetUint64(uint64(exponent)).Bytes()))
}

// TestVerifyInTime: when the run's time is over, no further key is tried.
func TestVerifyInTime(t *testing.T) {
	s := newShop(t, nil)
	v := aVerification(t, s.URL+"/jwks.json")
	require.Nil(t, v.of(t, good()))
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	f := v.verify(over, newSender(clients{keys: &http.Client{Transport: http.DefaultTransport}}, ""), captured{"jwt": gjson.Parse(string(mustMarshal(good()))), "order": gjson.Parse(`{"id":1}`)}, "")
	assert.Equal(t, &failure{reason: reason.Timeout, detail: "no whole answer in time"}, f)
}

// fuzzKey is the same in each process of a fuzzer: what one has signed, the others can verify.
var fuzzKey = ed25519.NewKeyFromSeed([]byte("the seed of the fuzzers' own key"))

func signForFuzz(claims string) string {
	header := jws.NewHeaders() // without times of its own
	token, err := jws.Sign([]byte(claims), jws.WithKey(jwa.EdDSA(), fuzzKey, jws.WithProtectedHeaders(header)))
	if err != nil {
		panic(err)
	}
	return string(token)
}

// fuzzVerification verifies with the fuzzers' key and fetches nothing.
func fuzzVerification(f *testing.F) *verification {
	key, err := jwk.Import(fuzzKey.Public())
	require.NoError(f, err)
	v := aVerification(f, "http://127.0.0.1:1/")
	v.keys.keys, v.keys.fetched = jwk.NewSet(), time.Now().Add(time.Hour)
	require.NoError(f, v.keys.keys.AddKey(key))
	return v
}

// FuzzVerify: only what the vendor's key has signed with an allowed algorithm is ever right. The reference is Go's own
// Ed25519.
func FuzzVerify(f *testing.F) {
	right := signForFuzz(claimsOf(1))
	for _, token := range []string{right, "chaos" + right, right[:len(right)-2], right + "=", strings.Replace(right, ".", "..", 1), unsigned(), publicSecret(), good(),
		signForFuzz(claimsOf(2)), signForFuzz(`{"order":{"id":1},"exp":1e300}`), signForFuzz(`{"order":{"id":"1"}}`), "", "..", "a.b.c", `{"payload":"","signatures":[]}`} {
		f.Add(token)
	}
	header, rest, _ := strings.Cut(right, ".")
	plain, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(f, err)
	for _, more := range []string{" %s", "%s ", "%sx", "%s{}", "%[1]s%[1]s", "[%s]"} {
		f.Add(base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, more, plain)) + "." + rest)
	}
	v := fuzzVerification(f)
	require.Nil(f, v.of(f, right))
	f.Fuzz(func(t *testing.T, token string) {
		if v.of(t, token) == nil {
			assert.True(t, signedByFuzzer(token), "%q", token)
		}
	})
}

func signedByFuzzer(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return false
		}
	}
	signed := parts[0] + "." + parts[1]
	return ed25519.Verify(fuzzKey.Public().(ed25519.PublicKey), []byte(signed), decoded[2]) && gjson.GetBytes(decoded[0], "alg").String() == "EdDSA"
}

// FuzzClaims: whatever the vendor signs, it is judged, and right only if it holds the order's id and its times are
// numbers of now.
func FuzzClaims(f *testing.F) {
	now := time.Now().Unix()
	for _, claims := range []string{`{}`, `{"order":{"id":1}}`, `{"order":{"id":1},"exp":0}`, fmt.Sprintf(`{"order":{"id":1.0},"exp":%d,"nbf":%d,"iat":%d}`, now+1000, now, now),
		`{"order":{"id":1},"exp":-1e99}`, `{"order":{"id":1},"nbf":1e11}`, `{"order":{"id":1},"iat":null}`, `[]`, `{"order":[{"id":1}]}`, `{"order.id":1}`, `{"order":{"id":2,"id":1}}`, `{"order":{"id":1},`} {
		f.Add(claims)
	}
	v := fuzzVerification(f)
	require.Nil(f, v.of(f, signForFuzz(claimsOf(1))))
	f.Fuzz(func(t *testing.T, claims string) {
		if v.of(t, signForFuzz(claims)) != nil {
			return
		}
		require.True(t, json.Valid([]byte(claims)), "%q", claims)
		assert.Equal(t, "1", gjson.Get(claims, "order.id").String())
		for name, ok := range map[string]func(float64) bool{
			"exp": func(at float64) bool { return at > float64(now)-61 },
			"nbf": func(at float64) bool { return at < float64(now)+600 },
			"iat": func(at float64) bool { return at < float64(now)+600 },
		} {
			if value := gjson.Get(claims, name); value.Exists() {
				assert.Equal(t, gjson.Number, value.Type, name)
				assert.True(t, ok(value.Num), "%s %s", name, value.Raw)
			}
		}
	})
}
