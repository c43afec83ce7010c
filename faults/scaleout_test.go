package faults

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/monitoring"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
	"github.com/jwtpizza/otelcol-vendorfailure/internal/recording"
)

// tiers is examples/scale-out on this machine: agents before three gateways.
type tiers struct {
	cloud    *cloud
	config   string // of the gateways
	changes  []string
	ports    []string // where the gateways take OTLP by gRPC
	storage  []string
	gateways []*builtcollector.Collector
	agents   []*builtcollector.Collector
}

// newTiers starts three gateways, with changes laid over their configuration, and two agents.
func newTiers(t testing.TB, config string, to *cloud, changes ...string) *tiers {
	x := &tiers{cloud: to, config: config, changes: changes}
	for n := range 3 {
		address, err := process.FreeAddress()
		require.NoError(t, err)
		x.ports = append(x.ports, address[strings.LastIndex(address, ":")+1:])
		x.storage = append(x.storage, t.TempDir())
		x.gateways = append(x.gateways, x.gateway(t, n))
	}
	for range 2 {
		x.agents = append(x.agents, x.agent(t))
	}
	return x
}

// agent starts an agent, with changes laid over its configuration.
func (x *tiers) agent(t testing.TB, changes ...string) *builtcollector.Collector {
	t.Helper()
	var gateways []string
	for n, port := range x.ports {
		gateways = append(gateways, fmt.Sprintf("GATEWAY_%d=127.0.0.1:%s", n+1, port))
	}
	return startWith(t, "examples/scale-out/agent.yaml", gateways, changes...)
}

// gateway starts the nth gateway, or its successor.
func (x *tiers) gateway(t testing.TB, n int) *builtcollector.Collector {
	t.Helper()
	return startWith(t, x.config, append(x.cloud.environment(), "OTLP_GRPC_PORT="+x.ports[n], "GATEWAY_STORAGE="+x.storage[n]), x.changes...)
}

// settled waits until the agents have handed on all that they have taken.
func (x *tiers) settled(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var given, taken float64
		for _, agent := range x.agents {
			in, _ := through(t, agent)
			given += in
		}
		for _, gateway := range x.gateways {
			in, _ := through(t, gateway)
			taken += in
		}
		return given > 0 && taken == given
	}, patience, often, "all is handed on")
}

func (x *tiers) stop(t testing.TB) {
	t.Helper()
	for _, collector := range append(x.agents, x.gateways...) {
		require.NoError(t, collector.Stop())
	}
}

// front stands before the agents as what distributes requests does, and as services do whose spans come from different
// hosts: the spans of calls go to one agent and those of orders to the other, and lines in turn to either.
func (x *tiers) front(t *testing.T) *builtcollector.Collector {
	var turn atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/traces", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var fromJSON ptrace.JSONUnmarshaler // recordings
		decode := fromJSON.UnmarshalTraces
		if r.Header.Get("Content-Type") != "application/json" {
			var fromProto ptrace.ProtoUnmarshaler
			decode = fromProto.UnmarshalTraces
		}
		calls, err := decode(body)
		if !assert.NoError(t, err) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		others := ptrace.NewTraces()
		calls.CopyTo(others)
		keep(calls, func(span ptrace.Span) bool { return span.Kind() == ptrace.SpanKindClient })
		keep(others, func(span ptrace.Span) bool { return span.Kind() != ptrace.SpanKindClient })
		for n, td := range []ptrace.Traces{calls, others} {
			var marshaler ptrace.ProtoMarshaler
			body, err := marshaler.MarshalTraces(td)
			assert.NoError(t, err)
			response, err := http.Post(x.agents[n].OTLP+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
			if assert.NoError(t, err) {
				assert.NoError(t, response.Body.Close())
				assert.Equal(t, http.StatusOK, response.StatusCode)
			}
		}
	})
	mux.HandleFunc("/loki/", func(w http.ResponseWriter, r *http.Request) {
		to := x.agents[turn.Add(1)%2].Loki
		response, err := http.Post(to+r.URL.Path, r.Header.Get("Content-Type"), r.Body)
		if assert.NoError(t, err) {
			assert.NoError(t, response.Body.Close())
			assert.Equal(t, http.StatusNoContent, response.StatusCode)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &builtcollector.Collector{OTLP: server.URL, Loki: server.URL, Process: x.agents[0].Process}
}

func keep(td ptrace.Traces, these func(ptrace.Span) bool) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			ss.Spans().RemoveIf(func(span ptrace.Span) bool { return !these(span) })
		}
	}
}

