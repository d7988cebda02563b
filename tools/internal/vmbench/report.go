package vmbench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"unblend/tools/internal/bench"
	"unblend/tools/internal/units"
)

// Schema names the document that holds a Report.
const Schema = "unblend/vmbench/v1"

// Report is what one run measured.
type Report struct {
	Schema  string    `json:"schema"`
	Time    time.Time `json:"time"`
	Kernel  string    `json:"kernel"`
	Runs    []Run     `json:"runs,omitempty"`
	Ratios  []Ratio   `json:"ratios,omitempty"`
	Four    *Four     `json:"four_volumes,omitempty"`
	Costs   []Cost    `json:"costs,omitempty"`
	Fifty   *Fifty    `json:"fifty_volumes,omitempty"`
	PeakRSS int64     `json:"daemon_peak_rss,omitempty"` // bytes, over all of the above
	Restart []Restart `json:"restart,omitempty"`

	HardDisk *HardDisk `json:"hard_disk,omitempty"`
}

// Target is something that takes writes, or reads.
type Target string

// Run is one run of fio: 4 KiB at random places, writes unless the target says otherwise.
type Run struct {
	Pair   int     `json:"pair"` // runs with the same number followed each other
	Target Target  `json:"target"`
	Depth  int     `json:"depth"`
	IOPS   float64 `json:"iops"`
	P50    int64   `json:"p50_ns"`
	P99    int64   `json:"p99_ns"`
}

// Ratio compares two targets at one depth: the median, and the range, over the pairs.
type Ratio struct {
	Target Target  `json:"target"`
	To     Target  `json:"to"`
	Depth  int     `json:"depth"`
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// Four is the run on four volumes at once.
type Four struct {
	Depth       int     `json:"depth"` // on each
	GuestWrites uint64  `json:"guest_writes"`
	LogWrites   uint64  `json:"log_writes"`
	PerLogWrite float64 `json:"guest_writes_per_log_write"`
	Sequential  float64 `json:"sequential_log_writes"` // share, 0 to 1
	IOPS        float64 `json:"iops"`                  // of all four
}

// Restart is one start of the daemon on a full log.
type Restart struct {
	Where   string  `json:"where"`
	Blocks  int     `json:"blocks_in_log"`
	Seconds float64 `json:"seconds"` // from the start to the answer of a guest's first read
	Ready   float64 `json:"ready"`   // from the start to sd_notify's READY, in seconds; 0: not asked
}

// depths returns the depths of the runs, rising.
func depths(runs []Run) []int {
	var d []int
	for _, r := range runs {
		if !slices.Contains(d, r.Depth) {
			d = append(d, r.Depth)
		}
	}
	slices.Sort(d)
	return d
}

// targetsOf returns the targets in the order in which they were measured first.
func targetsOf(runs []Run) []Target {
	var t []Target
	for _, r := range runs {
		if !slices.Contains(t, r.Target) {
			t = append(t, r.Target)
		}
	}
	return t
}

// values returns one target's figures at a depth, by pair.
func values(runs []Run, t Target, depth int) map[int]float64 {
	m := map[int]float64{}
	for _, r := range runs {
		if r.Target == t && r.Depth == depth {
			m[r.Pair] = r.IOPS
		}
	}
	return m
}

// ratio compares a target with another at a depth, pair by pair.
func ratio(runs []Run, t, to Target, depth int) (Ratio, bool) {
	a, b := values(runs, t, depth), values(runs, to, depth)
	var quotients []float64
	for _, r := range runs {
		if r.Target == t && r.Depth == depth && b[r.Pair] > 0 {
			quotients = append(quotients, a[r.Pair]/b[r.Pair])
		}
	}
	if len(quotients) == 0 {
		return Ratio{}, false
	}
	m := bench.Median(quotients)
	return Ratio{t, to, depth, m, slices.Min(quotients), slices.Max(quotients)}, true
}

// compared are the pairs of targets of which the ratio is wanted.
var compared = [][2]Target{
	{WriteOnce, WritePlain},
	{WriteHundred, WritePlain},
	{WriteDeep, WritePlain},
	{WriteClone, WritePlain},
	{WriteThinned, WriteThin},
	{WritePlain, WriteThin},
	{WriteOnce, WriteThinned},
	{ReadDeep, ReadPlain},
	{ReadLogDeep, ReadLog},
	{Watched, Unwatched},
}

// Compare fills in the ratios.
func (r *Report) Compare() {
	r.Ratios = nil
	for _, d := range depths(r.Runs) {
		for _, c := range compared {
			if x, ok := ratio(r.Runs, c[0], c[1], d); ok {
				r.Ratios = append(r.Ratios, x)
			}
		}
	}
}

// String returns the report for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux %s, %s\n", r.Kernel, r.Time.Format(time.DateOnly))
	if len(r.Runs) > 0 {
		b.WriteString("\n4 KiB at random places, writes unless it says read, per second: medians\n\n" + r.table())
		b.WriteString("\nRatios, medians of pairs\n\n" + r.ratioTable())
	}
	if f := r.Four; f != nil {
		fmt.Fprintf(&b, "\nFour volumes, 4 KiB random writes, %d at a time on each: %.0f per second; "+
			"%d guest writes in %d log writes, %.1f in each; %.1f %% of the log writes begin where "+
			"the one before them ended.\n", f.Depth, f.IOPS, f.GuestWrites, f.LogWrites,
			f.PerLogWrite, 100*f.Sequential)
	}
	if len(r.Costs) > 0 {
		b.WriteString("\nFour volumes, 4 KiB random writes: processor time of each write, in microseconds, " +
			"medians\n\n" + costTable(r.Costs))
	}
	if r.Fifty != nil {
		b.WriteString("\n" + r.Fifty.String())
	}
	if r.PeakRSS > 0 {
		fmt.Fprintf(&b, "\nPeak memory of the daemon: %.1f MB.\n", float64(r.PeakRSS)/1e6)
	}
	for _, s := range r.Restart {
		fmt.Fprintf(&b, "\nRestart with %d blocks in the log, %s: first read answered after %.2f s",
			s.Blocks, s.Where, s.Seconds)
		if s.Ready > 0 {
			fmt.Fprintf(&b, ", ready after %.2f s", s.Ready)
		}
		b.WriteString("\n")
	}
	if r.HardDisk != nil {
		b.WriteString("\n" + r.HardDisk.String())
	}
	return b.String()
}

