package testorderreceiver

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// firstWithin bounds when the first run starts.
	firstWithin = time.Second
	// firstAfter leaves the instances of the other signals time to start.
	firstAfter = 100 * time.Millisecond
)

// A schedule says when runs start: the first within a second, the others at the interval, each up to a tenth of it
// late, so that the probes of many Collectors do not come at once.
type schedule struct {
	interval time.Duration
	first    time.Time
	next     int // turns after the first
}

func newSchedule(interval time.Duration) *schedule {
	return &schedule{interval: interval, first: time.Now().Add(firstAfter + rand.N(firstWithin-2*firstAfter))}
}

// wait waits for the next turn, and returns how many were missed because the one before took too long. It is false when
// the context ended first.
func (s *schedule) wait(ctx context.Context) (missed int, ok bool) {
	// The first turn has none before it: on a machine that is busy as it starts, it is late, but not missed.
	if late := time.Since(s.turn()); late > 0 && s.next > 0 {
		missed = int(late/s.interval) + 1
		s.next += missed
	}
	at := s.turn()
	if s.next > 0 {
		at = at.Add(rand.N(s.interval / 10))
	}
	s.next++
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return missed, ctx.Err() == nil
	case <-ctx.Done():
		return missed, false
	}
}

func (s *schedule) turn() time.Time { return s.first.Add(time.Duration(s.next) * s.interval) }

// A budget is how many orders may still be placed today.
type budget struct {
	perDay int
	day    time.Time
	placed int
}

// take returns whether one more order may be placed, and whether this is the first of the day that may not.
func (b *budget) take() (ok, first bool) {
	if day := time.Now().UTC().Truncate(24 * time.Hour); !day.Equal(b.day) {
		b.day, b.placed = day, 0
	}
	b.placed++
	return b.placed <= b.perDay, b.placed == b.perDay+1
}
