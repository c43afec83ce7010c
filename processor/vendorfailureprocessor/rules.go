package vendorfailureprocessor

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// vendor is a vendor of the configuration, as calls and orders are judged by it.
type vendor struct {
	name      string
	slowAfter time.Duration
	jwt       []string // paths in a response
	responses ruleSet
	thrown    ruleSet    // those of responses that are held against exceptions: they speak of a text alone
	chaos     ruleSet    // those of responses that show chaos: of an answer that came as a success nothing else is asked
	calls     conditions // beside urls and logs
}

// rule is what one kind of answer means.
type rule struct {
	status   int // 0: any
	contains string
	reason   reason.Reason // reason.None: the rule sets none
	chaos    bool

	conditions conditions
}

func newVendor(c VendorConfig, key string, parsers *conditionParsers) (v vendor, err error) {
	var errs []error
	parse := func(key string, texts []string) conditions {
		c, err := parsers.parse(key, texts)
		errs = append(errs, err)
		return c
	}
	v = vendor{name: c.Name, slowAfter: c.SlowAfter, jwt: c.ValidResponse.JWT, calls: parse(key+".calls", c.Calls.Conditions)}
	for i, r := range c.Responses {
		why, _ := reason.Named(r.Reason)
		v.responses = append(v.responses, rule{
			status: r.Status, contains: r.Contains, reason: why, chaos: r.Chaos,
			conditions: parse(fmt.Sprintf("%s.responses[%d]", key, i), r.Conditions),
		})
	}
	for _, r := range v.responses {
		if r.contains != "" && r.status == 0 {
			v.thrown = append(v.thrown, r)
		}
		if r.chaos {
			v.chaos = append(v.chaos, r)
		}
	}
	return v, errors.Join(errs...)
}

// ruleSet is what the kinds of answers mean, in the order of the configuration.
type ruleSet []rule

// finding is what the rules of a vendor say of an answer.
type finding struct {
	holds  bool          // at least one rule does
	reason reason.Reason // of the first rule that sets one
	chaos  bool
}

// find holds the rules against an answer: its status, 0 where the vendor's is not known, whether it contains a text, and
// the span or record that tells of it. A rule with a condition that cannot be asked of that signal does not hold.
func (rs ruleSet) find(status int, contains func(text string) bool, x *asked) (f finding) {
	for i := range rs {
		r := &rs[i]
		if r.status != 0 && r.status != status || r.contains != "" && !contains(r.contains) {
			continue
		}
		if !r.conditions.canAsk(x.signal) || !r.conditions.holdOf(x) {
			continue
		}
		f.holds = true
		f.chaos = f.chaos || r.chaos
		if f.reason == reason.None {
			f.reason = r.reason
		}
	}
	return f
}

// isValid tells whether an unwrapped response is one that this vendor gives: fields that must hold a JSON Web Token do
// where they are present.
func (v *vendor) isValid(answer gjson.Result, x *asked) bool {
	for _, path := range v.jwt {
		field := walk(answer, path)
		if !field.Exists() || field.Type == gjson.String && field.Str != "" && field.Str == string(x.token) {
			continue
		}
		if field.Type != gjson.String || !isJWT(field.Str) {
			return false
		}
		x.token = append(x.token[:0], field.Str...)
	}
	return true
}