// TestScaleOut: the recorded incident through agents and three gateways, which push to a real Prometheus. What the
// gateways counted adds up to what the recording's driver saw, in either signal.
func TestScaleOut(t *testing.T) {
	t.Parallel()
	prometheus, err := monitoring.StartPrometheus(t.Context(), root, t.TempDir(), monitoring.PrometheusConfig{})
	require.NoError(t, err)
	defer prometheus.Kill()
	config, err := prometheus.PushFrom("../examples/scale-out/gateway.yaml", t.TempDir(), time.Second)
	require.NoError(t, err)
	x := newTiers(t, config, newCloud(t), vendorsOf(t, "examples/demo.yaml"))

	recorded, err := recording.Open("../testdata/incident")
	require.NoError(t, err)
	var replay builtcollector.Replay
	require.NoError(t, replay.Run(t.Context(), recorded, x.front(t)))
	x.settled(t)
	x.stop(t)

	truth := recorded.Truth
	want := map[string]float64{
		"success":        float64(truth.Orders - truth.Failed),
		"vendor_failure": float64(truth.Failed),
		"rejected":       float64(truth.OtherRequests["unauthOrder"]["401"]),
	}
	for _, signal := range []string{"traces", "logs"} {
		assert.Equal(t, want, ask(t, prometheus, "vendor_outcome", fmt.Sprintf(
			`sum by (vendor_outcome) (vendor_orders_total{vendor_signal=%q}) > 0`, signal)), signal)
		assert.Len(t, ask(t, prometheus, "instance", fmt.Sprintf(
			`sum by (instance) (vendor_orders_total{vendor_signal=%q}) > 0`, signal)), 3, "each gateway had its part of the %s", signal)
	}
	assert.Equal(t, want, ask(t, prometheus, "vendor_outcome",
		`max without (vendor_signal) (sum by (vendor_outcome, vendor_signal) (vendor_orders_total)) > 0`), "as dashboards ask")
	// Each gateway judges by its share of the traffic: the incident is an outage at each of them, and one.
	assert.Equal(t, map[string]float64{"pizza-factory": 1}, ask(t, prometheus, "vendor_name",
		`max by (vendor_name) (sum by (vendor_name, instance) (vendor_outages_total))`))
}

// TestTraceMeets: a call and its order that were sent to different agents meet at one gateway. The order by itself shows
// no sign of the vendor.
func TestTraceMeets(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	x := newTiers(t, "examples/scale-out/gateway.yaml", cloud, toShop)
	front := x.front(t)
	for range 50 {
		require.NoError(t, shop.tell(t.Context(), "traces", front, shop.take(4)))
	}
	x.settled(t)
	x.stop(t)
	assert.Equal(t, map[string]int{
		"traces success": 50, "traces vendor_failure": 50, "traces own_failure": 50, "traces rejected": 50,
	}, cloud.counted())
	assert.Equal(t, 3, cloud.instances())
	for instance := range cloud.pushed {
		assert.NotEmpty(t, cloud.counted(instance), "each gateway had its part")
	}
}

// TestLarge: a request of many megabytes goes through agents and gateways whole, though it is more than servers take by
// gRPC unless told otherwise, and reaches Grafana Cloud in requests that are not.
func TestLarge(t *testing.T) {
	for _, tc := range []struct {
		signal  string
		orders  int
		padding int
	}{
		{"traces", 6000, 2 << 10}, // 9,000 spans
		{"logs", 4000, 4 << 10},
	} {
		t.Run(tc.signal, func(t *testing.T) {
			t.Parallel()
			cloud, shop := newCloud(t), newShop()
			shop.padding = strings.Repeat("x", tc.padding)
			x := newTiers(t, "examples/scale-out/gateway.yaml", cloud, toShop)
			require.NoError(t, shop.tell(t.Context(), tc.signal, x.agents[0], shop.take(tc.orders)))
			x.settled(t)
			x.stop(t)
			agree(t, shop, cloud)
			assert.Less(t, cloud.largest, 4<<20)
		})
	}
}

