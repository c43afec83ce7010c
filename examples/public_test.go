package examples

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// publicOver is laid over grafana-cloud.yaml.
const publicOver = "public.yaml"

// public writes the two as one file, with further ones laid over them, and returns its path.
func public(t *testing.T, over ...string) string {
	t.Helper()
	whole := confmap.New()
	lay := func(text []byte) {
		parsed, err := confmap.NewRetrievedFromYAML(text)
		require.NoError(t, err)
		config, err := parsed.AsConf()
		require.NoError(t, err)
		require.NoError(t, whole.Merge(config))
	}
	for _, name := range []string{"grafana-cloud.yaml", publicOver} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		lay(text)
	}
	for _, text := range over {
		lay([]byte(text))
	}
	text, err := yaml.Marshal(whole.ToStringMap())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), publicOver)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// flat is a configuration by its keys.
func flat(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	parsed, err := confmap.NewRetrievedFromYAML(text)
	require.NoError(t, err)
	config, err := parsed.AsConf()
	require.NoError(t, err)
	values := map[string]any{}
	for _, key := range config.AllKeys() {
		values[key] = config.Get(key)
	}
	return values
}

const ingestToken = "ingest-7c1ac1f5"

// senders are what public.yaml wants besides credentials: a certificate for this machine, and a token.
func senders(t *testing.T) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "collector"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, block []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block}), 0o600))
		return path
	}
	return []string{
		"TLS_CERT_FILE=" + write("cert.pem", "CERTIFICATE", certificate),
		"TLS_KEY_FILE=" + write("key.pem", "PRIVATE KEY", secret),
		"INGEST_TOKEN=" + ingestToken,
	}
}

// trusting is the configuration of a client that trusts the certificate of senders.
func trusting(t *testing.T, senders []string) *tls.Config {
	t.Helper()
	certificate, err := os.ReadFile(strings.TrimPrefix(senders[0], "TLS_CERT_FILE="))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(certificate))
	return &tls.Config{RootCAs: roots}
}

func ordersOf(service string) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", service)
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetKind(ptrace.SpanKindServer)
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	span.Attributes().PutStr("http.request.method", "POST")
	span.Attributes().PutStr("http.route", "/api/order")
	span.Attributes().PutInt("http.response.status_code", 200)
	return td
}

// sender sends one order of a service to a Collector and tells what came of it: the HTTP status or gRPC code, or "no
// connection".
type sender func(t *testing.T, to *builtcollector.Collector, with *tls.Config, authorization, service string) string

const refusedConnection = "no connection"

func overHTTP(url func(*builtcollector.Collector) string, kind string, body func(service string) []byte) sender {
	return func(t *testing.T, to *builtcollector.Collector, with *tls.Config, authorization, service string) string {
		at := url(to)
		if with != nil {
			at = "https" + strings.TrimPrefix(at, "http")
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, bytes.NewReader(body(service)))
		require.NoError(t, err)
		request.Header.Set("Content-Type", kind)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: with, DisableKeepAlives: true}}
		answer, err := client.Do(request)
		if err != nil {
			return refusedConnection
		}
		defer answer.Body.Close()
		return answer.Status
	}
}

