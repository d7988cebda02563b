package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// blendRows is how many volumes the screen shows: those first that add most seeks.
const blendRows = 24

// sentNames are the rows of what the pool's devices get.
var sentNames = map[string]string{
	control.StreamMerged: "merged, if sent", control.StreamLog: "sent: log",
	control.StreamData: "sent: destage", control.StreamMetadata: "sent: metadata",
	control.StreamOther: "sent: other",
}

// blendScreen lays a report out for people.
func blendScreen(doc control.TraceBlend) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f s, %s, %swrites only, %d events lost\n", doc.Seconds,
		plural(doc.Volumes, "volume"), sentTo(doc), doc.EventsLost)
	t := units.NewTable("STREAM", ">IOPS", ">MiB/s", ">SEQ %", ">RUN", ">SEEKS/MiB", ">MEDIAN", ">ADDS/s")
	volumes, idle := writers(doc)
	for i, s := range volumes {
		if i < blendRows {
			t.Row(blendRow(s.Name, s, doc.Seconds)...)
		}
	}
	for _, s := range doc.Streams {
		name, shown := sentNames[s.Kind]
		if s.Kind != control.StreamMerged {
			shown = shown && doc.Blend.SentKnown && (s.Kind != control.StreamOther || s.Writes > 0)
		}
		if shown {
			t.Row(blendRow(name, s, doc.Seconds)...)
		}
	}
	b.WriteString(t.String())
	if n := len(volumes) - blendRows; n > 0 {
		fmt.Fprintf(&b, "%s less noisy not shown: --json, or --volume NAME\n", plural(n, "volume"))
	}
	if idle > 0 {
		fmt.Fprintf(&b, "%s wrote nothing\n", plural(idle, "volume"))
	}
	b.WriteString(readsLine(doc) + blendLines(doc))
	for _, n := range doc.Notes {
		b.WriteString("note: " + oneLine(n) + "\n")
	}
	return b.String() + "\n"
}

// writers returns the volumes that wrote, those first that add most seeks, and how many did not.
func writers(doc control.TraceBlend) (volumes []control.TraceStream, idle int) {
	for _, s := range doc.Streams {
		switch {
		case s.Kind != control.StreamVolume:
		case s.Without == nil:
			idle++
		default:
			volumes = append(volumes, s)
		}
	}
	slices.SortStableFunc(volumes, func(x, y control.TraceStream) int {
		return cmp.Compare(y.Without.Added, x.Without.Added)
	})
	return volumes, idle
}

// blendRow is the row of one stream.
func blendRow(name string, s control.TraceStream, seconds float64) []string {
	row := []string{name, perSecond(s.Writes, seconds), fmt.Sprintf("%.1f", float64(s.Bytes)/seconds/(1<<20))}
	if s.Writes == 0 {
		return append(row, "-", "-", "-", "-")
	}
	row = append(row, percent(s.Sequential), size(s.MeanRun), figure(s.SeekRate), "-")
	if s.Seeks > 0 {
		row[len(row)-1] = size(s.MedianSeek)
	}
	if s.Without != nil {
		row = append(row, figure(float64(s.Without.Added)/seconds))
	}
	return row
}

// readsLine says what was read, if anything was.
func readsLine(doc control.TraceBlend) string {
	var guests, sent control.TraceStream
	for _, s := range doc.Streams {
		switch sum := &sent; s.Kind {
		case control.StreamVolume:
			sum = &guests
			fallthrough
		case control.StreamLog, control.StreamData, control.StreamMetadata, control.StreamOther:
			sum.Reads += s.Reads
			sum.ReadBytes += s.ReadBytes
		}
	}
	if guests.Reads+sent.Reads == 0 {
		return ""
	}
	of := func(s control.TraceStream) string {
		return fmt.Sprintf("%s/s, %.1f MiB/s", perSecond(s.Reads, doc.Seconds),
			float64(s.ReadBytes)/doc.Seconds/(1<<20))
	}
	return fmt.Sprintf("reads: of the volumes shown %s; of the pool's devices %s\n", of(guests), of(sent))
}

// blendLines are the outcome.
func blendLines(doc control.TraceBlend) string {
	f := doc.Blend
	if f.SeeksAsIs == 0 && f.Own == 0 && f.Merged == 0 {
		return ""
	}
	s := fmt.Sprintf("BLEND %.2f (volumes %s %% sequential on their own -> %s %% merged)", f.Index,
		percent(f.Own), percent(f.Merged))
	if f.Log > 0 {
		s += fmt.Sprintf(", RECOVERED %.2f (log %s %%)", f.Recovered, percent(f.Log))
	}
	s += fmt.Sprintf("\nSEEKS %s/s if sent as is", perSecond(f.SeeksAsIs, doc.Seconds))
	switch {
	case !f.SentKnown:
	case f.Avoided == 0:
		s += " -> none sent"
	default:
		s += fmt.Sprintf(" -> %s/s sent, %s (log, destage, metadata, ways between)",
			perSecond(f.SeeksSent, doc.Seconds), times(f.Avoided))
	}
	return s + "\nmerged: as if one disk held all volumes end to end; computed, not measured\n"
}

// sentTo names the pool's devices.
func sentTo(doc control.TraceBlend) string {
	var names []string
	for _, s := range doc.Streams {
		if s.Kind == control.StreamDevice {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "pool on " + strings.Join(names, " and ") + ", "
}

func times(x float64) string {
	switch {
	case x >= 1.05:
		return figure(x) + " times fewer"
	case x <= 0.95:
		return figure(1/x) + " times more"
	}
	return "as many"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func perSecond(n uint64, seconds float64) string { return figure(float64(n) / seconds) }

// figure returns a number with a decimal where that still tells something.
func figure(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x > -10 && x < 0.1 && x > -0.1:
		return fmt.Sprintf("%.2f", x)
	case x > -10 && x < 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

// percent returns a share in whole percent.
func percent(share float64) string {
	return strconv.Itoa(int(100*share + 0.5))
}

func size(n uint64) string { return units.FormatSize(int64(n)) }
