package vendorfailureprocessor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/ottlfuncs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
)

// conditions are OTTL conditions beside a structured match, for what it cannot say. All must hold. Each is asked of the
// signals that its paths speak of: with `span.` of spans, with `log.` of log records, without either of both.
type conditions struct {
	spans   []*ottl.Condition[*ottlspan.TransformContext]
	records []*ottl.Condition[*ottllog.TransformContext]
	all     [signalCount]bool // every condition can be asked of this signal
	failed  *conditionErrors
}

// asked is the span or record that conditions are asked of.
type asked struct {
	signal        signal
	resourceSpans ptrace.ResourceSpans
	scopeSpans    ptrace.ScopeSpans
	span          ptrace.Span
	resourceLogs  plog.ResourceLogs
	scopeLogs     plog.ScopeLogs
	record        plog.LogRecord

	elsewhere elsewhere // where requests went that went to no vendor
	// token is the last that was found well-formed: the line of an order repeats what that of its call holds.
	token []byte
	// text is what was unescaped of the line's body. Nothing of it may be kept beyond the line.
	text []byte
	fits askable

	// looks says that conditions are only asked to tell why something is not seen: nobody hears of those that cannot be
	// evaluated, for what matters is asked again.
	looks bool
	// unanswered are the conditions that could not be evaluated of the item with these attributes. Several URLs or labels
	// may lead to the same one.
	unanswered struct {
		of         pcommon.Map
		conditions []string
	}

	err error // of a condition that could not be evaluated, where error_mode is propagate
}

// isFirst tells whether a condition could not be evaluated of a span or record for the first time.
func (x *asked) isFirst(condition string) bool {
	u, of := &x.unanswered, x.attributes()
	if u.of != of {
		u.of, u.conditions = of, u.conditions[:0]
	}
	if slices.Contains(u.conditions, condition) {
		return false
	}
	u.conditions = append(u.conditions, condition)
	return true
}

// attributes are those of the span or record.
func (x *asked) attributes() pcommon.Map {
	if x.signal == logs {
		return x.record.Attributes()
	}
	return x.span.Attributes()
}

// conditionParsers parse conditions for spans and for log records, with the contexts' names in paths and without.
type conditionParsers struct {
	spans, plainSpans     ottl.Parser[*ottlspan.TransformContext]
	records, plainRecords ottl.Parser[*ottllog.TransformContext]
	failed                *conditionErrors
}

func newConditionParsers(set component.TelemetrySettings, mode string, failures metric.Int64Counter) (p *conditionParsers, err error) {
	var errs [4]error
	ofSpans, ofRecords := ottlfuncs.StandardConverters[*ottlspan.TransformContext](), ottlfuncs.StandardConverters[*ottllog.TransformContext]()
	isRootSpan := ottlfuncs.NewIsRootSpanFactory()
	ofSpans[isRootSpan.Name()] = isRootSpan
	p = &conditionParsers{failed: &conditionErrors{mode: ottl.ErrorMode(mode), logger: set.Logger, failures: failures}}
	p.spans, errs[0] = ottlspan.NewParser(ofSpans, set, ottlspan.EnablePathContextNames())
	p.plainSpans, errs[1] = ottlspan.NewParser(ofSpans, set)
	p.records, errs[2] = ottllog.NewParser(ofRecords, set, ottllog.EnablePathContextNames())
	p.plainRecords, errs[3] = ottllog.NewParser(ofRecords, set)
	return p, errors.Join(errs[:]...)
}

// parse compiles the conditions of one match. A text that can be asked of neither signal is an error, which tells its
// index.
func (p *conditionParsers) parse(key string, texts []string) (c conditions, err error) {
	var errs []error
	for i, text := range texts {
		span, spanErr := parseEither(&p.spans, &p.plainSpans, text)
		if spanErr == nil {
			c.spans = append(c.spans, span)
		}
		record, recordErr := parseEither(&p.records, &p.plainRecords, text)
		if recordErr == nil {
			c.records = append(c.records, record)
		}
		if spanErr != nil && recordErr != nil {
			why := recordErr
			if strings.Contains(text, "span.") {
				why = spanErr
			}
			errs = append(errs, fmt.Errorf("%s.conditions[%d]: %q is no condition for spans nor for log records: %w; write one such as %s", key, i, text, why,
				`span.attributes["tenant"] == "pizza" or log.attributes["env"] != "test"`))
		}
	}
	c.all = [signalCount]bool{traces: len(c.spans) == len(texts), logs: len(c.records) == len(texts)}
	c.failed = p.failed
	return c, errors.Join(errs...)
}