func overGRPC(t *testing.T, to *builtcollector.Collector, with *tls.Config, authorization, service string) string {
	transport := insecure.NewCredentials()
	if with != nil {
		transport = grpccredentials.NewTLS(with)
	}
	connection, err := grpc.NewClient(strings.TrimPrefix(to.OTLPGRPC, "http://"), grpc.WithTransportCredentials(transport))
	require.NoError(t, err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	_, err = ptraceotlp.NewGRPCClient(connection).Export(ctx, ptraceotlp.NewExportRequestFromTraces(ordersOf(service)))
	if code := status.Code(err); code != codes.Unavailable {
		return code.String()
	}
	return refusedConnection
}

var publicSenders = map[string]sender{
	"OTLP/gRPC": overGRPC,
	"OTLP/HTTP": overHTTP(func(c *builtcollector.Collector) string { return c.OTLP + "/v1/traces" }, "application/x-protobuf", func(service string) []byte {
		body, err := ptraceotlp.NewExportRequestFromTraces(ordersOf(service)).MarshalProto()
		if err != nil {
			panic(err)
		}
		return body
	}),
	"Loki": overHTTP(func(c *builtcollector.Collector) string { return c.Loki + "/loki/api/v1/push" }, "application/json", func(service string) []byte {
		return []byte(`{"streams":[{"stream":{"type":"http","component":"` + service + `"},"values":[["` + time.Now().Format("20060102") + `0000000000",
			"{\"path\":\"/api/order\",\"method\":\"POST\",\"statusCode\":200,\"resBody\":\"{}\"}"]]}]}`)
	}),
}

// TestPublic: who has neither the certificate's trust nor the token sends nothing into a public Collector; who has, does.
func TestPublic(t *testing.T) {
	t.Parallel()
	cloud, have := newGrafanaCloud(t), senders(t)
	collector, err := builtcollector.Start(t.Context(), root, public(t), t.TempDir(), append(credentials(cloud.URL), have...)...)
	require.NoError(t, err)
	defer collector.Kill()
	trust := trusting(t, have)
	old := trust.Clone()
	old.MaxVersion = tls.VersionTLS11

	const badRequest, unauthorized, ok = "400 Bad Request", "401 Unauthorized", "200 OK"
	for _, tc := range []struct {
		name, authorization string
		with                *tls.Config
		want                map[string]string
	}{
		{"no TLS", "Bearer " + ingestToken, nil, map[string]string{"OTLP/gRPC": refusedConnection, "OTLP/HTTP": badRequest, "Loki": badRequest}},
		{"an old TLS", "Bearer " + ingestToken, old, map[string]string{"OTLP/gRPC": refusedConnection, "OTLP/HTTP": refusedConnection, "Loki": refusedConnection}},
		{"no token", "", trust, map[string]string{"OTLP/gRPC": "Unauthenticated", "OTLP/HTTP": unauthorized, "Loki": unauthorized}},
		{"an empty token", "Bearer ", trust, map[string]string{"OTLP/gRPC": "Unauthenticated", "OTLP/HTTP": unauthorized, "Loki": unauthorized}},
		{"another token", "Bearer x" + ingestToken, trust, map[string]string{"OTLP/gRPC": "Unauthenticated", "OTLP/HTTP": unauthorized, "Loki": unauthorized}},
		{"the token alone", ingestToken, trust, map[string]string{"OTLP/gRPC": "Unauthenticated", "OTLP/HTTP": unauthorized, "Loki": unauthorized}},
		{"the right one", "Bearer " + ingestToken, trust, map[string]string{"OTLP/gRPC": "OK", "OTLP/HTTP": ok, "Loki": "204 No Content"}},
	} {
		for _, name := range slices.Sorted(maps.Keys(publicSenders)) {
			assert.Equal(t, tc.want[name], publicSenders[name](t, collector, tc.with, tc.authorization, name+" with "+tc.name), "%s with %s", name, tc.name)
		}
	}

	counted := map[string]float64{}
	require.Eventually(t, func() bool {
		clear(counted)
		for series, value := range ofVendors(t, collector) {
			if _, rest, ok := strings.Cut(series, "vendor_caller="); ok && strings.HasPrefix(series, "vendor_orders_total") && value > 0 {
				caller, _, _ := strings.Cut(rest, ",")
				counted[caller] += value
			}
		}
		return len(counted) >= 3
	}, 10*time.Second, 50*time.Millisecond)
	assert.Equal(t, map[string]float64{"OTLP/gRPC with the right one": 1, "OTLP/HTTP with the right one": 1, "Loki with the right one": 1}, counted)

	// A request larger than public.yaml allows is refused before it is decoded.
	large := overHTTP(func(c *builtcollector.Collector) string { return c.OTLP + "/v1/traces" }, "application/x-protobuf", func(string) []byte { return make([]byte, 5<<20) })
	assert.Contains(t, []string{badRequest, refusedConnection}, large(t, collector, trust, "Bearer "+ingestToken, ""))
	require.NoError(t, collector.Stop())
}

// TestPublicOver: the two files are right together, and every receiver is on loopback unless asked otherwise.
func TestPublicOver(t *testing.T) {
	output, ok := validate(t, "examples/grafana-cloud.yaml", "examples/"+publicOver)
	assert.True(t, ok, output)
	assert.Empty(t, output)
	receivers := 0
	for key, value := range flat(t, public(t)) {
		if strings.HasPrefix(key, "receivers::") && strings.HasSuffix(key, "::endpoint") {
			receivers++
			assert.Regexp(t, `^\$\{env:LISTEN_ADDRESS:-127\.0\.0\.1\}:`, value, key)
		}
	}
	assert.Equal(t, 3, receivers)
}

// TestPublicNeedsItsSecrets: with a variable unset the Collector does not start, instead of letting anybody in.
func TestPublicNeedsItsSecrets(t *testing.T) {
	have := senders(t)
	for i, variable := range have {
		name, _, _ := strings.Cut(variable, "=")
		t.Run(name, func(t *testing.T) {
			rest := slices.Concat(have[:i], have[i+1:], []string{name + "="})
			_, err := builtcollector.Start(t.Context(), root, public(t), t.TempDir(), append(credentials("http://127.0.0.1:9"), rest...)...)
			assert.ErrorContains(t, err, "ended at once")
		})
	}
}

// TestNoSecretIsShown: neither the Collector's log at level debug, nor its zpages, metrics or configuration as it prints
// it, show a credential of public.yaml or a secret that was in what it was sent.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	cloud, have := newGrafanaCloud(t), senders(t)
	zpages, err := process.FreeAddress()
	require.NoError(t, err)
	config := public(t, `
extensions: {zpages: {endpoint: "`+zpages+`"}}
processors: {vendor_failure: {vendors: [{
  name: pizza-factory,
  calls: {urls: ["http://127.0.0.1:4000/api/order"], logs: {attributes: {type: [factory]}}},
  responses: [{contains: Failed to fulfill order at factory}, {contains: reportUrl, chaos: true}],
}]}}
service:
  extensions: [zpages, bearertokenauth/senders, basicauth/grafana_cloud]
  telemetry: {logs: {level: debug}, traces: {processors: [{simple: {exporter: {console: {}}}}]}}
`)
	env := append(credentials(cloud.URL), have...)
	collector, err := builtcollector.Start(t.Context(), root, config, t.TempDir(), env...)
	require.NoError(t, err)
	defer collector.Kill()
	trust := trusting(t, have)

	// The recording of chaos has the vendor's API key, tokens, e-mails and orders in it.
	recorded, err := recording.Open("../testdata/chaos-fail")
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	var sent strings.Builder
	send := func(path string) func(time.Time, []byte) error {
		return func(_ time.Time, request []byte) error {
			sent.Write(request)
			post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https"+strings.TrimPrefix(collector.OTLP, "http")+path, bytes.NewReader(request))
			require.NoError(t, err)
			post.Header.Set("Content-Type", "application/json")
			post.Header.Set("Authorization", "Bearer "+ingestToken)
			answer, err := client.Do(post)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode)
			return nil
		}
	}
	require.NoError(t, recorded.Replay(send("/v1/traces"), send("/v1/logs")))
	for _, sender := range publicSenders {
		sender(t, collector, trust, "Bearer wrong-5d2ff", "shop")
	}

	shown := map[string]string{}
	get := func(url string) {
		answer, err := http.Get(url)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.StatusCode, url)
		shown[url] = string(body)
	}
	get(collector.Metrics + "/metrics")
	for _, page := range []string{"servicez", "pipelinez", "extensionz", "featurez", "tracez", "tracez?zspanname=receiver%2Fotlp%2FTraceDataReceived&ztype=0&zsubtype=0"} {
		get("http://" + zpages + "/debug/" + page)
	}
	require.NoError(t, collector.Stop())
	log, err := os.ReadFile(collector.Log)
	require.NoError(t, err)
	require.Contains(t, string(log), "debug", "the log is at that level")
	require.Contains(t, string(log), "vendor.outage.start")
	shown["log"] = string(log)
	for _, config := range []string{config, "examples/jwt-pizza.yaml"} { // the latter places test orders
		printed := exec.Command("./"+builtcollector.Path, "print-config", "--config", config)
		printed.Dir, printed.Env = root, slices.Concat(os.Environ(), env, []string{"PROBE_EMAIL=probe-71f2@example.com", "PROBE_PASSWORD=probe-9c41"})
		configuration, err := printed.CombinedOutput()
		require.NoError(t, err, string(configuration))
		require.Contains(t, string(configuration), "pizza-factory")
		shown["print-config "+config] = string(configuration)
	}

	secrets := []string{ingestToken, "probe-71f2", "probe-9c41", "glc_key", "MTIzNDU2OmdsY19rZXk=", "wrong-5d2ff"}
	for _, secret := range []string{"vendorkey123", "eyJ", "api/support", "d@jwt.com", "Margarita"} {
		require.Contains(t, sent.String(), secret, "it was sent")
		secrets = append(secrets, secret)
	}
	for where, text := range shown {
		for _, secret := range secrets {
			assert.NotContains(t, text, secret, where)
		}
	}
}

