package faults

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

// unbuffered lets what the cloud says to a request be what the sender is told: no batch, no queue, no retry.
const unbuffered = `
exporters:
  otlp_http/grafana_cloud: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}, timeout: 60s}
`

// TestRefusedAtRandom: what is refused behind the Collector and sent again by a real exporter counts once.
func TestRefusedAtRandom(t *testing.T) {
	for _, tc := range []struct {
		name    string
		conduct []conduct // one of these, half of the time
		twice   bool      // some orders arrive twice
	}{
		{"503, 429, a reset or no answer", []conduct{unwilling, throttle, reset, hang}, false},
		// The cloud has the data twice. We count what we were told to be accepted.
		{"accepted, but the answer is lost", []conduct{loseAnswer}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cloud, shop := newCloud(t), newShop()
			cloud.behave(atRandom(tc.conduct))
			gateway := start(t, cloud, unbuffered, `{exporters: {otlp_http/grafana_cloud: {timeout: 500ms}}}`)
			sellThrough(t, shop, agentOf(t, gateway))
			require.NoError(t, gateway.Stop())
			agree(t, shop, cloud)
			if tc.twice {
				assert.Positive(t, cloud.twice)
			}
			for _, conduct := range tc.conduct {
				assert.Positive(t, cloud.conducts()[conduct], "%d", conduct)
			}
		})
	}
}

// TestOneOfTwoRefuses: behind a pipeline with two exporters a request is only taken when both have accepted it.
func TestOneOfTwoRefuses(t *testing.T) {
	t.Parallel()
	accepting, refusing, shop := newCloud(t), newCloud(t), newShop()
	refusing.behave(atRandom([]conduct{unwilling}))
	gateway := start(t, accepting, unbuffered, `
exporters:
  otlp_http/second: {timeout: 60s, endpoint: "`+refusing.URL+`", sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}
service:
  pipelines:
    traces: {exporters: [otlp_http/grafana_cloud, otlp_http/second]}
    logs: {exporters: [otlp_http/grafana_cloud, otlp_http/second]}
`)
	sellThrough(t, shop, agentOf(t, gateway))
	require.NoError(t, gateway.Stop())
	agree(t, shop, accepting)
	assert.Equal(t, shop.accepted(), refusing.arrived())
	assert.Positive(t, accepting.twice, "what the other refused came again")
	assert.Zero(t, refusing.twice)
}

// TestFull: when the queue to a cloud that takes nothing is full, senders are told, and nothing is dropped.
func TestFull(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	cloud.behave(telemetry(unwilling))
	collector := start(t, cloud, unbuffered, `
exporters:
  otlp_http/grafana_cloud:
    sending_queue: {enabled: true, sizer: requests, queue_size: 3, num_consumers: 1, batch: null}
    retry_on_failure: {enabled: true, initial_interval: 20ms, max_interval: 100ms, max_elapsed_time: 0}
`)
	var senders sync.WaitGroup
	for _, signal := range []string{"traces", "logs"} {
		for range 10 {
			senders.Go(func() {
				assert.NoError(t, shop.tellUntilTaken(t.Context(), signal, collector, shop.take(3)))
			})
		}
	}
	// Three requests of each signal wait, one of them with the exporter.
	require.Eventually(t, func() bool { return shop.total() == 2*3*3 && shop.refusals()[503] > 50 }, patience, often)
	assert.Equal(t, codes.Unavailable, status.Code(byGRPC(t, collector, shop.take(1))), "by gRPC")
	assert.Empty(t, cloud.arrived())

	cloud.behave(always(accept))
	senders.Wait()
	require.NoError(t, collector.Stop())
	assert.Equal(t, 2*10*3, shop.total())
	agree(t, shop, cloud)
	assert.Zero(t, cloud.twice)
}

// TestBatchDrops: with the batch processor in the pipeline senders are not told that the queue is full. The processor has
// accepted what they sent, so it counts, and drops what the queue refuses.
func TestBatchDrops(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	cloud.behave(telemetry(unwilling))
	collector := start(t, cloud, `
exporters:
  otlp_http/grafana_cloud:
    sending_queue: {sizer: requests, queue_size: 3, num_consumers: 1, batch: null}
    retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}
processors: {batch: {send_batch_size: 1}}
service: {pipelines: {traces: {processors: [memory_limiter, vendor_failure, batch]}}}
`)
	for range 50 {
		require.NoError(t, shop.tell(t.Context(), "traces", collector, shop.take(4)))
	}
	require.Eventually(t, func() bool {
		samples, err := collector.Scrape(t.Context())
		return err == nil && slices.ContainsFunc(samples, func(s builtcollector.Sample) bool {
			return s.Name == "otelcol_exporter_enqueue_failed_spans_total" && s.Value > 0
		})
	}, patience, often, "the queue refuses")
	cloud.behave(always(accept))
	require.NoError(t, collector.Stop())
	assert.Equal(t, shop.accepted(), cloud.counted())
	assert.Less(t, sum(cloud.arrived()), sum(shop.accepted()))
}

