package vendorfailureprocessor

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxFuture is how far in the future telemetry may be before its sender's clock is taken for wrong, and now for its
// time.
const maxFuture = time.Minute

// clock tells the now that telemetry's own times are held against. It is the Collector's, without its steps: after one
// what came before would look long ago, or what comes next late, and an outage would open, close or be hidden by it. So
// this clock runs on as the monotonic one does, which nobody sets, and follows only where it does no harm.
type clock struct {
	made   time.Time // by the monotonic clock
	origin time.Time // the time of day when it was made, as this clock has it

	newest    pcommon.Timestamp // of all telemetry
	suggested time.Time         // the time of day when it was made, as the newest telemetry has it
}

func newClock() clock { return clock{made: time.Now()} }

// now returns the time at an instant of the Collector's clock. It follows that clock forward where none of the windows
// must be kept: with the jump they begin anew. It follows it back where telemetry stays well within what is believed: that
// tells a clock which was ahead and is set right from one that is set wrong.
func (c *clock) now(at time.Time, keepWindows bool) time.Time {
	ran := at.Sub(c.made)
	switch origin := at.Round(0).Add(-ran); {
	case origin.After(c.origin) && !keepWindows,
		origin.Before(c.origin) && !c.suggested.After(origin.Add(maxFuture/2)):
		c.origin = origin
	}
	return c.origin.Add(ran)
}

// of returns the time to take telemetry's own for: now where it has none, or one that is not believed.
func (c *clock) of(at pcommon.Timestamp, now time.Time) pcommon.Timestamp {
	wall := pcommon.NewTimestampFromTime(now)
	if at == 0 || at > wall+pcommon.Timestamp(maxFuture) {
		at = wall
	}
	if at > c.newest {
		c.newest = at
		c.suggested = c.origin.Add(time.Duration(at - wall))
	}
	return at
}