// nested is an OTLP request of a log record whose body is a map in a map, so many levels deep. It is written from its
// end, by hand: the race detector would take long over as many values.
func nested(levels int) []byte {
	var reversed []byte
	field := func(tag byte) { // of all that is there so far
		var length [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(length[:], uint64(len(reversed)))
		for n--; n >= 0; n-- {
			reversed = append(reversed, length[n])
		}
		reversed = append(reversed, tag)
	}
	for range levels {
		field(0x12) // KeyValue.value
		field(0x0a) // KeyValueList.values
		field(0x32) // AnyValue.kvlist_value
	}
	field(0x2a) // LogRecord.body
	field(0x12) // ScopeLogs.log_records
	field(0x12) // ResourceLogs.scope_logs
	field(0x0a) // ExportLogsServiceRequest.resource_logs
	slices.Reverse(reversed)
	return reversed
}

// TestPublicSurvivesNesting: what fits into a request of public.yaml can be decoded; what ends a Collector with the default
// bound does not fit, packed neither.
func TestPublicSurvivesNesting(t *testing.T) {
	t.Parallel()
	cloud, have := newGrafanaCloud(t), senders(t)
	collector, err := builtcollector.Start(t.Context(), root, public(t), t.TempDir(), append(credentials(cloud.URL), have...)...)
	require.NoError(t, err)
	defer collector.Kill()
	fits, deadly := nested(310_000), nested(700_000)
	require.InDelta(t, 4<<20, len(fits), 1<<18)
	require.Less(t, len(deadly), 20<<20, "the default would let it in")
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	require.NoError(t, err)
	_, err = zip.Write(deadly)
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	require.Less(t, packed.Len(), 4<<20, "packed it fits")

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(t, have), DisableKeepAlives: true}}
	send := func(body []byte, encoding string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https"+strings.TrimPrefix(collector.OTLP, "http")+"/v1/logs", bytes.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/x-protobuf")
		request.Header.Set("Authorization", "Bearer "+ingestToken)
		if encoding != "" {
			request.Header.Set("Content-Encoding", encoding)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Log(err)
			return 0 // refused while it was still being sent
		}
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	assert.Equal(t, http.StatusOK, send(fits, ""))
	refused := []int{0, http.StatusBadRequest} // the answer may come, and the connection go, before all is sent
	assert.Contains(t, refused, send(deadly, ""))
	assert.Contains(t, refused, send(packed.Bytes(), "gzip"))
	assert.Equal(t, http.StatusOK, send(nil, ""), "it is still there")
	require.NoError(t, collector.Stop())
}