// TestThrottledByGRPC: a 429 from the cloud reaches a gRPC sender as RESOURCE_EXHAUSTED without RetryInfo, which OTLP
// clients take as final: they drop what they sent. It is not counted. A queue before the cloud spares senders that.
func TestThrottledByGRPC(t *testing.T) {
	t.Parallel()
	cloud, shop := newCloud(t), newShop()
	cloud.behave(telemetry(throttle))
	collector := start(t, cloud, unbuffered)
	answer := status.Convert(byGRPC(t, collector, shop.take(4)))
	assert.Equal(t, codes.ResourceExhausted, answer.Code())
	assert.Empty(t, answer.Details())
	require.NoError(t, collector.Stop())
	assert.Equal(t, 1, cloud.instances(), "it did push its metrics")
	agree(t, shop, cloud) // on nothing
}

// atRandom does one of these with half of the requests and accepts the others, and all metrics.
func atRandom(these []conduct) func(string) conduct {
	return func(path string) conduct {
		if isMetrics(path) || rand.IntN(2) == 0 {
			return accept
		}
		do := these[rand.IntN(len(these))]
		if do == throttle && strings.HasSuffix(path, "/v1/traces") {
			return unwilling // the agent's spans come by gRPC: see TestThrottledByGRPC
		}
		return do
	}
}

// telemetry does this with spans and records, and accepts metrics.
func telemetry(do conduct) func(string) conduct {
	return func(path string) conduct {
		if isMetrics(path) {
			return accept
		}
		return do
	}
}

// metrics does this with metrics, and accepts spans and records.
func metrics(do conduct) func(string) conduct {
	return func(path string) conduct {
		if isMetrics(path) {
			return do
		}
		return accept
	}
}

func isMetrics(path string) bool { return strings.HasSuffix(path, "/v1/metrics") }

// agentOf starts a Collector that hands on to another.
func agentOf(t *testing.T, gateway *builtcollector.Collector) *builtcollector.Collector {
	t.Helper()
	return startWith(t, "faults/testdata/agent.yaml", []string{
		"GATEWAY_HTTP=" + gateway.OTLP,
		"GATEWAY_GRPC=" + strings.TrimPrefix(gateway.OTLPGRPC, "http://"),
	})
}

// sellThrough tells an agent of some hundred orders and returns when it has handed on all of them.
func sellThrough(t *testing.T, shop *shop, agent *builtcollector.Collector) {
	t.Helper()
	for n := range 50 {
		require.NoError(t, shop.tell(t.Context(), "traces", agent, shop.take(1+n%7)))
		require.NoError(t, shop.tell(t.Context(), "logs", agent, shop.take(1+n%7)))
	}
	require.Eventually(t, func() bool {
		in, out := through(t, agent)
		return in > 0 && in == out
	}, patience, often, "all is handed on")
	require.NoError(t, agent.Stop())
}

// through is how many spans and records a Collector has taken, and how many of them it has handed on.
func through(t testing.TB, collector *builtcollector.Collector) (in, out float64) {
	t.Helper()
	samples, err := collector.Scrape(t.Context())
	require.NoError(t, err)
	for _, sample := range samples {
		switch strings.TrimSuffix(sample.Name, "_total") {
		case "otelcol_receiver_accepted_spans", "otelcol_receiver_accepted_log_records":
			in += sample.Value
		case "otelcol_exporter_sent_spans", "otelcol_exporter_sent_log_records":
			out += sample.Value
		}
	}
	return in, out
}

// byGRPC sends one request about some orders and returns what the Collector answers.
func byGRPC(t *testing.T, to *builtcollector.Collector, orders []int) error {
	t.Helper()
	connection, err := grpc.NewClient(strings.TrimPrefix(to.OTLPGRPC, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	request := ptraceotlp.NewExportRequest()
	require.NoError(t, request.UnmarshalProto(spans(orders, "")))
	_, err = ptraceotlp.NewGRPCClient(connection).Export(t.Context(), request)
	return err
}