func (r *Report) table() string {
	head := []string{""}
	for _, d := range depths(r.Runs) {
		head = append(head, fmt.Sprintf(">%d at a time", d), ">range", ">p50", ">p99")
	}
	t := units.NewTable(head...)
	for _, target := range targetsOf(r.Runs) {
		row := []string{string(target)}
		for _, d := range depths(r.Runs) {
			var iops, p50, p99 []float64
			for _, x := range r.Runs {
				if x.Target == target && x.Depth == d {
					iops = append(iops, x.IOPS)
					p50, p99 = append(p50, float64(x.P50)), append(p99, float64(x.P99))
				}
			}
			if len(iops) == 0 {
				row = append(row, "-", "-", "-", "-")
				continue
			}
			row = append(row, fmt.Sprintf("%.0f", bench.Median(iops)),
				fmt.Sprintf("%.0f-%.0f", slices.Min(iops), slices.Max(iops)),
				fmt.Sprintf("%.2f ms", bench.Median(p50)/1e6), fmt.Sprintf("%.2f ms", bench.Median(p99)/1e6))
		}
		t.Row(row...)
	}
	return t.String()
}

func (r *Report) ratioTable() string {
	t := units.NewTable("", ">at a time", ">median", ">least", ">most")
	for _, x := range r.Ratios {
		t.Row(fmt.Sprintf("%s / %s", x.Target, x.To), fmt.Sprint(x.Depth),
			fmt.Sprintf("%.2f", x.Median), fmt.Sprintf("%.2f", x.Least),
			fmt.Sprintf("%.2f", x.Most))
	}
	return t.String()
}