// TestLokiBelievesALength: the Loki receiver (v0.145.0) makes room for as much as a request in protobuf says that it
// comes to, up to 2 GiB, whatever max_request_body_size is: docs/security.md tells what to do. It asks for the token first.
// When this fails, the receiver has been mended, and the row can go.
func TestLokiBelievesALength(t *testing.T) {
	t.Parallel()
	const claimed = 64 << 20
	cloud, have := newGrafanaCloud(t), senders(t)
	collector, err := builtcollector.Start(t.Context(), root, public(t), t.TempDir(), append(credentials(cloud.URL), have...)...)
	require.NoError(t, err)
	defer collector.Kill()

	body := append(binary.AppendUvarint(nil, claimed), 0, 0) // snappy: the length to come, and what is no data
	require.Less(t, len(body), 8)
	push := overHTTP(func(c *builtcollector.Collector) string { return c.Loki + "/loki/api/v1/push" }, "application/x-protobuf", func(string) []byte { return body })
	last := 0.0
	allocated := func() (since float64) {
		before := last
		require.Eventually(t, func() bool { // the Collector looks a few times a second
			samples, err := collector.Scrape(t.Context())
			require.NoError(t, err)
			i := slices.IndexFunc(samples, func(s builtcollector.Sample) bool {
				return strings.HasPrefix(s.Name, "otelcol_process_runtime_total_alloc_bytes")
			})
			require.GreaterOrEqual(t, i, 0)
			last = samples[i].Value
			return last != before
		}, 10*time.Second, 20*time.Millisecond)
		return last - before
	}
	allocated()
	assert.Equal(t, "401 Unauthorized", push(t, collector, trusting(t, have), "", "shop"))
	assert.Less(t, allocated(), float64(claimed)/2)
	assert.Equal(t, "400 Bad Request", push(t, collector, trusting(t, have), "Bearer "+ingestToken, "shop"))
	assert.Greater(t, allocated(), float64(claimed), "a few bytes took as much as they said")
	require.NoError(t, collector.Stop())
}

