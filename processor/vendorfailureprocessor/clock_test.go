package vendorfailureprocessor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// clocks are what the clock of a sender, or the Collector's, may do: what it shows, by how long it has been running.
var clocks = []struct {
	name  string
	shows func(time.Duration) time.Duration // ahead of the truth
}{
	{"right", func(time.Duration) time.Duration { return 0 }},
	{"an hour ahead", func(time.Duration) time.Duration { return time.Hour }},
	{"an hour behind", func(time.Duration) time.Duration { return -time.Hour }},
	{"years ahead", func(time.Duration) time.Duration { return 20 * 365 * 24 * time.Hour }},
	{"just within what is believed", func(time.Duration) time.Duration { return 59 * time.Second }},
	{"jumps an hour ahead", func(after time.Duration) time.Duration { return step(after, 0, time.Hour) }},
	{"jumps an hour back", func(after time.Duration) time.Duration { return step(after, 0, -time.Hour) }},
	{"set right after an hour ahead", func(after time.Duration) time.Duration { return step(after, time.Hour, 0) }},
	{"set right after an hour behind", func(after time.Duration) time.Duration { return step(after, -time.Hour, 0) }},
	{"set right after 59 s ahead", func(after time.Duration) time.Duration { return step(after, 59*time.Second, 0) }},
	{"to and fro each second", func(after time.Duration) time.Duration {
		return time.Duration(rand.New(rand.NewPCG(1, uint64(after))).IntN(3)-1) * time.Hour
	}},
	{"runs a tenth too fast", func(after time.Duration) time.Duration { return after / 10 }},
	{"runs a tenth too slow", func(after time.Duration) time.Duration { return -after / 10 }},
	{"stands still", func(after time.Duration) time.Duration { return -after }},
}

func step(after, before, then time.Duration) time.Duration {
	if after < 5*time.Minute {
		return before
	}
	return then
}

// clocked sends, each second for ten minutes, an order and its call from each shop, and tells how many outages began and
// were over.
func clocked(t *testing.T, shops []func(time.Duration) time.Duration, fails func(second int) bool) (begun, over int) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, pizzaConfig())
		began := time.Now()
		for second := range 600 {
			for shop, shows := range shops {
				ahead := shows(time.Since(began))
				td := ptrace.NewTraces()
				status := 200
				if fails(second) {
					status = 500
				}
				for i, s := range []ptrace.Span{addSpan(td, 1, client, callSpan(status)), addSpan(td, 1, server, orderSpan(status))} {
					s.SetTraceID(pcommon.TraceID{1, byte(shop), byte(second >> 8), byte(second)})
					s.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now().Add(ahead + time.Duration(i)*time.Millisecond)))
					s.SetStartTimestamp(s.EndTimestamp())
				}
				td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", fmt.Sprint("shop-", shop))
				require.NoError(t, h.traces.ConsumeTraces(context.Background(), td))
			}
			time.Sleep(time.Second)
		}
		begun, over = len(h.told("vendor.outage.start")), len(h.told("vendor.outage.end"))
		h.shutdown(t)
		assert.Equal(t, 600*len(shops), h.counts(t, "vendor.orders", "vendor.signal")["traces"], "every order counts, whatever its time")
	})
	return begun, over
}

// TestSendersClock: whatever the clock of a sender does, it opens and closes no outage, and hides none that another
// sender sees.
func TestSendersClock(t *testing.T) {
	right := clocks[0].shows
	for _, clock := range clocks {
		t.Run(clock.name, func(t *testing.T) {
			for _, tc := range []struct {
				name        string
				fails       func(second int) bool
				begun, over int
				another     bool // sender, whose clock is right, is there
			}{
				{"the vendor is well", func(int) bool { return false }, 0, 0, false},
				{"the vendor is well", func(int) bool { return false }, 0, 0, true},
				{"one in ten fails", func(second int) bool { return second%10 == 0 }, 0, 0, false},
				{"one in ten fails", func(second int) bool { return second%10 == 0 }, 0, 0, true},
				{"all fails, all the time", func(int) bool { return true }, 1, 0, false},
				{"all fails, all the time", func(int) bool { return true }, 1, 0, true},
				{"three in five fail", func(second int) bool { return second%5 >= 2 }, 1, 0, true},
				{"all fails for three minutes", func(second int) bool { return 180 <= second && second < 360 }, 1, 1, true},
			} {
				shops := []func(time.Duration) time.Duration{clock.shows}
				if tc.another {
					shops = append(shops, right)
				}
				begun, over := clocked(t, shops, tc.fails)
				assert.Equal(t, tc.begun, begun, "openings: %s, another sender: %v", tc.name, tc.another)
				assert.Equal(t, tc.over, over, "closings: %s, another sender: %v", tc.name, tc.another)
			}
		})
	}
}