// parseEither parses a condition whose paths name their context, or whose paths do not.
func parseEither[K any](named, plain *ottl.Parser[K], text string) (*ottl.Condition[K], error) {
	c, err := named.ParseCondition(text)
	if err == nil {
		return c, nil
	}
	if c, plainErr := plain.ParseCondition(text); plainErr == nil {
		return c, nil
	}
	return nil, err
}

// holdOf tells whether all conditions that can be asked of a span or record hold. One that cannot be evaluated does not.
func (c *conditions) holdOf(x *asked) bool {
	if x.signal == logs {
		if len(c.records) == 0 {
			return true
		}
		if !x.isAskable() {
			c.failed.tell(c.records[0].String(), unasked, x)
			return false
		}
		in := ottllog.NewTransformContext(x.resourceLogs, x.scopeLogs, x.record)
		defer in.Close()
		return allHold(c.records, in, c.failed, x)
	}
	if len(c.spans) == 0 {
		return true
	}
	if !x.isAskable() {
		c.failed.tell(c.spans[0].String(), unasked, x)
		return false
	}
	in := ottlspan.NewTransformContext(x.resourceSpans, x.scopeSpans, x.span)
	defer in.Close()
	return allHold(c.spans, in, c.failed, x)
}

// canAsk tells whether every condition can be asked of a signal.
func (c *conditions) canAsk(s signal) bool { return c.all[s] }

// allHold evaluates one by one. OTTL's own sequence of conditions writes whole records, with the secrets in them, into
// the log at level debug.
func allHold[K any](list []*ottl.Condition[K], in K, failed *conditionErrors, x *asked) bool {
	for _, condition := range list {
		holds, err := condition.Eval(context.Background(), in)
		if err != nil {
			failed.tell(condition.String(), unevaluated, x)
			return false
		}
		if !holds {
			return false
		}
	}
	return true
}

// conditionErrors does with a condition that could not be evaluated what error_mode says.
type conditionErrors struct {
	mode     ottl.ErrorMode
	logger   *zap.Logger
	failures metric.Int64Counter
	told     sync.Map // each toldFault of which the log has a line
}

type toldFault struct {
	condition string
	why       *conditionFault
}

// conditionFault is what kept a condition from being evaluated, and what can be done.
type conditionFault struct{ says, remedy string }

// What OTTL says is not told: its errors hold what stood in the record.
var (
	unevaluated = &conditionFault{"cannot be evaluated", "mend the condition"}
	unasked     = &conditionFault{
		fmt.Sprintf("is asked of nothing that nests deeper than %d levels or has more than %d values", maxAskedLevels, maxAskedValues),
		"let the service log less",
	}
)

func (e *conditionErrors) tell(condition string, why *conditionFault, x *asked) {
	if x.looks || !x.isFirst(condition) {
		return
	}
	e.failures.Add(context.Background(), 1)
	switch e.mode {
	case ottl.PropagateError:
		if x.err == nil {
			x.err = consumererror.NewPermanent(fmt.Errorf("the condition %q %s and error_mode is propagate; %s, or write error_mode: ignore", condition, why.says, why.remedy))
		}
	case ottl.IgnoreError:
		if _, told := e.told.LoadOrStore(toldFault{condition, why}, true); !told {
			e.logger.Warn("a condition "+why.says+" and is taken as false; this line comes once for each condition, otelcol_processor_vendor_failure_condition_errors counts them all",
				zap.String("condition", condition), zap.Stringer("vendor.signal", x.signal))
		}
	}
}
