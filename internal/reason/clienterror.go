package reason

import "strings"

// OfClientError returns what the text of a client's error names (its type, code or message): Timeout, Unreachable for a
// fault before any answer, or None.
func OfClientError(text string) Reason {
	text = strings.ToLower(text)
	switch {
	case containsAny(text, "timeout", "time-out", "timed out", "timedout", "deadline exceeded", "deadlineexceeded", "deadline_exceeded"):
		return Timeout
	case containsAny(text, "econnrefused", "econnreset", "enotfound", "eai_again", "epipe", "ehostunreach", "enetunreach",
		"und_err_socket", "connection refused", "connection reset", "connectexception", "connecterror", "connectionerror",
		"unknownhost", "no such host", "name or service not known", "socket hang up", "other side closed", "fetch failed",
		"certificate", "tls", "ssl"):
		return Unreachable
	}
	return None
}

func containsAny(text string, names ...string) bool {
	for _, name := range names {
		if strings.Contains(text, name) {
			return true
		}
	}
	return false
}