// TestClockSetForward is the one case that cannot be told from silence: the only sender there is has been an hour behind and
// is set right in an outage in which not all fails. The next success closes it, and the next failures open it again.
func TestClockSetForward(t *testing.T) {
	for _, clock := range clocks {
		begun, over := clocked(t, []func(time.Duration) time.Duration{clock.shows}, func(second int) bool { return second%5 >= 2 })
		if clock.name == "set right after an hour behind" {
			assert.Equal(t, []int{2, 1}, []int{begun, over}, clock.name)
		} else {
			assert.Equal(t, []int{1, 0}, []int{begun, over}, clock.name)
		}
	}
}

// stepped returns an instant as the Collector reads it off a clock whose time of day has been set: its monotonic time is
// the same. Nothing but the time itself can be set so; time.Time's encoding keeps whole seconds above 30 bits of
// nanoseconds.
func stepped(at time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&at)) += uint64(by/time.Second) << 30
	return at
}

// steps are what NTP and a machine's sleep do to the Collector's clock, beside what clocks do.
var steps = []struct {
	name  string
	shows func(time.Duration) time.Duration
}{
	{"set 10 min ahead", func(after time.Duration) time.Duration { return step(after, 0, 10*time.Minute) }},
	{"set 10 min back", func(after time.Duration) time.Duration { return step(after, 0, -10*time.Minute) }},
	{"set a day ahead", func(after time.Duration) time.Duration { return step(after, 0, 24*time.Hour) }},
	{"set a day back", func(after time.Duration) time.Duration { return step(after, 0, -24*time.Hour) }},
	{"set 10 s ahead", func(after time.Duration) time.Duration { return step(after, 0, 10*time.Second) }},
	{"set 10 s back", func(after time.Duration) time.Duration { return step(after, 0, -10*time.Second) }},
	{"set 45 s back", func(after time.Duration) time.Duration { return step(after, 0, -45*time.Second) }},
	{"set 61 s back", func(after time.Duration) time.Duration { return step(after, 0, -61*time.Second) }},
	{"set 90 s back", func(after time.Duration) time.Duration { return step(after, 0, -90*time.Second) }},
	{"set right after a day ahead", func(after time.Duration) time.Duration { return step(after, 24*time.Hour, 0) }},
	{"set right after a day behind", func(after time.Duration) time.Duration { return step(after, -24*time.Hour, 0) }},
	{"set right after years behind", func(after time.Duration) time.Duration { return step(after, -20*365*24*time.Hour, 0) }},
	{"from an hour behind to one ahead", func(after time.Duration) time.Duration { return step(after, -time.Hour, time.Hour) }},
	{"from an hour ahead to one behind", func(after time.Duration) time.Duration { return step(after, time.Hour, -time.Hour) }},
	{"an hour back for two minutes", func(after time.Duration) time.Duration {
		return -step(after, 0, time.Hour) + step(after-2*time.Minute, 0, time.Hour)
	}},
	{"an hour ahead for two minutes", func(after time.Duration) time.Duration {
		return step(after, 0, time.Hour) - step(after-2*time.Minute, 0, time.Hour)
	}},
}

