package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"unblend/tools/internal/blocktrace"
	"unblend/tools/internal/load"
	"unblend/tools/internal/units"
)

// progressEvery is how often a line appears while the guests write.
const progressEvery = 3 * time.Second

// progress prints a line now and then while the guests write.
type progress struct {
	d     *demo
	begin time.Time
	last  time.Time
	seen  []load.Stats
	disk  blocktrace.Counts
}

func newProgress(d *demo) *progress {
	p := &progress{d: d, begin: time.Now(), last: time.Now(), seen: make([]load.Stats, len(d.guests))}
	fmt.Printf("\n         %4s  %s  %8s  %9s\n", "s", p.columns("%9s", func(i int) any {
		return d.guests[i].name
	}), "sent", "on disk")
	fmt.Printf("         %4s  %s  %8s  %9s\n", "", p.columns("%9s", func(int) any {
		return "writes/s"
	}), "MiB/s", "MiB/s")
	if c, err := d.diskCounts(); err == nil {
		p.disk = c
	}
	return p
}

func (p *progress) columns(format string, value func(i int) any) string {
	var b strings.Builder
	for i := range p.d.guests {
		fmt.Fprintf(&b, format, value(i))
		if i < len(p.d.guests)-1 {
			b.WriteString("  ")
		}
	}
	return b.String()
}

// watch prints until the guests have written for some time, or ctx ends.
func (p *progress) watch(ctx context.Context, until time.Duration) {
	for ctx.Err() == nil && time.Since(p.begin) < until {
		wait := min(progressEvery-time.Since(p.last), until-time.Since(p.begin))
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, time.Millisecond)):
		}
		if time.Since(p.last) >= progressEvery {
			p.line()
		}
	}
}

func (p *progress) line() {
	now := time.Now()
	seconds := now.Sub(p.last).Seconds()
	p.last = now
	bytes := uint64(0)
	writes := make([]uint64, len(p.seen))
	for i, g := range p.d.guests {
		s := g.writer.Stats()
		writes[i] = s.Writes - p.seen[i].Writes
		bytes += s.Bytes - p.seen[i].Bytes
		p.seen[i] = s
	}
	disk := "-"
	if c, err := p.d.diskCounts(); err == nil && p.d.place.disk != nil {
		disk = fmt.Sprintf("%.1f", float64(c.Sub(p.disk).WriteBytes)/seconds/(1<<20))
		p.disk = c
	}
	fmt.Printf("         %4.0f  %s  %8.1f  %9s\n", now.Sub(p.begin).Seconds(),
		p.columns("%9.0f", func(i int) any { return float64(writes[i]) / seconds }),
		float64(bytes)/seconds/(1<<20), disk)
}

// counts are what the kernel counted for the guests' devices, and for the pool's disk.
type counts struct {
	guests []blocktrace.Counts
	disk   blocktrace.Counts
}

func (d *demo) counts() (counts, error) {
	var c counts
	for _, g := range d.guests {
		n, err := g.dev.Counts()
		if err != nil {
			return c, err
		}
		c.guests = append(c.guests, n)
	}
	var err error
	c.disk, err = d.diskCounts()
	return c, err
}

// diskCounts returns what the kernel counted for the pool's disk; zeros if there is no one disk.
func (d *demo) diskCounts() (blocktrace.Counts, error) {
	if d.place.disk == nil {
		return blocktrace.Counts{}, nil
	}
	return d.place.disk.Counts()
}

// classes are the streams on the pool's disk, in the order in which they are shown.
var classes = []struct{ name, text string }{
	{"log", "on disk: log"},
	{"data", "on disk: moved to its place"},
	{"metadata", "on disk: maps"},
}

// show prints what the guests sent beside what reached the disk.
func (d *demo) show(before, after counts, w *watch) {
	d.step("What the guests sent, and what became of it (as the kernel saw it):")
	fmt.Println()
	t := units.NewTable("        ", ">requests", ">MiB", ">mean KiB", ">in sequence")
	row := func(name string, requests, bytes uint64, share string) {
		mean := float64(bytes) / 1024 / float64(max(requests, 1))
		t.Row("         "+name, fmt.Sprint(requests), fmt.Sprintf("%.1f", float64(bytes)/(1<<20)),
			fmt.Sprintf("%.1f", mean), share)
	}
	var all blocktrace.Counts
	for i, g := range d.guests {
		c := after.guests[i].Sub(before.guests[i])
		all.Writes, all.WriteBytes = all.Writes+c.Writes, all.WriteBytes+c.WriteBytes
		row(g.name, c.Writes, c.WriteBytes, w.share(func() *blocktrace.Run { return &w.guest[i] }))
	}
	row("all four, as they come", all.Writes, all.WriteBytes,
		w.share(func() *blocktrace.Run { return &w.merged }))
	if w == nil || w.class["log"] == nil {
		row("log, as the daemon says", d.logged.writes, d.logged.bytes, "-")
	} else {
		for _, c := range classes {
			if r := w.class[c.name]; r != nil {
				row(c.text, r.Requests, r.Bytes, percent(r.Share()))
			}
		}
	}
	if d.place.disk != nil {
		c := after.disk.Sub(before.disk)
		row("on disk: all", c.Writes, c.WriteBytes, "")
	}
	fmt.Print(t)
	fmt.Println()
	d.explain(all, w)
	d.showPauses()
}

// explain puts the table into words.
func (d *demo) explain(all blocktrace.Counts, w *watch) {
	if w == nil || w.class["log"] == nil {
		note("%.1f guest writes became one log write.",
			float64(all.Writes)/float64(max(d.logged.writes, 1)))
		return
	}
	if n := w.tracer.Lost(); n > 0 {
		note("(%d requests went by unseen)", n)
	}
	log := w.class["log"]
	note("%.1f guest writes became one log write. Sent on as they came, %s of the writes would",
		float64(all.Writes)/float64(max(log.Requests, 1)), percent(w.merged.Share()))
	note("have followed the one before them on the disk; in the log it is %s.", percent(log.Share()))
}

// showPauses says what the guests noticed of the kill.
func (d *demo) showPauses() {
	var pauses []string
	for _, g := range d.guests {
		pauses = append(pauses, fmt.Sprintf("%s %.1f s", g.name, g.writer.Stats().Pause.Seconds()))
	}
	note("The kill was a pause and no error: %s.", strings.Join(pauses, ", "))
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
