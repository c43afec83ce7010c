package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"
)

const ingestToken = "ingest-7c1ac1f5,%=+"

// encodedToken is what stands for it in a variable.
const encodedToken = "ingest-7c1ac1f5%2C%25=+"

// protected writes a configuration, over which public.yaml is laid, and the certificate that it has, and returns both paths.
func protected(t *testing.T, config string) (path, certificate string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	server.Close()
	secret, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	out := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(out, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	certificate = write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	key := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))

	whole := confmap.New()
	for _, name := range []string{config, "examples/public.yaml"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		parsed, err := confmap.NewRetrievedFromYAML(text)
		require.NoError(t, err)
		over, err := parsed.AsConf()
		require.NoError(t, err)
		require.NoError(t, whole.Merge(over))
	}
	require.NoError(t, whole.Merge(confmap.NewFromStringMap(map[string]any{
		"extensions": map[string]any{"bearertokenauth/senders": map[string]any{"token": ingestToken}},
		"service":    map[string]any{"extensions": []any{"bearertokenauth/senders"}},
	})))
	text, err := yaml.Marshal(whole.ToStringMap())
	require.NoError(t, err)
	return write("public.yaml", []byte(strings.NewReplacer("${env:TLS_CERT_FILE}", certificate, "${env:TLS_KEY_FILE}", key).Replace(string(text)))), certificate
}

// environment has the variables that are given by their names without OTEL_EXPORTER_OTLP_.
func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[strings.TrimPrefix(name, "OTEL_EXPORTER_OTLP_")] }
}

// A Collector as examples/public.yaml has it is drilled by who has its token and trusts its certificate; who has not is
// told what to do, and no token is told.
func TestDrillOfAProtectedCollector(t *testing.T) {
	t.Parallel()
	o := quick(t)
	var file string
	o.config, file = protected(t, o.config)
	own, err := start(t.Context(), o, io.Discard)
	require.NoError(t, err)
	defer own.kill()
	o.collector, o.prometheus = "https"+strings.TrimPrefix(own.collector.OTLP, "http"), own.prometheus.URL

	const asks = "/v1/traces answers 401 Unauthorized: "
	for _, row := range []struct {
		environment map[string]string
		says, also  string
	}{
		{map[string]string{"HEADERS": "Authorization=Bearer " + encodedToken},
			"certificate signed by unknown authority", "; name the file of the CA that signed its certificate in OTEL_EXPORTER_OTLP_CERTIFICATE"},
		{map[string]string{"CERTIFICATE": file}, asks, "; give it the token that it asks for in OTEL_EXPORTER_OTLP_HEADERS, such as Authorization=Bearer%20TOKEN"},
		{map[string]string{"CERTIFICATE": file, "HEADERS": "Authorization=Bearer wrong-" + encodedToken}, asks, "; what OTEL_EXPORTER_OTLP_HEADERS has is not what it asks for"},
		{map[string]string{"CERTIFICATE": file, "HEADERS": "Authorization=Bearer " + encodedToken, "TRACES_HEADERS": "Authorization=Bearer wrong"},
			asks, "; what OTEL_EXPORTER_OTLP_TRACES_HEADERS has is not what it asks for"},
	} {
		o.access, err = newAccess(environment(row.environment))
		require.NoError(t, err)
		err := run(t.Context(), o, io.Discard)
		require.ErrorContains(t, err, row.says)
		require.ErrorContains(t, err, row.also)
		assert.NotContains(t, err.Error(), "ingest-7c1ac1f5")
	}

	o.access, err = newAccess(environment(map[string]string{"TRACES_CERTIFICATE": file, "HEADERS": "Authorization=Bearer%20" + encodedToken}))
	require.NoError(t, err)
	var out strings.Builder
	err = run(t.Context(), o, &out)
	t.Log(out.String())
	require.NoError(t, err)
	inOrder(t, out.String(), 6)
	assert.NotContains(t, out.String(), "ingest-7c1ac1f5")
}

func TestHeaders(t *testing.T) {
	for _, row := range []struct {
		text string
		want http.Header
	}{
		{"", http.Header{}},
		{"Authorization=Bearer token", http.Header{"Authorization": {"Bearer token"}}},
		{"authorization=Bearer%20token", http.Header{"Authorization": {"Bearer token"}}},
		{" a = 1 , b=2%2C3,", http.Header{"A": {"1"}, "B": {"2,3"}}},
		{"a=b+c/d==", http.Header{"A": {"b+c/d=="}}},
	} {
		got, err := parseHeaders(row.text)
		require.NoError(t, err, row.text)
		assert.Equal(t, row.want, got, row.text)
	}
	for text, says := range map[string]string{
		"Bearer secret":                      "entry 1 is not name=value",
		"a=1,Authorization: Bearer secret==": "entry 2 is not name=value",
		"secret":                             "entry 1 is not name=value",
		"=secret":                            "entry 1 is not name=value",
		"secret=":                            "entry 1 is not name=value",
		"a=secret%":                          "entry 1 is not name=value",
		"a=secret%0A":                        "entry 1 is not name=value",
	} {
		_, err := newAccess(environment(map[string]string{"HEADERS": text}))
		require.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_HEADERS: "+says, text)
		assert.NotContains(t, err.Error(), "secret", text)
	}

	// The command reads its own environment, for a Collector that is not its own.
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "secret")
	_, err := parse([]string{"-collector", "http://c", "-listen", "127.0.0.1:0"}, io.Discard)
	require.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not name=value")
	_, err = parse(nil, io.Discard)
	require.NoError(t, err)
}

func TestCertificates(t *testing.T) {
	for name, says := range map[string]string{
		"CERTIFICATE":        "open none.pem: no such file",
		"CLIENT_CERTIFICATE": "provide both certificate and key, or neither",
		"CLIENT_KEY":         "provide both certificate and key, or neither",
	} {
		_, err := newAccess(environment(map[string]string{name: "none.pem"}))
		require.ErrorContains(t, err, says, name)
		require.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_"+name)
	}
}

// A Collector that asks senders for a certificate gets that of the environment, which is read when the drill begins.
func TestClientCertificate(t *testing.T) {
	_, file := protected(t, "examples/demo.yaml")
	asked := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	asked.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	asked.Config.ErrorLog = log.New(io.Discard, "", 0)
	asked.StartTLS()
	defer asked.Close()
	send := func(environment func(string) string) error {
		a, err := newAccess(environment)
		require.NoError(t, err)
		defer a.client.CloseIdleConnections()
		return (&calls{vendor: "a", reason: "error", collector: asked.URL, access: a}).send(t.Context(), true)
	}
	require.ErrorContains(t, send(environment(map[string]string{"CERTIFICATE": file})), "the Collector does not take synthetic calls")
	require.NoError(t, send(environment(map[string]string{
		"CERTIFICATE": file, "CLIENT_CERTIFICATE": file, "CLIENT_KEY": filepath.Join(filepath.Dir(file), "key.pem")})))
}

// A token goes nowhere but to the Collector that it is for.
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer elsewhere.Close()
	redirecting := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirecting.Close()
	a, err := newAccess(environment(map[string]string{"HEADERS": "X-Token=secret"}))
	require.NoError(t, err)
	defer a.client.CloseIdleConnections()
	at := strings.Replace(redirecting.URL, "http://", "http://somebody:password@", 1)
	err = (&calls{vendor: "a", reason: "error", collector: at, access: a}).send(t.Context(), true)
	require.ErrorContains(t, err, "answers 307 Temporary Redirect")
	assert.NotContains(t, err.Error(), "password")
}