// TestCollectorsClock: a step of the Collector's own clock opens and closes no outage and hides none: each begins at its
// first failure and is known as soon as with a clock that is right, before the step and after it.
func TestCollectorsClock(t *testing.T) {
	const minute = time.Minute
	for _, clock := range slices.Concat(clocks, steps) {
		for _, tc := range []struct {
			name  string
			fails func(time.Duration) bool
			since time.Duration // 0: no outage
			known time.Duration // after it
			last  time.Duration // 0: it is not over
		}{
			{name: "the vendor is well", fails: func(time.Duration) bool { return false }},
			{name: "one in ten fails", fails: func(at time.Duration) bool { return at%(10*time.Second) == 0 }},
			{name: "all fails", fails: func(time.Duration) bool { return true }, since: time.Second, known: 2 * time.Second},
			{name: "three in five fail", fails: func(at time.Duration) bool { return at%(5*time.Second) >= 2*time.Second }, since: 2 * time.Second, known: 2 * time.Second},
			{name: "fails from 2 to 3 min", fails: within(2*minute, 3*minute), since: 2 * minute, known: 4 * time.Second, last: 3 * minute},
			{name: "fails from 2 to 8 min", fails: within(2*minute, 8*minute), since: 2 * minute, known: 4 * time.Second, last: 8 * minute},
			{name: "fails from 6 min on", fails: within(6*minute, time.Hour), since: 6 * minute, known: 4 * time.Second},
			{name: "fails from 6 to 8 min", fails: within(6*minute, 8*minute), since: 6 * minute, known: 4 * time.Second, last: 8 * minute},
		} {
			t.Run(clock.name+": "+tc.name, func(t *testing.T) {
				began := time.Now()
				var at time.Duration
				var known, over []time.Duration
				var last *outage
				o := newOutages(newDefaultConfig().Outage, 1, func(c outageChange) {
					if last = c.outage; c.opened {
						known = append(known, at)
					} else {
						over = append(over, at)
					}
				})
				for at = time.Second; at < 30*minute; at += time.Second {
					c := call{fault: fault{at: pcommon.NewTimestampFromTime(began.Add(at))}}
					if tc.fails(at) {
						c.reason = reason.Error
					}
					o.take(stepped(began.Add(at), clock.shows(at)), []call{c}, nil)
				}
				if tc.since == 0 {
					assert.Empty(t, known)
					return
				}
				require.Len(t, known, 1, "openings")
				assert.InDelta(t, (tc.since + tc.known).Seconds(), known[0].Seconds(), 1)
				if tc.last == 0 {
					assert.Empty(t, over)
				} else {
					require.Len(t, over, 1, "closings")
					assert.InDelta(t, (tc.last + 65*time.Second).Seconds(), over[0].Seconds(), 1)
				}
				told := last.since.AsTime().Sub(began)
				if behind := clock.shows(known[0]); clock.shows(time.Second) < -maxFuture && behind < -maxFuture {
					told -= behind // it was never right so far
				}
				assert.InDelta(t, tc.since.Seconds(), told.Seconds(), 1, "since")
			})
		}
	}
}

// TestBothClocks: the Collector's clock steps, and a sender's is wrong too, while another sender's is nearly right: what
// that one sees opens an outage and closes it.
func TestBothClocks(t *testing.T) {
	right := func(time.Duration) time.Duration { return 0 }
	hour := func(time.Duration) time.Duration { return time.Hour }
	for _, tc := range []struct {
		name                     string
		collector, nearly, wrong func(time.Duration) time.Duration
		wrongFrom                time.Duration
		why                      string
	}{
		{name: "set right after an hour ahead", collector: func(after time.Duration) time.Duration { return step(after, time.Hour, 0) },
			nearly: func(time.Duration) time.Duration { return 10 * time.Second }, wrong: hour, wrongFrom: 7 * time.Minute,
			why: "the Collector's clock is right again, so what is an hour ahead is not believed"},
		{name: "set an hour back", collector: func(after time.Duration) time.Duration { return step(after, 0, -time.Hour) },
			nearly: right, wrong: func(time.Duration) time.Duration { return -time.Hour },
			why: "a backlog, though it comes last, does not tell that the clock is right now"},
		{name: "set 62 s back", collector: func(after time.Duration) time.Duration { return step(after, 0, -62*time.Second) },
			nearly: func(after time.Duration) time.Duration {
				if after < 6*time.Minute || after%(10*time.Second) == 0 {
					return -4 * time.Second
				}
				return 0
			}, wrong: right, wrongFrom: time.Hour,
			why: "what comes 4 s late must not be believed where the rest is not"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			var at time.Duration
			var known, over []time.Duration
			o := newOutages(newDefaultConfig().Outage, 1, func(c outageChange) {
				if c.opened {
					known = append(known, at)
				} else {
					over = append(over, at)
				}
			})
			for at = time.Second; at < 30*time.Minute; at += time.Second {
				now := stepped(began.Add(at), tc.collector(at))
				send := func(from caller, ahead time.Duration, why reason.Reason) {
					o.take(now, []call{{fault: fault{at: pcommon.NewTimestampFromTime(began.Add(at + ahead)), reason: why}, caller: from}}, nil)
				}
				why := reason.None
				if within(8*time.Minute, 11*time.Minute)(at) {
					why = reason.Error
				}
				send(1, tc.nearly(at), why)
				if at >= tc.wrongFrom && at%(30*time.Second) == 0 {
					send(2, tc.wrong(at), reason.None)
				}
			}
			require.Len(t, known, 1, tc.why)
			assert.InDelta(t, (8*time.Minute + 5*time.Second).Seconds(), known[0].Seconds(), 2)
			require.Len(t, over, 1)
		})
	}
}

func within(from, to time.Duration) func(time.Duration) bool {
	return func(at time.Duration) bool { return from <= at && at < to }
}

// TestStepped: the clocks of these tests are set as the Collector's may be.
func TestStepped(t *testing.T) {
	now := time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour, -20 * 365 * 24 * time.Hour} {
		assert.Zero(t, stepped(now, by).Sub(now), "monotonic")
		assert.Equal(t, now.Add(by).UnixNano(), stepped(now, by).UnixNano(), "time of day")
	}
}
