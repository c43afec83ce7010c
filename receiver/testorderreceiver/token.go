package testorderreceiver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/tidwall/gjson"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// publicKeyAlgorithms are the signature algorithms whose verification takes a public key (RFC 7518, section 3.1, and
// RFC 8037). With none, or with HMAC and the public key as its secret, anybody could sign.
var publicKeyAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	// keysFor is how long keys are used without being fetched again.
	keysFor = time.Hour
	// keysAgain is how long keys are not fetched again for a key id that is not among them, or a signature by none of them.
	keysAgain = 10 * time.Second
	maxKeys   = 100
	// With one key it takes a moment to find a signature wrong, a few milliseconds at most. The bounds keep it so whatever
	// a vendor calls its keys: nothing ends the arithmetic before it is done.
	maxKeysOfID = 4
	maxRSABits  = 8192
	maxExponent = 1<<31 - 1
)

// A verification is what a step verifies of a token.
type verification struct {
	token      template
	algorithms []string
	leeway     time.Duration
	claims     []field
	keys       *keySet
}

// verify tells what is wrong with the token: form, algorithm, signature, times, claims, in this order.
func (v *verification) verify(ctx context.Context, by *sender, c captured, traceparent string) *failure {
	bad := func(format string, args ...any) *failure {
		return &failure{reason: reason.BadResponse, detail: fmt.Sprintf(format, args...)}
	}
	token := []byte(v.token.render(c, asIs))
	message, err := jws.Parse(token, jws.WithCompact())
	if err != nil {
		return bad("the token is not well-formed")
	}
	if !isWhole(token) {
		return bad("the token is not well-formed")
	}
	header := message.Signatures()[0].ProtectedHeaders() // the compact form has one
	algorithm, ok := header.Algorithm()
	if !ok || !slices.Contains(v.algorithms, algorithm.String()) {
		return bad("the token's algorithm is not allowed")
	}
	id, _ := header.KeyID()
	payload, f := v.payload(ctx, by, token, id, algorithm, traceparent)
	if f != nil {
		return f
	}
	if !json.Valid(payload) || !gjson.ParseBytes(payload).IsObject() {
		return bad("the token has no claims")
	}
	claims := gjson.ParseBytes(payload)
	if wrong := v.times(claims, gjson.ParseBytes(headerOf(token))); wrong != "" {
		return bad("the token %s", wrong)
	}
	for _, claim := range v.claims {
		if !claim.holds(claims, c) {
			return bad("the token's claim %s is not what was expected", claim.path)
		}
	}
	return nil
}

// payload returns what was signed, if one of the vendor's keys did.
func (v *verification) payload(ctx context.Context, by *sender, token []byte, id string, algorithm jwa.SignatureAlgorithm, traceparent string) ([]byte, *failure) {
	keys, f := v.keys.find(ctx, by, id, algorithm, traceparent)
	for f == nil {
		for _, key := range keys {
			if err := ctx.Err(); err != nil {
				return nil, failureOf(err)
			}
			if payload, err := jws.Verify(token, jws.WithCompact(), jws.WithKey(algorithm, key), jws.WithCritValidation(true)); err == nil {
				return payload, nil
			}
		}
		if len(keys) == 0 {
			return nil, &failure{reason: reason.BadResponse, detail: "the token's key is not among the vendor's"}
		}
		if time.Since(v.keys.fetched) < keysAgain {
			return nil, &failure{reason: reason.BadResponse, detail: "the token's signature is wrong"}
		}
		// The vendor may have put another key in its place, under the same id.
		if f = v.keys.fetch(ctx, by, traceparent); f == nil {
			keys = v.keys.among(id, algorithm)
		}
	}
	return nil, f
}

// isWhole tells whether a token's header is a JSON object and nothing more. The library verifies
// the signature of the first JSON value in it and passes over what stands around that.
func isWhole(token []byte) bool {
	header := headerOf(token)
	return bytes.HasPrefix(header, []byte("{")) && bytes.HasSuffix(header, []byte("}")) && json.Valid(header)
}

// headerOf returns the header of a well-formed token.
func headerOf(token []byte) []byte {
	first, _, _ := bytes.Cut(token, []byte("."))
	header, err := base64.RawURLEncoding.AppendDecode(nil, first)
	if err != nil {
		return nil
	}
	return header
}

