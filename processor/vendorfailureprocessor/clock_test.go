package vendorfailureprocessor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/reason"
)

// clocks are what the clock of a sender may do: what it shows, by how long it has been sending.
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

// TestCollectorsClock: a step of the Collector's own clock, as NTP makes one, opens and closes no outage: telemetry goes by
// its own time.
func TestCollectorsClock(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 10 * time.Second, -10 * time.Second, 24 * time.Hour, -24 * time.Hour} {
		for _, tc := range []struct {
			name        string
			fails       func(time.Duration) bool
			begun, over int
		}{
			{"the vendor is well", func(time.Duration) bool { return false }, 0, 0},
			{"one in ten fails", func(at time.Duration) bool { return at%(10*time.Second) == 0 }, 0, 0},
			{"all fails", func(time.Duration) bool { return true }, 1, 0},
		} {
			t.Run(fmt.Sprint(by, ": ", tc.name), func(t *testing.T) {
				d := newDrill(newDefaultConfig().Outage)
				for at := time.Duration(0); at < 10*time.Minute; at += time.Second {
					d.wall = day.Add(at)
					if at >= 5*time.Minute {
						d.wall = d.wall.Add(by)
					}
					why := reason.None
					if tc.fails(at) {
						why = reason.Error
					}
					d.callAt(at, why)
				}
				assert.Len(t, d.begun, tc.begun)
				assert.Len(t, d.over, tc.over)
			})
		}
	}
}
