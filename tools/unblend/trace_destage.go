package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"unblend/tools/internal/blend"
	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// destages prints what became of what guests wrote. What a comparison finds to be wrong does not end it.
func (o *traceOptions) destages(ctx context.Context, in *invocation) error {
	daemon, err := o.begin(ctx, in)
	if err != nil {
		return err
	}
	t, err := blend.OpenDestage(ctx, daemon, o.destage)
	if err != nil {
		return err
	}
	o.announce(in)
	var wrong error
	err = watch(ctx, o, t, func(doc control.TraceDestage) error {
		wrong = cmp.Or(wrong, verified(doc.Verify))
		doc.Volumes = slices.DeleteFunc(doc.Volumes, func(r control.DestageRow) bool { return !o.shown(r.Name) })
		return in.answerLine(doc, destageScreen(doc))
	})
	return cmp.Or(wrong, errors.Join(err, t.Close()))
}

// verified returns what a comparison has found to be wrong.
func verified(v *control.VerifyResult) error {
	if v == nil || v.OK {
		return nil
	}
	e := &control.Error{
		Code: control.CodeDegraded, Message: "trace: what the pool's devices get could not be seen",
		Next: "see the notes of: unblend trace blend 1 1",
	}
	for _, c := range v.Classes {
		if c.Off > v.Limit {
			e.Message = fmt.Sprintf("trace: %s: the kernel was seen to write %d bytes, the daemon counts %s",
				c.Class, c.Seen, between(c.Least, c.Most))
			e.Next = "look for other writers of the pool's devices"
			break
		}
	}
	return e
}

func between(least, most uint64) string {
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// destageScreen lays a report out for people.
func destageScreen(doc control.TraceDestage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f s, log %s %% full, %d events lost\n", doc.Seconds, percent(doc.LogFill),
		doc.EventsLost)
	t := units.NewTable("VOLUME", ">WRITTEN", ">ABSORBED", ">DESTAGED", ">FILL", ">RUN", ">MEDIAN",
		">SEEKS/MiB", ">IN LOG 50 %", ">99 %", ">STALLED")
	rows := slices.DeleteFunc(slices.Clone(doc.Volumes), func(r control.DestageRow) bool {
		return r.Logged+r.Placed+r.Destaged+r.Absorbed+r.Dropped == 0 && r.StallSeconds == 0
	})
	slices.SortStableFunc(rows, func(x, y control.DestageRow) int { return cmp.Compare(y.Logged, x.Logged) })
	for i, r := range rows {
		if i < blendRows {
			t.Row(destageCells(r.Name, r)...)
		}
	}
	t.Row(destageCells("all", doc.Total)...)
	b.WriteString(t.String())
	if n := len(rows) - blendRows; n > 0 {
		fmt.Fprintf(&b, "%s not shown that wrote less: --json, or --volume NAME\n", plural(n, "volume"))
	}
	b.WriteString(destageLines(doc))
	for _, n := range doc.Notes {
		b.WriteString("note: " + oneLine(n) + "\n")
	}
	return b.String() + "\n"
}

// destageCells is one row.
func destageCells(name string, r control.DestageRow) []string {
	row := []string{name, size(r.WriteBytes)}
	if r.Absorbed+r.Dropped+r.Destaged == 0 {
		row = append(row, "-")
	} else {
		row = append(row, percent(r.AbsorbedShare)+" %")
	}
	row = append(row, size(r.Destaged))
	if r.Runs == 0 {
		row = append(row, "-", "-", "-", "-")
	} else {
		row = append(row, percent(r.Fill)+" %", size(r.MeanRun), size(r.MedianRun), figure(r.SeekRate))
	}
	if r.AgeP99 == 0 {
		row = append(row, "-", "-")
	} else {
		row = append(row, seconds(r.AgeP50), seconds(r.AgeP99))
	}
	return append(row, seconds(r.StallSeconds))
}

// destageLines are what belongs to the pool alone.
func destageLines(doc control.TraceDestage) string {
	t, d := &doc.Total, &doc.Devices
	source := "as the kernel sent it"
	if !d.Seen {
		source = "as the daemon counts it"
	}
	moved := min(d.Data, d.ReplacedBytes)
	s := fmt.Sprintf("SENT log %s, destage %s, re-placement %s, metadata %s, %s\n", size(d.Log),
		size(d.Data-moved), size(moved), size(d.Metadata), source)
	s += fmt.Sprintf("READ for destage %s\n", size(d.DestageReadBytes))
	if t.WriteBytes > 0 {
		s += fmt.Sprintf("WRITE AMPLIFICATION %.2f (floor %.2f: logged once, what is left moved once)\n",
			d.Amplification, d.Floor)
	}
	s += fmt.Sprintf("LOGGED %s = written %s + partial blocks %s - zeros %s\n", size(t.Logged),
		size(t.WriteBytes), size(t.MergeBytes), size(t.ZeroBytes))
	s += fmt.Sprintf("       = absorbed %s + dropped %s + destaged %s + more in the log %s\n",
		size(t.Absorbed), size(t.Dropped), size(t.Destaged), signed(t.LiveChange))
	if t.Lost > 0 {
		s += fmt.Sprintf("       + lost %s\n", size(t.Lost))
	}
	if e := doc.Efficiency; e != nil {
		s += fmt.Sprintf("EFFICIENCY %.1f: %.2f s of a disk's time if sent as is, %.2f s as sent"+
			" (a seek takes %g ms, %g MB/s)\n", e.Gain, e.AsIsSeconds, e.SentSeconds, e.SeekMillis,
			e.MBPerSecond)
	}
	return s + verifyLine(doc.Verify)
}

// verifyLine says how the comparison with the daemon's counters came out.
func verifyLine(v *control.VerifyResult) string {
	if v == nil {
		return ""
	}
	var parts []string
	for _, c := range v.Classes {
		parts = append(parts, fmt.Sprintf("%s %d bytes seen, %s counted", c.Class, c.Seen,
			between(c.Least, c.Most)))
	}
	outcome := "VERIFIED "
	if !v.OK {
		outcome = "NOT VERIFIED "
	}
	return outcome + strings.Join(parts, "; ") + "\n"
}

func signed(n int64) string {
	if n < 0 {
		return "-" + units.FormatSize(-n)
	}
	return units.FormatSize(n)
}

// seconds returns a time as a person reads it.
func seconds(s float64) string {
	switch {
	case s == 0:
		return "0"
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1e3)
	case s < 120:
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f min", s/60)
}
