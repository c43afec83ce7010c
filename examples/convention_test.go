package examples

import (
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	v120 "go.opentelemetry.io/otel/semconv/v1.20.0"
	v137 "go.opentelemetry.io/otel/semconv/v1.37.0"
	v143 "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// The attribute tables of the OpenTelemetry semantic conventions for HTTP and gRPC spans, row by row: names and types are
// those of OpenTelemetry's generated packages, requirement levels those of the conventions' documents (specification
// v1.20, http.md and rpc.md; semantic conventions v1.37 and v1.43, docs/http/http-spans.md and docs/rpc), and what a story
// does not tell has the documents' own example values.

// level is how much of a table an SDK fills in. A conditionally required row is a required one whose condition is met.
type level int

const (
	required level = iota
	recommended
	optIn
)

// row is one row of a table; it is left out where its condition is not met.
type row struct {
	level     level
	when      bool
	attribute attribute.KeyValue
}

// exchange is one request as both its sides know it.
type exchange struct {
	host, path, query string // of the server, at https and port 443
	route             string // as the server has it
	method            string // HTTP's; "" for gRPC
	service, rpc      string // of gRPC
	status            int    // HTTP's; 0: no answer came
	code              string // gRPC's
	fault             string // error.type of a client that got no answer, and the message of its exception
	faultMessage      string
	resend            int
	agent             string
}

func (e *exchange) failed(atClient bool) bool {
	switch {
	case e.fault != "":
		return true
	case e.method == "" && atClient:
		return e.code != "OK"
	case e.method == "":
		switch e.code {
		case "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS":
			return true
		}
		return false
	case atClient:
		return e.status >= 400
	}
	return e.status >= 500
}

// errorType is what the conventions want: the status where one came, else what the client names the fault.
func (e *exchange) errorType() string {
	switch {
	case e.fault != "":
		return e.fault
	case e.method == "":
		return e.code
	}
	return strconv.Itoa(e.status)
}

func (e *exchange) url() string {
	url := "https://" + e.host + e.path
	if e.query != "" {
		url += "?" + e.query
	}
	return url
}

// convention is one generation of names, as an SDK has them for HTTP and for gRPC.
type convention struct {
	name                   string
	httpClient, httpServer func(*exchange) []row
	rpcClient, rpcServer   func(*exchange) []row
	level                  level
	user                   func(id string) attribute.KeyValue
	schema                 string
}

const always = true

// HTTP, stable since v1.23.
func httpClientStable(e *exchange) []row {
	return []row{
		{required, always, v143.HTTPRequestMethodKey.String(e.method)},
		{required, always, v143.ServerAddress(e.host)},
		{required, always, v143.ServerPort(443)},
		{required, always, v143.URLFull(e.url())},
		{required, e.failed(true), v143.ErrorTypeKey.String(e.errorType())},
		{required, e.status > 0, v143.HTTPResponseStatusCode(e.status)},
		{recommended, e.resend > 0, v143.HTTPRequestResendCount(e.resend)},
		{recommended, always, v143.NetworkPeerAddress("10.1.2.80")},
		{recommended, always, v143.NetworkPeerPort(65123)},
		{recommended, always, v143.NetworkProtocolVersion("1.1")},
		{optIn, always, v143.HTTPRequestBodySize(3495)},
		{optIn, always, v143.HTTPRequestHeader("content-type", "application/json")},
		{optIn, e.status > 0, v143.HTTPResponseBodySize(3495)},
		{optIn, always, v143.NetworkTransportTCP},
		{optIn, always, v143.URLScheme("https")},
		{optIn, always, v143.URLTemplate("/users/{id}")},
		{optIn, always, v143.UserAgentOriginal("CERN-LineMode/2.15 libwww/2.17b3")},
	}
}

func httpServerStable(e *exchange) []row {
	return []row{
		{required, always, v143.HTTPRequestMethodKey.String(e.method)},
		{required, always, v143.URLPath(e.path)},
		{required, always, v143.URLScheme("https")},
		{required, e.failed(false), v143.ErrorTypeKey.String(e.errorType())},
		{required, e.status > 0, v143.HTTPResponseStatusCode(e.status)},
		{required, e.route != "", v143.HTTPRoute(e.route)},
		{required, e.query != "", v143.URLQuery(e.query)},
		{recommended, always, v143.ClientAddress("83.164.160.102")},
		{recommended, always, v143.NetworkPeerAddress("10.1.2.80")},
		{recommended, always, v143.NetworkPeerPort(65123)},
		{recommended, always, v143.NetworkProtocolVersion("1.1")},
		{recommended, always, v143.ServerAddress(e.host)},
		{recommended, always, v143.ServerPort(443)},
		{recommended, always, v143.UserAgentOriginal(e.agent)},
		{optIn, always, v143.ClientPort(65123)},
		{optIn, always, v143.HTTPRequestBodySize(3495)},
		{optIn, always, v143.HTTPRequestHeader("x-forwarded-for", "1.2.3.4", "1.2.3.5")},
		{optIn, always, v143.NetworkLocalAddress("10.1.2.80")},
		{optIn, always, v143.NetworkLocalPort(65123)},
		{optIn, always, v143.NetworkTransportTCP},
	}
}

// HTTP, v1.20.
func httpClientV120(e *exchange) []row {
	return []row{
		{required, always, v120.HTTPMethod(e.method)},
		{required, e.status > 0, v120.HTTPStatusCode(e.status)},
		{required, always, v120.HTTPURL(e.url())},
		{required, always, v120.NetPeerName(e.host)},
		// net.peer.port is required where it is not the scheme's own.
		{recommended, e.resend > 0, v120.HTTPResendCount(e.resend)},
		{recommended, always, v120.HTTPRequestContentLength(3495)},
		{recommended, e.status > 0, v120.HTTPResponseContentLength(3495)},
		{recommended, always, v120.NetSockPeerAddr("127.0.0.1")},
		{recommended, always, v120.NetSockPeerPort(16456)},
		{recommended, always, v120.NetProtocolName("http")},
		{recommended, always, v120.NetProtocolVersion("1.1")},
		{recommended, always, v120.UserAgentOriginal("CERN-LineMode/2.15 libwww/2.17b3")},
		{optIn, always, v120.NetPeerPort(443)},
		{optIn, always, v120.NetTransportTCP},
	}
}

func httpServerV120(e *exchange) []row {
	target := e.path
	if e.query != "" {
		target += "?" + e.query
	}
	return []row{
		{required, always, v120.HTTPMethod(e.method)},
		{required, e.status > 0, v120.HTTPStatusCode(e.status)},
		{required, always, v120.HTTPScheme("https")},
		{required, always, v120.HTTPTarget(target)},
		{required, e.route != "", v120.HTTPRoute(e.route)},
		{required, always, v120.NetHostName(e.host)},
		{recommended, always, v120.HTTPClientIP("83.164.160.102")},
		{recommended, always, v120.HTTPRequestContentLength(3495)},
		{recommended, always, v120.NetSockPeerAddr("127.0.0.1")},
		{recommended, always, v120.NetSockPeerPort(16456)},
		{recommended, always, v120.NetProtocolName("http")},
		{recommended, always, v120.NetProtocolVersion("1.1")},
		{recommended, always, v120.UserAgentOriginal(e.agent)},
		{optIn, always, v120.NetHostPort(443)},
	}
}

// both is what OTEL_SEMCONV_STABILITY_OPT_IN=http/dup gives.
func both(one, other func(*exchange) []row) func(*exchange) []row {
	return func(e *exchange) []row { return append(one(e), other(e)...) }
}

// gRPC, the present names.
func rpcClientPresent(e *exchange) []row {
	return []row{
		{required, always, v143.RPCSystemNameGRPC},
		{required, always, v143.RPCMethod(e.service + "/" + e.rpc)},
		{required, e.code != "", v143.RPCResponseStatusCode(e.code)},
		{required, always, v143.ServerAddress(e.host)},
		{required, always, v143.ServerPort(443)},
		{required, e.failed(true), v143.ErrorTypeKey.String(e.errorType())},
		{recommended, always, v143.NetworkPeerAddress("10.1.2.80")},
		{recommended, always, v143.NetworkPeerPort(65123)},
		{optIn, always, v143.NetworkProtocolName("http")},
		{optIn, always, v143.NetworkProtocolVersion("2")},
		{optIn, always, v143.NetworkTransportTCP},
		{optIn, always, v143.RPCRequestMetadata("my-custom-key", "1.2.3.4", "1.2.3.5")},
	}
}

func rpcServerPresent(e *exchange) []row {
	return []row{
		{required, always, v143.RPCSystemNameGRPC},
		{required, always, v143.RPCMethod(e.service + "/" + e.rpc)},
		{required, e.code != "", v143.RPCResponseStatusCode(e.code)},
		{required, e.failed(false), v143.ErrorTypeKey.String(e.errorType())},
		{recommended, always, v143.ServerAddress(e.host)},
		{recommended, always, v143.ServerPort(443)},
		{recommended, always, v143.ClientAddress("client.example.com")},
		{recommended, always, v143.ClientPort(65123)},
		{recommended, always, v143.NetworkPeerAddress("10.1.2.80")},
		{recommended, always, v143.NetworkPeerPort(65123)},
		{optIn, always, v143.NetworkTransportTCP},
	}
}

// gRPC, v1.37: the names of the network are new, those of the call are not.
func rpcClientV137(e *exchange) []row {
	return []row{
		{required, always, v137.RPCSystemGRPC},
		{required, e.code != "", v137.RPCGRPCStatusCodeKey.Int(codeNumber(e.code))},
		{required, always, v137.ServerAddress(e.host)},
		{required, always, v137.ServerPort(443)},
		{recommended, always, v137.RPCService(e.service)},
		{recommended, always, v137.RPCMethod(e.rpc)},
		{recommended, always, v137.NetworkPeerAddress("10.1.2.80")},
		{recommended, always, v137.NetworkPeerPort(65123)},
		{recommended, always, v137.NetworkTransportTCP},
		{recommended, always, v137.NetworkTypeIPv4},
	}
}

func rpcServerV137(e *exchange) []row {
	return append(rpcClientV137(e),
		row{recommended, always, v137.ClientAddress("client.example.com")},
		row{recommended, always, v137.ClientPort(65123)},
	)
}

// gRPC, v1.20.
func rpcClientV120(e *exchange) []row {
	return []row{
		{required, always, v120.RPCSystemGRPC},
		{required, e.code != "", v120.RPCGRPCStatusCodeKey.Int(codeNumber(e.code))},
		{required, always, v120.NetPeerName(e.host)},
		{required, always, v120.NetPeerPort(443)},
		{recommended, always, v120.RPCService(e.service)},
		{recommended, always, v120.RPCMethod(e.rpc)},
		{recommended, always, v120.NetSockPeerAddr("127.0.0.1")},
		{recommended, always, v120.NetSockPeerPort(16456)},
		{optIn, always, v120.NetTransportTCP},
	}
}

func rpcServerV120(e *exchange) []row {
	return []row{
		{required, always, v120.RPCSystemGRPC},
		{required, e.code != "", v120.RPCGRPCStatusCodeKey.Int(codeNumber(e.code))},
		{required, always, v120.NetHostName(e.host)},
		{required, always, v120.NetHostPort(443)},
		{recommended, always, v120.RPCService(e.service)},
		{recommended, always, v120.RPCMethod(e.rpc)},
		{recommended, always, v120.NetSockPeerAddr("127.0.0.1")},
		{recommended, always, v120.NetSockPeerPort(16456)},
	}
}

// otelgrpc is what Go's instrumentation v0.70 makes of it: server.address is the address of the connection, and not the
// server's name.
func otelgrpc() convention {
	c := conventions()[0]
	c.name = "Go's otelgrpc v0.70"
	c.rpcClient = func(e *exchange) []row {
		at := *e
		at.host = "10.1.2.80"
		return rpcClientPresent(&at)
	}
	return c
}

// grpcCodes are the status codes of gRPC in the order of their numbers (grpc/doc/statuscodes.md).
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

func codeNumber(name string) int {
	for number, code := range grpcCodes {
		if code == name {
			return number
		}
	}
	return 2 // UNKNOWN
}

// conventions are the generations that SDKs in use emit, each as sparing and as generous as it may be. Without
// rpc.service and rpc.method, which the older ones only recommend, nothing tells one gRPC service of a host from another.
func conventions() []convention {
	user, enduser := v143.UserID, v120.EnduserID
	return []convention{
		{"HTTP stable, RPC present, required", httpClientStable, httpServerStable, rpcClientPresent, rpcServerPresent, required, user, v143.SchemaURL},
		{"HTTP stable, RPC present, recommended", httpClientStable, httpServerStable, rpcClientPresent, rpcServerPresent, recommended, user, v143.SchemaURL},
		{"HTTP stable, RPC present, opt-in", httpClientStable, httpServerStable, rpcClientPresent, rpcServerPresent, optIn, user, v143.SchemaURL},
		{"HTTP stable, RPC v1.37, recommended", httpClientStable, httpServerStable, rpcClientV137, rpcServerV137, recommended, user, v137.SchemaURL},
		{"HTTP stable, RPC v1.20, recommended", httpClientStable, httpServerStable, rpcClientV120, rpcServerV120, recommended, enduser, ""},
		{"HTTP v1.20, RPC present, required", httpClientV120, httpServerV120, rpcClientPresent, rpcServerPresent, required, enduser, ""},
		{"HTTP v1.20, RPC v1.20, recommended", httpClientV120, httpServerV120, rpcClientV120, rpcServerV120, recommended, enduser, v120.SchemaURL},
		{"HTTP v1.20, RPC v1.20, opt-in", httpClientV120, httpServerV120, rpcClientV120, rpcServerV120, optIn, enduser, v120.SchemaURL},
		{"HTTP client stable, server v1.20", httpClientStable, httpServerV120, rpcClientV137, rpcServerV137, recommended, enduser, ""},
		{"both HTTP, both RPC", both(httpClientV120, httpClientStable), both(httpServerV120, httpServerStable),
			both(rpcClientV137, rpcClientPresent), both(rpcServerV137, rpcServerPresent), optIn, user, v143.SchemaURL},
	}
}

// write gives a span what one side of an exchange has to tell of it.
func (c *convention) write(span ptrace.Span, kind ptrace.SpanKind, e *exchange, start time.Time, took time.Duration) {
	atClient := kind == ptrace.SpanKindClient
	var rows []row
	switch {
	case e.method == "" && atClient:
		rows = c.rpcClient(e)
	case e.method == "":
		rows = c.rpcServer(e)
	case atClient:
		rows = c.httpClient(e)
	default:
		rows = c.httpServer(e)
	}
	span.SetKind(kind)
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(took)))
	switch {
	case e.method == "":
		span.SetName(e.service + "/" + e.rpc)
	case e.route != "" && !atClient:
		span.SetName(e.method + " " + e.route)
	default:
		span.SetName(e.method)
	}
	if e.failed(atClient) {
		span.Status().SetCode(ptrace.StatusCodeError)
	}
	if e.fault != "" && atClient {
		span.Status().SetMessage(e.faultMessage)
		event := span.Events().AppendEmpty()
		event.SetName("exception")
		event.SetTimestamp(span.EndTimestamp())
		event.Attributes().PutStr(string(v143.ExceptionTypeKey), e.fault)
		event.Attributes().PutStr(string(v143.ExceptionMessageKey), e.faultMessage)
	}
	for _, r := range rows {
		if r.when && r.level <= c.level {
			putAttribute(span.Attributes(), r.attribute)
		}
	}
}

func putAttribute(to pcommon.Map, kv attribute.KeyValue) {
	switch kv.Value.Type() {
	case attribute.INT64:
		to.PutInt(string(kv.Key), kv.Value.AsInt64())
	case attribute.STRINGSLICE:
		list := to.PutEmptySlice(string(kv.Key))
		for _, s := range kv.Value.AsStringSlice() {
			list.AppendEmpty().SetStr(s)
		}
	default:
		to.PutStr(string(kv.Key), kv.Value.AsString())
	}
}