// TestGatewayAway: while one of three gateways is away, an agent keeps its part until it has no room for more. It then
// refuses whole requests: nothing that another gateway had taken already is repeated to it. When the gateway is back,
// senders that repeat what was refused get everything through, once.
func TestGatewayAway(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	shop.padding = strings.Repeat("x", 4<<10)
	x := newTiers(t, "examples/scale-out/gateway.yaml", cloud, toShop)
	// Room for little, lest the test take long. What holds for it holds for the shipped limit, if that is reached first.
	shipped := settings(t, "examples/scale-out/agent.yaml")
	queue := "exporters::load_balancing::protocol::otlp::sending_queue::"
	require.Equal(t, "bytes", shipped.Get(queue+"sizer"))
	require.GreaterOrEqual(t, shipped.Get(queue+"queue_size"), shipped.Get("processors::memory_limiter::limit_mib").(int)<<20)
	x.agents = append(x.agents, x.agent(t, "{processors: {memory_limiter: {limit_mib: 96, spike_limit_mib: 32}}}"))
	agent := x.agents[2]
	require.NoError(t, x.gateways[1].Stop())
	var refused []func() error
	for n := 0; len(refused) < 20; n++ {
		require.Less(t, n, 10000, "it is full at last")
		signal, orders := []string{"traces", "logs"}[n%2], shop.take(100)
		if shop.tell(t.Context(), signal, agent, orders) != nil {
			refused = append(refused, func() error { return shop.tellUntilTaken(t.Context(), signal, agent, orders) })
		}
	}
	kept := shop.total()
	assert.Equal(t, []int{http.StatusServiceUnavailable}, slices.Collect(maps.Keys(shop.refusals())))

	x.gateways[1] = x.gateway(t, 1)
	for _, again := range refused {
		require.NoError(t, again())
	}
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(shop.accepted(), cloud.arrived()) }, patience, often, "all of it arrives")
	x.stop(t)
	agree(t, shop, cloud)
	assert.Zero(t, cloud.twice)
	t.Logf("%d orders taken until the agent was full, %d in all", kept, shop.total())
}

// TestTooLarge: a span that fills a request of its own, as large as agents take it, reaches its gateway and is counted. It
// is more than one request to Grafana Cloud may hold: it ends there.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	x := newTiers(t, "examples/scale-out/gateway.yaml", cloud, toShop)
	own := shop.take(3)[2:] // one span
	shop.padding = strings.Repeat("x", 19<<20)
	require.NoError(t, shop.tell(t.Context(), "traces", x.agents[0], own))
	x.settled(t)
	x.stop(t)
	assert.Equal(t, map[string]int{"traces own_failure": 1}, cloud.counted())
	assert.Empty(t, cloud.arrived())
}

// TestRecordsOfATrace: records with a trace id are spread by it, but by another hash than spans. So the record of a call
// meets the span of its order by chance, one time in three here, and each signal is judged by its own evidence.
func TestRecordsOfATrace(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	x := newTiers(t, "examples/scale-out/gateway.yaml", cloud, toShop)
	const failed = 100
	ld := plog.NewLogs()
	var own []int // orders whose spans show no sign of a vendor
	for _, order := range shop.take(failed * len(outcomes)) {
		if outcome(order) == "own_failure" {
			own = append(own, order)
			record := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			record.SetTraceID(traceID(order))
			record.Attributes().PutStr("type", "factory")
			record.Body().SetStr(`{"statusCode":500}`)
		}
	}
	var marshaler plog.ProtoMarshaler
	body, err := marshaler.MarshalLogs(ld)
	require.NoError(t, err)
	response, err := http.Post(x.agents[0].OTLP+"/v1/logs", "application/x-protobuf", bytes.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, shop.tell(t.Context(), "traces", x.agents[1], own))
	x.settled(t)
	x.stop(t)
	counted := cloud.counted()
	assert.Equal(t, failed, counted["traces vendor_failure"]+counted["traces own_failure"])
	assert.Positive(t, counted["traces vendor_failure"], "met by chance")
	assert.Positive(t, counted["traces own_failure"], "did not meet")
	t.Logf("%v", counted)
}

