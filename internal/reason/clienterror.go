package reason

import "strings"

// OfClientError returns what the text of a client's error names: Timeout for a time-out, Unreachable for a connection
// that was not made, was not secure or broke, None for anything else, a call that its caller gave up among it. The
// text is an error.type, the message of a span's status, or the type or message of an exception. Letter case does not
// matter. Where several texts tell of one error, a Timeout in any of them is what happened: clients wrap it in classes
// that are named for the connection.
//
// testdata/clienterrors.tsv has what the SDKs write, each with its source.
func OfClientError(text string) Reason {
	text = strings.ToLower(text[:min(len(text), longest)])
	switch {
	case hasAny(text, timeouts):
		return Timeout
	case hasAny(text, faults):
		return Unreachable
	}
	return None
}

// longest is how many bytes of a text are looked at. Messages that name a fault are shorter; longer ones hold a body.
const longest = 4 << 10

// The names in lower case. Each is looked for as a word, see has; after a "*" it may be the end of a longer word.
var (
	timeouts = []string{
		"*timeout", // SocketTimeoutException, UND_ERR_HEADERS_TIMEOUT, ReadTimeout, i/o timeout
		"*timedout",
		"timed out",
		"deadline exceeded",
		"deadline_exceeded",
		"deadlineexceeded",

		// What http.Client's Timeout gives where the transport is wrapped, as by otelhttp. A context that its caller
		// cancels gives "context canceled" there.
		"net/http: request canceled",

		// Windows' WSAETIMEDOUT.
		"did not properly respond after a period of time",
	}

	faults = []string{
		// What the C library says, in most languages.
		"connection refused", "connection reset", "no route to host", "network is unreachable", "broken pipe",
		"name or service not known", "temporary failure in name resolution", "resource temporarily unavailable",
		"name does not resolve", "nodename nor servname provided",

		// OpenSSL and X.509 by any language. The bare word "certificate" may be one that a shop sells.
		"ssl", "tls", "x509", "certificate has expired", "self-signed certificate",

		// Node.js: the codes of system errors, of OpenSSL's verification and of undici; the messages of http and fetch.
		"econnrefused", "econnreset", "enotfound", "eai_again", "epipe", "ehostunreach", "enetunreach", "eproto",
		"cert_has_expired", "cert_not_yet_valid", "depth_zero_self_signed_cert", "self_signed_cert_in_chain",
		"unable_to_verify_leaf_signature", "unable_to_get_issuer_cert",
		"und_err_socket", "socket hang up", "other side closed", "fetch failed",

		// Java: the JDK, Apache HttpClient, OkHttp, Reactor Netty.
		"*connectexception", "unknownhost", "unresolvedaddress", "noroutetohost", "closedchannel",
		"header parser received no bytes", "unexpected end of file from server",
		"nohttpresponse", "unexpected end of stream", "prematureclose",

		// Python: the standard library, urllib3 and requests, httpx, aiohttp.
		"*connectionerror", "connectionrefused", "connectionreset", "connectionaborted", "gaierror",
		"sslcertverification", "ssleof", "remotedisconnected", "incompleteread", "nameresolution", "connection broken",
		"connecterror", "server disconnected", "serverdisconnected",
		"clientconnector", "clientconnectorcertificate", "clientconnectordns", "clientconnectorssl",

		// Go.
		"net.operror", "net.dnserror", "no such host", "server misbehaving", "eof",
		"server gave http response to https client",

		// .NET: HttpRequestError as error.type, and what Windows says.
		"name_resolution_error", "connection_error", "proxy_tunnel_error", "response_ended", "response ended prematurely",
		"actively refused", "forcibly closed by the remote host", "the remote certificate is invalid",

		// Ruby, and libcurl, which PHP has.
		"failed to open tcp connection", "connectionfailed", "could not resolve host", "failed to connect to",
		"empty reply from server", "transfer closed",

		// gRPC, where it is told by a message alone.
		"14 unavailable", "unavailable: io exception", "unavailable: network closed", "code = unavailable",
		"statuscode.unavailable", `statuscode="unavailable"`,
	}
)

func hasAny(text string, names []string) bool {
	for _, name := range names {
		if has(text, name) {
			return true
		}
	}
	return false
}

// has tells whether a text has a name as a word of its own: "tls: handshake failure" has tls, "settlstatus" has not.
// Words are of letters alone, and a class may add "error" or "exception": SSLError has ssl.
func has(text, name string) bool {
	name, ends := strings.CutPrefix(name, "*")
	for i := 0; ; i++ {
		at := strings.Index(text[i:], name)
		if at < 0 {
			return false
		}
		i += at
		if (ends || i == 0 || !isLetter(text[i-1])) && endsWord(text[i+len(name):]) {
			return true
		}
	}
}

func endsWord(after string) bool {
	for _, class := range [...]string{"", "error", "exception"} {
		if rest, ok := strings.CutPrefix(after, class); ok && (rest == "" || !isLetter(rest[0])) {
			return true
		}
	}
	return false
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }
