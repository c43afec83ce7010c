package vendorfailureprocessor

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/tidwall/gjson"
)

// isJWT tells whether s is a well-formed JSON Web Token: three parts, base64url without padding, of which the first is
// a JSON object that names an algorithm and the second a JSON object (RFC 7515, section 7.1; RFC 7519, section 3). The
// signature is not verified: that takes the vendor's key, and is the test order's task. A library's parser makes some
// fifty allocations for a token; this one, made for every order's answer, makes none for tokens of ordinary size.
func isJWT(s string) bool {
	header, rest, ok := strings.Cut(s, ".")
	if !ok || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 { // encoding/base64 passes over line breaks
		return false
	}
	claims, signature, ok := strings.Cut(rest, ".")
	if !ok {
		return false
	}
	var buf [1024]byte
	object := func(part string) []byte {
		decoded, err := base64.RawURLEncoding.AppendDecode(buf[:0], []byte(part))
		if err != nil || !bytes.HasPrefix(bytes.TrimLeft(decoded, " \t\r\n"), []byte("{")) || !isJSON(decoded) {
			return nil
		}
		return decoded
	}
	h := object(header)
	if h == nil || gjson.GetBytes(h, "alg").Type != gjson.String {
		return false
	}
	if object(claims) == nil {
		return false
	}
	_, err := base64.RawURLEncoding.AppendDecode(buf[:0], []byte(signature))
	return err == nil
}
