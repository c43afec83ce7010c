package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/collector/config/configtls"
	"golang.org/x/net/http/httpguts"
)

// access is how a Collector is reached that asks for a token, or that has a certificate by a CA of its own. Its zero value
// reaches one that asks for neither.
type access struct {
	client  http.Client
	headers http.Header
	// headersIn is the variable that they stand in, or would stand in.
	headersIn string
}

// newAccess reads the environment variables by which OpenTelemetry's exporters are told of both: a token on a command
// line would be seen by everybody on the machine. That of traces comes before the one of all signals.
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/
func newAccess(getenv func(string) string) (access, error) {
	variable := func(what string) (name, value string) {
		for _, name = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
			if value = getenv(name); value != "" {
				break
			}
		}
		return name, value
	}
	var a access
	name, value := variable("HEADERS")
	a.headersIn = name
	var err error
	if a.headers, err = parseHeaders(value); err != nil {
		return access{}, fmt.Errorf("%s: %w", name, err)
	}
	files := configtls.ClientConfig{}
	_, files.CAFile = variable("CERTIFICATE")
	_, files.CertFile = variable("CLIENT_CERTIFICATE")
	_, files.KeyFile = variable("CLIENT_KEY")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = files.LoadTLSConfig(context.Background()); err != nil {
		return access{}, fmt.Errorf("%s, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE or OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", certificate, err)
	}
	a.client.Transport = transport
	// A token is for the Collector alone, not for where it may redirect to.
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a, nil
}

// certificate is the variable that names the file of the CA.
const certificate = "OTEL_EXPORTER_OTLP_CERTIFICATE"

// parseHeaders reads name=value, with a comma between two and values as in URLs. No error tells any of it: a token can
// stand in every place of what is written wrongly.
func parseHeaders(text string) (http.Header, error) {
	headers := http.Header{}
	for i, pair := range strings.Split(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, encoded, _ := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(encoded))
		if err != nil || value == "" || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("entry %d is not name=value; between two stands a comma, and in a value %%2C for a comma and %%25 for a percent sign", i+1)
		}
		headers.Set(name, value)
	}
	return headers, nil
}

// remedy is what to do about an error or a status, if it is for want of access: a text to add to what is said.
func (a *access) remedy(err error, status int) string {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return "; name the file of the CA that signed its certificate in " + certificate
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return ""
	case len(a.headers) == 0:
		return "; give it the token that it asks for in " + a.headersIn + ", such as Authorization=Bearer%20TOKEN"
	default:
		return "; what " + a.headersIn + " has is not what it asks for"
	}
}
