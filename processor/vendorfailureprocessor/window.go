package vendorfailureprocessor

import (
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxCells bounds what a window keeps, and so what one tally of a vendor costs: 1 MB. Up to as many events it is exact;
// above, events within a thousandth of the window are one cell and leave the window together.
const maxCells = 1 << 15

// cell is the events of one moment, by verdict.
type cell struct {
	at   pcommon.Timestamp
	sums [verdictCount]uint32
}

// window is the events of the last while, by time.
type window struct {
	cells []cell
	sums  [verdictCount]int
}

// add takes in an event and lets go of those that are not within length of now.
func (w *window) add(e event, now pcommon.Timestamp, length time.Duration) {
	if e.at+pcommon.Timestamp(length) > now {
		i := len(w.cells)
		for i > 0 && w.cells[i-1].at > e.at {
			i--
		}
		if i == 0 || w.cells[i-1].at != e.at {
			w.cells = slices.Insert(w.cells, i, cell{at: e.at})
			i++
		}
		w.cells[i-1].sums[e.verdict]++
		w.sums[e.verdict]++
	}
	old := 0
	for old < len(w.cells) && w.cells[old].at+pcommon.Timestamp(length) <= now {
		for v, n := range w.cells[old].sums {
			w.sums[v] -= int(n)
		}
		old++
	}
	w.cells = w.cells[old:]
	if len(w.cells) > maxCells {
		w.coarsen(pcommon.Timestamp(length / 1000)) // not 0: so many cells do not fit into less than a microsecond
	}
}

// coarsen takes together the cells within each grain of time, under the time of their newest.
func (w *window) coarsen(grain pcommon.Timestamp) {
	kept := w.cells[:0]
	for _, c := range w.cells {
		if n := len(kept); n > 0 && kept[n-1].at/grain == c.at/grain {
			kept[n-1].at = c.at
			for v := range c.sums {
				kept[n-1].sums[v] += c.sums[v]
			}
		} else {
			kept = append(kept, c)
		}
	}
	w.cells = kept
}

// oldest returns the time of the oldest event of a verdict, 0 where there is none.
func (w *window) oldest(is func(verdict) bool) pcommon.Timestamp {
	for _, c := range w.cells {
		for v, n := range c.sums {
			if n > 0 && is(verdict(v)) {
				return c.at
			}
		}
	}
	return 0
}