// TestBasicAuth: the change for Loki clients that can do nothing else, as docs/security.md has it.
func TestBasicAuth(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/security.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(document), "```yaml\nextensions:\n")
	require.True(t, ok)
	extension, _, _ := strings.Cut(rest, "```")
	config := public(t, "extensions:\n"+extension, `
receivers: {loki: {protocols: {http: {auth: {authenticator: basicauth/senders}}}}}
service: {extensions: [basicauth/senders, bearertokenauth/senders, basicauth/grafana_cloud]}
`)
	passwords := filepath.Join(t.TempDir(), "htpasswd")
	hash := sha1.Sum([]byte("open sesame"))
	require.NoError(t, os.WriteFile(passwords, []byte("shop:{SHA}"+base64.StdEncoding.EncodeToString(hash[:])+"\n"), 0o600))

	cloud, have := newGrafanaCloud(t), senders(t)
	collector, err := builtcollector.Start(t.Context(), root, config, t.TempDir(), slices.Concat(credentials(cloud.URL), have, []string{"HTPASSWD_FILE=" + passwords})...)
	require.NoError(t, err)
	defer collector.Kill()
	trust, basic := trusting(t, have), func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	push := publicSenders["Loki"]
	assert.Equal(t, "204 No Content", push(t, collector, trust, basic("shop:open sesame"), "shop"))
	for _, wrong := range []string{"", basic("shop:"), basic(":"), basic("shop:open"), "Bearer " + ingestToken} {
		assert.Equal(t, "401 Unauthorized", push(t, collector, trust, wrong, "shop"), wrong)
	}
	require.NoError(t, collector.Stop())
}

// TestShownByTests: what docs/security.md and docs/operations.md say is shown by a test, is.
func TestShownByTests(t *testing.T) {
	var tests bytes.Buffer
	for _, pattern := range []string{"../processor/*/*_test.go", "../receiver/*/*_test.go", "../internal/*/*_test.go", "../faults/*_test.go", "../grafana/*/*_test.go", "*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			tests.Write(text)
		}
	}
	for _, name := range []string{"security.md", "operations.md"} {
		document, err := os.ReadFile("../docs/" + name)
		require.NoError(t, err)
		names := regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+`).FindAllString(string(document), -1)
		require.Greater(t, len(names), 15, name)
		for _, shown := range names {
			assert.True(t, bytes.Contains(tests.Bytes(), []byte("\nfunc "+shown+"(")), "%s names %s", name, shown)
		}
	}
}
