package vendorfailureprocessor

import (
	"cmp"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// verdict is what one call or order means to its tally.
type verdict uint8

const (
	good verdict = iota
	bad
	neither // the vendor rejected it: on neither side, unless it rejects everybody
	verdictCount
)

// event is a verdict at a time of the telemetry's own.
type event struct {
	at      pcommon.Timestamp
	verdict verdict
}

// tally is one of the four counts that are watched of a vendor: its calls or its orders, by one signal. It says down
// when enough of what is looked at failed: the last window, or the last min_calls within max_age, whichever holds more.
type tally struct {
	cfg *OutageConfig

	now    pcommon.Timestamp // the newest event's time: the only clock there is
	window window            // the events within cfg.Window of now
	last   []event           // by time, the last min_calls that are good or bad
	latest []event           // by time, the last min_calls of any verdict

	down     bool
	held     pcommon.Timestamp // when down was last said
	lastGood pcommon.Timestamp
}

// add takes in an event, in whatever order they come, and says anew whether this count is down.
func (t *tally) add(e event) {
	t.now = max(t.now, e.at)
	if e.verdict == good {
		t.lastGood = max(t.lastGood, e.at)
	}
	if e.verdict != neither {
		t.last = insertNewest(t.last, e, t.cfg.MinCalls)
	}
	t.latest = insertNewest(t.latest, e, t.cfg.MinCalls)
	t.window.add(e, t.now, t.cfg.Window)

	if t.fails() {
		t.down, t.held = true, t.now
	} else if t.down && t.now-t.held >= pcommon.Timestamp(t.cfg.Recovery) && t.lastGood > t.held {
		t.down = false
	}
}

// isFlawless tells whether a tally of orders, which knows no rejections, says nothing but that all succeeded.
func (t *tally) isFlawless() bool {
	failed := func(e event) bool { return e.verdict != good }
	return !t.down && t.window.sums[bad] == 0 && !slices.ContainsFunc(t.last, failed)
}

// clone returns a tally that has seen the same.
func (t *tally) clone() *tally {
	c := *t
	c.last, c.latest, c.window.cells = slices.Clone(t.last), slices.Clone(t.latest), slices.Clone(t.window.cells)
	return &c
}

// view is what is looked at to say down.
type view struct {
	last    []event // nil: the window
	refused bool    // the last min_calls were rejected, all of them: then rejections are failures
}

func (t *tally) look() (v view) {
	last := younger(t.last, t.now, t.cfg.MaxAge)
	latest := younger(t.latest, t.now, t.cfg.MaxAge)
	v.refused = len(latest) == t.cfg.MinCalls && !slices.ContainsFunc(latest, func(e event) bool { return e.verdict != neither })
	inWindow := t.window.sums[good] + t.window.sums[bad]
	if v.refused {
		last, inWindow = latest, inWindow+t.window.sums[neither]
	}
	if len(last) > inWindow {
		v.last = last
	}
	return v
}

// isBad tells whether a verdict is a failure in this view.
func (v view) isBad(of verdict) bool { return of == bad || v.refused && of == neither }

// fails tells whether enough of what is looked at failed.
func (t *tally) fails() bool {
	v := t.look()
	sums := t.window.sums
	if v.last != nil {
		sums = [verdictCount]int{}
		for _, e := range v.last {
			sums[e.verdict]++
		}
	}
	failed := sums[bad]
	if v.refused {
		failed += sums[neither]
	}
	return failed >= t.cfg.MinFailures && float64(failed) >= t.cfg.FailureRatio*float64(sums[good]+failed)
}

// since returns the oldest failure among what is looked at; now where there is none, as in a count that has said down
// since before it fell silent, and of which only rejections come.
func (t *tally) since() pcommon.Timestamp {
	v := t.look()
	if v.last == nil {
		return cmp.Or(t.window.oldest(v.isBad), t.now)
	}
	for _, e := range v.last {
		if v.isBad(e.verdict) {
			return e.at
		}
	}
	return t.now
}

// insertNewest puts an event in its place by time, which mostly is the last, and keeps the newest n.
func insertNewest(events []event, e event, n int) []event {
	i := len(events)
	for i > 0 && events[i-1].at > e.at {
		i--
	}
	events = slices.Insert(events, i, e)
	if len(events) > n {
		events = slices.Delete(events, 0, len(events)-n)
	}
	return events
}

// younger returns the events that are younger than a duration.
func younger(events []event, now pcommon.Timestamp, d time.Duration) []event {
	for len(events) > 0 && events[0].at+pcommon.Timestamp(d) <= now {
		events = events[1:]
	}
	return events
}