// times tells whether the token is of this time. A time that the claims do not have is looked for in the header, where
// some vendors write it (RFC 7519, section 5.3); the signature covers both.
func (v *verification) times(claims, header gjson.Result) (wrong string) {
	token := jwt.New()
	for _, name := range []string{jwt.ExpirationKey, jwt.NotBeforeKey, jwt.IssuedAtKey} {
		value := claims.Get(name)
		if !value.Exists() {
			value = header.Get(name)
		}
		if !value.Exists() {
			continue
		}
		// Beyond some thousand years a time would turn over.
		if value.Type != gjson.Number || math.Abs(value.Num) > 1e11 || token.Set(name, time.UnixMilli(int64(value.Num*1000))) != nil {
			return "has no time as its " + name
		}
	}
	if err := jwt.Validate(token, jwt.WithAcceptableSkew(v.leeway), jwt.WithClock(jwt.ClockFunc(time.Now))); err != nil {
		return "has expired, or is of the future"
	}
	return ""
}

// A keySet is the keys at a URL, kept for a time. Only one run uses it at once.
type keySet struct {
	from    request
	keys    jwk.Set
	fetched time.Time
}

// find returns the keys with an id that can verify what an algorithm signed. A token without an id needs a set of one
// key.
func (k *keySet) find(ctx context.Context, by *sender, id string, algorithm jwa.SignatureAlgorithm, traceparent string) (found []jwk.Key, f *failure) {
	for {
		age := time.Since(k.fetched)
		fresh := k.keys != nil && age < keysFor
		if fresh {
			if found = k.among(id, algorithm); len(found) > 0 || age < keysAgain {
				return found, nil
			}
		}
		if f = k.fetch(ctx, by, traceparent); f != nil {
			return nil, f
		}
	}
}

// among looks among the keys that are known. That a key is of the algorithm's type is seen to when it verifies.
func (k *keySet) among(id string, algorithm jwa.SignatureAlgorithm) (found []jwk.Key) {
	for i := range k.keys.Len() {
		key, ok := k.keys.Key(i)
		if !ok {
			continue
		}
		if has, _ := key.KeyID(); id != "" && has != id || id == "" && k.keys.Len() > 1 {
			continue
		}
		if use, ok := key.KeyUsage(); ok && use != "" && use != jwk.ForSignature.String() {
			continue
		}
		if of, ok := key.Algorithm(); ok && of.String() != algorithm.String() {
			continue
		}
		if !isSmall(key) {
			continue
		}
		if found = append(found, key); len(found) == maxKeysOfID {
			break
		}
	}
	return found
}

// isSmall tells whether a key is of a size that is soon verified with. Those on curves are.
func isSmall(key jwk.Key) bool {
	rsa, ok := key.(interface {
		N() ([]byte, bool)
		E() ([]byte, bool)
	})
	if !ok {
		return true
	}
	modulus, _ := rsa.N()
	exponent, _ := rsa.E()
	e := new(big.Int).SetBytes(exponent)
	return new(big.Int).SetBytes(modulus).BitLen() <= maxRSABits && e.IsInt64() && e.Int64() <= maxExponent
}

func (k *keySet) fetch(ctx context.Context, by *sender, traceparent string) *failure {
	a, f := by.fetchKeys(ctx, &k.from, traceparent)
	if a.status != 0 && (a.status < 200 || a.status > 299) {
		f = &failure{reason: reason.OfStatus(a.status), detail: fmt.Sprintf("the vendor's keys were answered with status %d", a.status), status: a.status}
		if f.reason == reason.None {
			f.reason = reason.BadResponse
		}
	} else if f != nil {
		f.detail = "the vendor's keys: " + f.detail
	}
	if f != nil {
		return f
	}
	bad := &failure{reason: reason.BadResponse, detail: "the vendor's keys cannot be read", status: a.status}
	if !json.Valid(a.body) || gjson.GetBytes(a.body, "keys.#").Int() > maxKeys {
		return bad
	}
	// A key of a type that is not known is none of those that verify (RFC 7517, section 5).
	keys, err := jwk.Parse(a.body, jwk.WithStrictKeySetParsing(false))
	if err != nil {
		return bad
	}
	k.keys, k.fetched = keys, time.Now()
	return nil
}