// TestGatewayReplaced: one of three gateways is killed, agents go on sending, and another with the same disk takes its
// place. All that was taken arrives. Of the counts, those are lost which the dead one had not pushed yet, and no others.
func TestGatewayReplaced(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	x := newTiers(t, "examples/scale-out/gateway.yaml", cloud, toShop, "{processors: {vendor_failure: {settle: 100ms}}}")
	sell := func(requests int) {
		for n := range requests {
			agent := x.agents[n%2]
			require.NoError(t, shop.tell(t.Context(), "traces", agent, shop.take(8)))
			require.NoError(t, shop.tell(t.Context(), "logs", agent, shop.take(8)))
		}
	}

	sell(20)
	x.settled(t)
	require.Eventually(t, func() bool {
		return assert.ObjectsAreEqual(shop.accepted(), cloud.counted())
	}, patience, often, "all of it is pushed")

	// From here on no push arrives until the gateway is dead: what it takes now is what dies with it.
	cloud.behave(metrics(unwilling))
	sell(20)
	require.Eventually(t, func() bool {
		return assert.ObjectsAreEqual(shop.accepted(), orders(t, x.gateways...))
	}, patience, often, "all of it is counted")
	dead := x.gateways[1]
	unpushed := orders(t, dead)
	for name, value := range cloud.counted(instanceOf(t, dead)) {
		unpushed[name] -= value
	}
	dead.Kill()
	cloud.behave(always(accept))
	sell(20) // the agents keep its part
	x.gateways[1] = x.gateway(t, 1)
	sell(20)

	require.Eventually(t, func() bool {
		return assert.ObjectsAreEqual(shop.accepted(), cloud.arrived())
	}, patience, often, "all of it arrives")
	x.stop(t)
	want := shop.accepted()
	for name, value := range unpushed {
		want[name] -= value
	}
	assert.Equal(t, want, cloud.counted())
	t.Logf("of %v there died unpushed %v; %d arrived twice", shop.accepted(), unpushed, cloud.twice)
}

// vendorsOf lays the vendors of one of the examples over another.
func vendorsOf(t testing.TB, config string) string {
	t.Helper()
	conf := settings(t, config)
	return marshal(map[string]any{"processors": map[string]any{"vendor_failure": map[string]any{
		"vendors": conf.Get("processors::vendor_failure::vendors"),
		"outage":  conf.Get("processors::vendor_failure::outage"),
	}}})
}

// settings are those of one of the repository's configurations.
func settings(t testing.TB, config string) *confmap.Conf {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, config))
	require.NoError(t, err)
	retrieved, err := confmap.NewRetrievedFromYAML(text)
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return conf
}

// ask gives the values that a Prometheus finds, by one of their labels.
func ask(t *testing.T, prometheus *monitoring.Prometheus, by, expression string) map[string]float64 {
	t.Helper()
	series, err := prometheus.Query(t.Context(), expression)
	require.NoError(t, err, expression)
	values := map[string]float64{}
	for _, one := range series {
		values[one.Labels[by]] = one.Points[len(one.Points)-1].Value
	}
	return values
}

// orders is what running Collectors have counted, by signal and outcome.
func orders(t *testing.T, collectors ...*builtcollector.Collector) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, collector := range collectors {
		samples, err := collector.Scrape(t.Context())
		require.NoError(t, err)
		for _, sample := range samples {
			if sample.Name == "vendor_orders_total" && sample.Value > 0 {
				counts[sample.Labels["vendor_signal"]+" "+sample.Labels["vendor_outcome"]] += int(sample.Value)
			}
		}
	}
	return counts
}

// instanceOf is a running Collector's service.instance.id.
func instanceOf(t *testing.T, collector *builtcollector.Collector) string {
	t.Helper()
	samples, err := collector.Scrape(t.Context())
	require.NoError(t, err)
	for _, sample := range samples {
		if id := sample.Labels["service_instance_id"]; id != "" {
			return id
		}
	}
	require.Fail(t, "no metric tells the service.instance.id")
	return ""
}
