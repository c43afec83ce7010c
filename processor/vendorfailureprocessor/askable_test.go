package vendorfailureprocessor

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// nest returns JSON of so many levels.
func nest(levels int) string {
	return strings.Repeat(`{"a":`, levels-1) + "[]" + strings.Repeat("}", levels-1)
}

// nestValue returns a value of so many levels.
func nestValue(levels int) any {
	var v any = []any{}
	for n := range levels - 1 {
		if n%2 == 0 {
			v = map[string]any{"a": v}
		} else {
			v = []any{v}
		}
	}
	return v
}

// nestIn returns an empty map or list within so many others of its kind.
func nestIn(levels int, wrap func(any) any) any {
	v := wrap(nil)
	for range levels - 1 {
		v = wrap(v)
	}
	return v
}

func inMap(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return map[string]any{"a": v}
}

func inList(v any) any {
	if v == nil {
		return []any{}
	}
	return []any{v}
}

// escaped returns a text of ASCII with each character as a JSON escape.
func escaped(text string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteString(`\u00` + string(digits[c>>4]) + string(digits[c&15]))
	}
	return b.String()
}

// TestAskable: of what nests too deep or has too many values no condition is asked, wherever it stands and however often
// it is encoded.
func TestAskable(t *testing.T) {
	again := func(text string, times int) string {
		for range times {
			text = quoted(text)
		}
		return text
	}
	for _, tc := range []struct {
		name string
		body any
		want bool
	}{
		{"nothing", nil, true},
		{"a number", 7, true},
		{"text", "fetch failed", true},
		{"a megabyte of text", strings.Repeat("x", 1<<20), true},
		{"levels", nest(maxAskedLevels), true},
		{"a level more", nest(maxAskedLevels + 1), false},
		{"cut off", strings.Repeat("[", maxAskedLevels+1), false},
		{"behind brackets that close nothing", strings.Repeat("]", maxAskedLevels) + nest(maxAskedLevels+1), false},
		{"behind brackets in strings", strings.Repeat(`{"]}":`, maxAskedLevels+1), false},
		{"behind quotes in strings", strings.Repeat(`{"\"]":`, maxAskedLevels+1), false},
		{"side by side", "[" + strings.Repeat(nest(maxAskedLevels-1)+",", 50) + "1]", true},
		{"brackets in strings", `["` + strings.Repeat(`[\"`, maxAskedLevels/2) + `","` + strings.Repeat(`[`, maxAskedLevels/2+1) + `"]`, true},
		{"strings in lists side by side", "[" + strings.Repeat(`["x"],`, maxAskedLevels+1) + "1]", true},
		{"cut off after a backslash", `["` + strings.Repeat("[", maxAskedLevels+1) + `\`, false},
		{"cut off in an escape", `["` + strings.Repeat("[", maxAskedLevels+1) + `\u005`, false},
		{"encoded", again(nest(maxAskedLevels), 1), true},
		{"encoded, a level more", again(nest(maxAskedLevels+1), 1), false},
		{"encoded four times", again(nest(maxAskedLevels), 4), true},
		{"encoded four times, a level more", again(nest(maxAskedLevels+1), 4), false},
		{"encoded in a member", `{"reqBody":` + again(nest(maxAskedLevels+1), 2) + `}`, false},
		{"in a member's name", `{` + again(nest(maxAskedLevels+1), 1) + `:1}`, false},
		{"behind a line break", "[\"\n" + strings.ReplaceAll(nest(maxAskedLevels+1), `"`, `\"`) + `"]`, false},
		{"behind an escape that is none", `["\x` + strings.ReplaceAll(nest(maxAskedLevels+1), `"`, `\"`) + `"]`, false},
		{"all escaped", `["` + escaped(nest(maxAskedLevels)) + `"]`, true},
		{"all escaped, a level more", `["` + escaped(nest(maxAskedLevels+1)) + `"]`, false},
		{"escaped twice", `["` + escaped(`"`+escaped(nest(maxAskedLevels+1))+`"`) + `"]`, false},
		{"encoded beyond reason", again(strings.Repeat("[]", maxAskedLevels+1), maxUnwrap+1), false},
		{"values", "[" + strings.Repeat("1,", maxAskedValues-3) + "1]", true},
		{"more values", "[" + strings.Repeat("1,", maxAskedValues) + "1]", false},
		{"more objects", strings.Repeat("{}", maxAskedValues), false},
		{"more escapes", `["` + strings.Repeat(`\u002c`, maxAskedValues) + `"]`, false},
		{"bytes", []byte(nest(maxAskedLevels)), true},
		{"bytes, a level more", []byte(nest(maxAskedLevels + 1)), false},
		{"a map", nestValue(maxAskedLevels), true},
		{"a map, a level more", nestValue(maxAskedLevels + 1), false},
		{"maps", nestIn(maxAskedLevels, inMap), true},
		{"maps, a level more", nestIn(maxAskedLevels+1, inMap), false},
		{"lists in lists", nestIn(maxAskedLevels, inList), true},
		{"lists in lists, a level more", nestIn(maxAskedLevels+1, inList), false},
		{"a map, a level more behind another", map[string]any{"a": "", "b": nestValue(maxAskedLevels)}, false},
		{"text in a map", map[string]any{"a": []any{nest(maxAskedLevels + 1)}}, false},
		{"a list", make([]any, maxAskedValues-1), true},
		{"a longer list", make([]any, maxAskedValues), false},
		{"lists", []any{make([]any, maxAskedValues/2), make([]any, maxAskedValues/2)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ld := plog.NewLogs()
			x := asked{signal: logs, record: addRecord(ld, tc.body)}
			x.resourceLogs = ld.ResourceLogs().At(0)
			x.scopeLogs = x.resourceLogs.ScopeLogs().At(0)
			assert.Equal(t, tc.want, x.isAskable(), "a body")

			td := ptrace.NewTraces()
			y := asked{signal: traces, span: addSpan(td, 1, client, nil)}
			y.resourceSpans = td.ResourceSpans().At(0)
			y.scopeSpans = y.resourceSpans.ScopeSpans().At(0)
			require.NoError(t, y.span.Attributes().PutEmpty("a").FromRaw(tc.body))
			assert.Equal(t, tc.want, y.isAskable(), "an attribute")
		})
	}
}

// TestAskableEverywhere: all that OTTL's paths lead to is looked at.
func TestAskableEverywhere(t *testing.T) {
	deep := nest(maxAskedLevels + 1)
	line := func(ld plog.Logs) plog.LogRecord {
		return addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"resBody":"{}"}`, "type", "http")
	}
	for name, put := range map[string]func(ptrace.Traces, plog.Logs){
		"attribute": func(td ptrace.Traces, ld plog.Logs) {
			td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutStr("a", deep)
			ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr("a", deep)
		},
		"scope": func(td ptrace.Traces, ld plog.Logs) {
			td.ResourceSpans().At(0).ScopeSpans().At(0).Scope().Attributes().PutStr("a", deep)
			ld.ResourceLogs().At(0).ScopeLogs().At(0).Scope().Attributes().PutStr("a", deep)
		},
		"resource": func(td ptrace.Traces, ld plog.Logs) {
			td.ResourceSpans().At(0).Resource().Attributes().PutStr("a", deep)
			ld.ResourceLogs().At(0).Resource().Attributes().PutStr("a", deep)
		},
		"name": func(td ptrace.Traces, ld plog.Logs) {
			td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetName(deep)
			ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutEmptySlice("a").AppendEmpty().SetStr(deep)
		},
		"status": func(td ptrace.Traces, ld plog.Logs) {
			td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Status().SetMessage(deep)
			ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutEmptyBytes("a").FromRaw([]byte(deep))
		},
		"event and link": func(td ptrace.Traces, ld plog.Logs) {
			span := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
			span.Events().AppendEmpty().Attributes().PutStr("a", deep)
			ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutEmptyMap("a").PutStr("a", deep)
		},
		"link": func(td ptrace.Traces, ld plog.Logs) {
			td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Links().AppendEmpty().Attributes().PutStr("a", deep)
			ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr("b", deep)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.Orders[0].Conditions = []string{"true"}
			h := start(t, cfg)
			td, ld := ptrace.NewTraces(), plog.NewLogs()
			addSpan(td, 1, server, orderSpan(500))
			line(ld)
			put(td, ld)
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			td, ld = ptrace.NewTraces(), plog.NewLogs()
			addSpan(td, 1, server, orderSpan(500))
			line(ld)
			require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			assert.Equal(t, map[string]int{"traces": 1, "logs": 1}, h.counts(t, "vendor.orders", "vendor.signal"), "that of which it can be asked")
		})
	}
}

// TestUnasked: a condition that is not asked is told and counted as one that cannot be evaluated, and is asked of the next.
func TestUnasked(t *testing.T) {
	const key = "super-secret-key"
	for _, tc := range []struct {
		mode           string
		lines, refused int
	}{
		{"ignore", 1, 0},
		{"silent", 0, 0},
		{"propagate", 0, 2},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			cfg := pizzaConfig()
			cfg.ErrorMode = tc.mode
			cfg.Orders[0].Conditions = []string{`not IsMatch(log.body, "sushi")`}
			h := start(t, cfg)
			refused := 0
			for range 2 {
				ld := plog.NewLogs()
				for _, request := range []any{nestValue(20_000), nestValue(1), key} {
					addRecord(ld, map[string]any{"path": "/api/order", "method": "POST", "statusCode": 500, "reqBody": request, "resBody": key}, "type", "http")
				}
				if err := h.logs.ConsumeLogs(context.Background(), ld); err != nil {
					refused++
					assert.True(t, consumererror.IsPermanent(err))
					assert.EqualError(t, err, `Permanent error: the condition "not IsMatch(log.body, \"sushi\")" is asked of nothing that nests deeper than 100 levels or has more than 10000 values and error_mode is propagate; let the service log less, or write error_mode: ignore`)
				}
			}
			h.shutdown(t)
			assert.Equal(t, tc.refused, refused)
			assert.Len(t, h.lines.AllLogs(), 2-refused)
			assert.Equal(t, 2*(2-refused), h.counts(t, "vendor.orders")[""])
			assert.Len(t, h.said("is asked of nothing that nests deeper than 100 levels or has more than 10000 values and is taken as false"), tc.lines)
			for _, e := range h.log.All() {
				assert.NotContains(t, e.Message, key)
				for _, v := range e.ContextMap() {
					assert.NotContains(t, v, key)
				}
			}
			assert.GreaterOrEqual(t, h.counts(t, "otelcol_processor_vendor_failure_condition_errors")[""], 2)
		})
	}
}

// shipped are the vendor_failure of all examples, by their files.
func shipped(t testing.TB) map[string]*Config {
	examples := filepath.Join("..", "..", "examples")
	found := map[string]*Config{}
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(examples, pattern))
		require.NoError(t, err)
		for _, file := range files {
			name, err := filepath.Rel(examples, file)
			require.NoError(t, err)
			if cfg := exampleConfig(t, name); len(cfg.Vendors) > 0 {
				found[filepath.ToSlash(name)] = cfg
			}
		}
	}
	require.Subset(t, names(found), []string{"demo.yaml", "grafana-cloud.yaml", "jwt-pizza.yaml", "loggers/course-logger.yaml", "scale-out/gateway.yaml"})
	return found
}

func names(of map[string]*Config) (all []string) {
	for name := range of {
		all = append(all, name)
	}
	return all
}

// TestShippedSurviveNesting: under the rules of each example, lines that OTTL would take minutes for leave as they came,
// and are orders that the vendor broke.
func TestShippedSurviveNesting(t *testing.T) {
	for name, cfg := range shipped(t) {
		t.Run(name, func(t *testing.T) {
			h := start(t, cfg)
			ld := plog.NewLogs()
			for _, request := range []string{strings.Repeat(`{"a":`, 50_000), nest(50_000), `{"items":[` + strings.Repeat(nest(9_900)+",", 5) + "1]}", `"` + escaped(nest(9_900)) + `"`} {
				for _, kind := range []string{"http", "http-req", "factory"} {
					addRecord(ld, `{"path":"/api/order","method":"POST","statusCode":500,"reqBody":`+request+`,"resBody":"`+failedBody+`"}`, "type", kind)
				}
			}
			addRecord(ld, map[string]any{"path": "/api/order", "method": "POST", "statusCode": 500, "reqBody": nestValue(20_000), "resBody": "Failed to fulfill order at factory"}, "type", "http")
			want := plog.NewLogs()
			ld.CopyTo(want)
			require.NoError(t, h.logs.ConsumeLogs(context.Background(), ld))
			h.shutdown(t)
			eachRecord(ld, func(r plog.LogRecord) {
				for _, tag := range []string{tagVendor, tagReason, tagChaos} {
					r.Attributes().Remove(tag)
				}
			})
			assert.True(t, string(marshalLogs(t, want)) == string(marshalLogs(t, ld)), "they leave as they came")
			asks := slices.ContainsFunc(cfg.Vendors[0].Responses, func(r ResponseConfig) bool { return len(r.Conditions) > 0 })
			assert.Equal(t, asks, h.counts(t, "otelcol_processor_vendor_failure_condition_errors")[""] > 0)
		})
	}
}
