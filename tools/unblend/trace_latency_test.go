package main

import (
	"encoding/json"
	"strings"
	"testing"

	"unblend/tools/internal/control"
)

// timesOf returns a row for the screen; times are in us.
func timesOf(kind, name, op string, n uint64, queue, device int64, parts ...int64) control.TraceTimes {
	part := func(us int64) control.TimePart {
		return control.TimePart{
			Mean: us * 1000, P50: us * 900, P99: us * 3000, Histogram: []uint64{0, 0, n - 1, 1},
		}
	}
	r := control.TraceTimes{
		Kind: kind, Name: name, Op: op, Requests: n, Queue: part(queue), Device: part(device),
		Total: part(queue + device),
	}
	var split []*control.TimePart
	for _, us := range parts {
		p := part(us)
		split = append(split, &p)
	}
	if len(split) > 0 {
		r.Split, r.Batch, r.Log, r.Reply = n, split[0], split[1], split[2]
	}
	return r
}

func TestLatencyScreen(t *testing.T) {
	doc := control.TraceLatency{Seconds: 10, Lost: 3, Rows: []control.TraceTimes{
		timesOf(control.StreamVolume, "db1", "read", 100, 1, 99),
		timesOf(control.StreamVolume, "web1", "write", 8000, 50, 950, 300, 400, 250),
		timesOf(control.StreamLog, "", "write", 700, 2, 398),
	}, Notes: []string{"something"}}
	const want = `10.0 s, 3 requests lost; means, but for p50 and p99
REQUESTS OF         IOPS     P50     P99    MEAN  = QUEUE  + DEVICE  = BATCH   + LOG  + REPLY
web1         write   800  900 us    3 ms    1 ms    50 us    950 us   300 us  400 us   250 us
db1          read     10   90 us  300 us  100 us     1 us     99 us        -       -        -
pool: log    write    70  360 us  1.2 ms  400 us     2 us    398 us        -       -        -
`
	got := latencyScreen(doc, false)
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "note: something\n") {
		t.Errorf("got:\n%s", got)
	}
	got = latencyScreen(doc, true)
	const bars = `
web1, write  REQUESTS
    4 ns up      7999  ########################################
    8 ns up         1  #
`
	if !strings.Contains(got, bars) {
		t.Errorf("got:\n%s", got)
	}
	for range 40 {
		doc.Rows = append(doc.Rows, doc.Rows[0])
	}
	if got := latencyScreen(doc, false); !strings.Contains(got, "18 more rows") {
		t.Errorf("got:\n%s", got)
	}
}

// TestTraceLatency runs the view on this kernel, beside a daemon whose volumes have no devices here.
func TestTraceLatency(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	code, out, complaint := call(t.Context(), "trace", "latency", "0.2s", "2", "--json", "--socket", socket)
	n := 0
	for line := range strings.Lines(out) {
		var doc control.TraceLatency
		if err := json.Unmarshal([]byte(line), &doc); err != nil || doc.Schema != control.SchemaTraceLatency ||
			doc.Seconds <= 0 || doc.Rows == nil {
			t.Errorf("%v: %s", err, line)
		}
		n++
	}
	if code != 0 || n != 2 || complaint != "" {
		t.Errorf("exit code %d, %d reports, %q", code, n, complaint)
	}
	code, out, complaint = call(t.Context(), "trace", "latency", "--seconds", "0.2s", "--socket", socket)
	if code != 0 || !strings.Contains(out, "REQUESTS OF") ||
		!strings.Contains(complaint, "tracing for 200 ms") {
		t.Errorf("exit code %d, %s%s", code, out, complaint)
	}
}
