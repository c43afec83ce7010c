package testorderreceiver

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
	"github.com/jwtpizza/otelcol-vendorfailure/receiver/testorderreceiver/internal/metadata"
)

// outcome is how a run ended.
type outcome = metadata.AttributeProbeOutcome

const (
	success       = metadata.AttributeProbeOutcomeSuccess
	vendorFailure = metadata.AttributeProbeOutcomeVendorFailure
	ownFailure    = metadata.AttributeProbeOutcomeOwnFailure
	notStarted    = metadata.AttributeProbeOutcomeNotStarted
	aborted       = metadata.AttributeProbeOutcomeAborted
)

// A run is one test order.
type run struct {
	trace      pcommon.TraceID
	root       pcommon.SpanID
	start, end time.Time
	made       []madeStep
	// failed is the first of made that failed, -1 if none did.
	failed  int
	aborted bool
}

// A madeStep is a step as it went.
type madeStep struct {
	*step
	span       pcommon.SpanID
	start, end time.Time
	status     int // of the answer, 0 where there was none
	failure    *failure
}

func (m *madeStep) took() time.Duration { return m.end.Sub(m.start) }

// speaksFor is the vendor that the step as it went speaks for, "" for ourselves.
func (m *madeStep) speaksFor() string {
	if m.failure != nil && m.failure.unblamed {
		return ""
	}
	return m.vendor
}

// canBeOurs tells whether the step can fail for a reason as our own failure, whomever it speaks for.
func (s *step) canBeOurs(why reason.Reason) bool {
	switch {
	case s.vendor == "" || len(s.blame) > 0:
		return true
	case why == reason.BadResponse: // what was captured cannot be sent
		return s.request != nil
	}
	return why == reason.Timeout // others left it too little time
}

// outcome says how the run ended.
func (r *run) outcome() outcome {
	switch {
	case r.aborted:
		return aborted
	case r.failed < 0:
		return success
	case r.made[r.failed].speaksFor() != "":
		return vendorFailure
	}
	return ownFailure
}

// why returns the step that failed and the reason, or nothing.
func (r *run) why() (step string, why reason.Reason) {
	if r.aborted || r.failed < 0 {
		return "", reason.None
	}
	m := &r.made[r.failed]
	return m.name, m.failure.reason
}

// calls tells for each step made the vendor whose call it is, or "". A vendor that failed a run failed it once: neither
// its earlier answers, which turned out to be worth nothing, nor a later one of the run is a call as well. So as many
// runs open an outage as vendor_failure's outage.min_failures asks for.
func (r *run) calls() []string {
	calls := make([]string, len(r.made))
	failed := map[string]bool{}
	for i := range r.made {
		if m := &r.made[i]; m.failure != nil && !r.aborted {
			if vendor := m.speaksFor(); vendor != "" && !failed[vendor] {
				failed[vendor] = true
				calls[i] = vendor
			}
		}
	}
	for i := range r.made {
		if m := &r.made[i]; m.failure == nil && !failed[m.vendor] {
			calls[i] = m.vendor
		}
	}
	return calls
}

// perform makes a run. Until stop ends, it makes one step after the other; when one has failed, or stop has ended, only
// those that always run. These have a time of their own, taken from the timeout, and end only with it or with quit.
func (p *probe) perform(stop, quit context.Context) *run {
	r := &run{trace: newTraceID(), root: newSpanID(), start: time.Now(), failed: -1}
	by, known := newSender(p.clients, p.userAgent), captured{}
	ordinary, cancel := context.WithTimeout(stop, p.timeout-time.Duration(p.always)*p.alwaysWithin)
	defer cancel()
	for _, s := range p.steps {
		ctx := ordinary
		if s.always {
			if !s.ready(known) {
				continue
			}
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(quit, p.alwaysWithin)
			defer cancel()
		} else if r.failed >= 0 || r.aborted || stop.Err() != nil {
			r.aborted = r.aborted || r.failed < 0
			continue
		}
		m := madeStep{step: s, span: newSpanID(), start: time.Now()}
		m.status, m.failure = s.make(ctx, by, known, traceparent(r.trace, m.span))
		m.end = time.Now()
		if m.failure != nil && m.failure.reason == reason.Timeout && ctx == ordinary && ordinary.Err() != nil && !r.wasFor(&m) {
			m.failure.unblamed = true
			m.failure.detail = "no whole answer in the time that the steps of others had left"
		}
		if m.failure != nil && r.failed < 0 && !r.aborted {
			if stop.Err() != nil {
				r.aborted = true
			} else {
				r.failed = len(r.made)
			}
		}
		r.made = append(r.made, m)
	}
	r.end = time.Now()
	return r
}

// wasFor tells whether a step that was cut off when the time of its run was over had a fair part of it: as long as it may
// take, or most of the time for those that speak for the same vendor. Else a slow login would be the vendor's failure.
func (r *run) wasFor(cut *madeStep) bool {
	if cut.request != nil {
		if most := cut.request.expect.maxDuration; most > 0 && cut.took() >= most {
			return true
		}
	}
	its := cut.took()
	for i := range r.made {
		if r.made[i].vendor == cut.vendor {
			its += r.made[i].took()
		}
	}
	return its >= cut.end.Sub(r.start)/2
}

// make does what the step is for.
func (s *step) make(ctx context.Context, by *sender, c captured, traceparent string) (status int, f *failure) {
	if s.token != nil {
		f = s.token.verify(ctx, by, c, traceparent)
		return 0, f
	}
	return s.do(ctx, by, c, traceparent)
}

func newTraceID() (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()|1) // zero is no id
	return id
}

func newSpanID() (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1)
	return id
}

// traceparent is the header that makes a span the parent of what the called service does (W3C Trace Context).
func traceparent(trace pcommon.TraceID, span pcommon.SpanID) string {
	return "00-" + hex.EncodeToString(trace[:]) + "-" + hex.EncodeToString(span[:]) + "-01"
}
