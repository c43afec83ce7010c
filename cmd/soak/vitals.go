package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/builtcollector"
)

// vital is a figure that tells whether a process keeps what it should let go of.
type vital int

const (
	goroutines vital = iota
	heap             // MB that are reachable: read after a garbage collection
	rss              // MB
	files            // handles, sockets too
	vitalCount
)

// Growth that is no leak: what is in use differs from moment to moment. RSS is shown and not judged, for it tells how
// large the heap ever was.
var bounds = [vitalCount]struct {
	name  string
	slack float64 // the last may be larger by so much and a tenth
}{
	goroutines: {"goroutines", 15},
	heap:       {"heap MB", 6},
	rss:        {"", 0},
	files:      {"files", 8},
}

type reading [vitalCount]float64

type vitals struct {
	pprof    string
	pid      int
	client   *http.Client
	readings []reading
}

func newVitals(collector *builtcollector.Collector, pprof string) *vitals {
	return &vitals{pprof: pprof, pid: collector.Pid(), client: &http.Client{Timeout: 30 * time.Second}}
}

// read looks at the process once.
func (v *vitals) read(ctx context.Context) (r reading, err error) {
	var errs [4]error
	r[goroutines], errs[0] = v.profile(ctx, "goroutine?debug=1", "goroutine profile: total ")
	r[heap], errs[1] = v.profile(ctx, "heap?gc=1&debug=1", "# HeapAlloc = ")
	r[heap] /= 1e6
	r[rss], errs[2] = residentMB(v.pid)
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.pid))
	r[files], errs[3] = float64(len(open)), err
	v.readings = append(v.readings, r)
	return r, errors.Join(errs[:]...)
}

// profile returns the number that follows a text in a profile.
func (v *vitals) profile(ctx context.Context, name, after string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.pprof+"/debug/pprof/"+name, nil)
	if err != nil {
		return 0, err
	}
	answer, err := v.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	return numberAfter(body, after)
}

func residentMB(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	kB, err := numberAfter(status, "VmRSS:")
	return kB / 1e3, err
}

func numberAfter(text []byte, after string) (float64, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), after); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("no line begins with %q", after)
}

// verdict compares the last third of the readings with the third before: the first is for getting started.
func (v *vitals) verdict(to io.Writer) error {
	if len(v.readings) < 9 {
		return fmt.Errorf("%d readings are too few to tell whether anything grows; let it run longer", len(v.readings))
	}
	third := len(v.readings) / 3
	var errs []error
	fmt.Fprintln(to)
	for x := range vitalCount {
		if bounds[x].name == "" {
			continue
		}
		before, last := median(v.readings[third:2*third], x), median(v.readings[2*third:], x)
		limit := before*1.1 + bounds[x].slack
		told := fmt.Sprintf("%-10s %8.1f in the second third, %8.1f in the last; %.1f would be a leak", bounds[x].name, before, last, limit)
		fmt.Fprintln(to, told)
		if last > limit {
			errs = append(errs, errors.New(strings.Join(strings.Fields(told), " ")))
		}
	}
	return errors.Join(errs...)
}

func median(readings []reading, x vital) float64 {
	values := make([]float64, len(readings))
	for i, r := range readings {
		values[i] = r[x]
	}
	slices.Sort(values)
	return values[len(values)/2]
}
