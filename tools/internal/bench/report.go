package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"unblend/tools/internal/units"
)

// Write writes the suite into a directory: NAME.md, NAME.json and NAME.svg.
func (s *Suite) Write(dir, name string) error {
	text, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for ext, content := range map[string]string{
		".json": string(text) + "\n", ".md": s.Markdown(name), ".svg": s.SVG(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+ext), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Markdown returns the report; its picture and its raw figures are beside it under the name.
func (s *Suite) Markdown(name string) string {
	var b strings.Builder
	b.WriteString("# unblend beside what a user could have instead\n\n")
	fmt.Fprintf(&b, "The benchmark suite wrote this on %s, of commit %s. [%s.json](%[3]s.json)\n"+
		"has every run.\n\n", s.Time.Format(time.DateOnly), s.Settings.Commit, name)
	b.WriteString("A number is how many times as many requests a second unblend did as the target: above 1 " +
		"unblend is\nfaster. It is the median of pairs, and in parentheses the least and the most of them.\n\n")
	fmt.Fprintf(&b, "![the ratios](%s.svg)\n\n", name)
	s.writeRatios(&b)
	s.writeExpectations(&b)
	s.writeMissing(&b)
	s.writeMethod(&b)
	s.writeFigures(&b)
	return b.String()
}

// columns returns the workloads that there are, with their numbers of volumes, in order.
func (s *Suite) columns() []Cell {
	var all []Cell
	for _, n := range s.volumes() {
		for _, w := range workloads {
			c := Cell{Workload: w.ID, Volumes: n}
			if slices.ContainsFunc(s.Ratios, func(r Ratio) bool { return r.Cell.under() == c }) {
				all = append(all, c)
			}
		}
	}
	return all
}

// under returns a cell without its contender.
func (c Cell) under() Cell { return Cell{Workload: c.Workload, Volumes: c.Volumes} }

func (s *Suite) volumes() []int {
	var all []int
	for _, r := range s.Ratios {
		all = append(all, r.Cell.Volumes)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// rows returns the contenders that there are, in order.
func (s *Suite) rows() []Contender {
	var all []Contender
	for _, t := range contenders {
		if slices.ContainsFunc(s.Ratios, func(r Ratio) bool { return r.Cell.Contender == t.ID }) {
			all = append(all, t)
		}
	}
	return all
}

// writeRatios writes a table for each workload: the columns of one table of all would not fit a page.
func (s *Suite) writeRatios(b *strings.Builder) {
	b.WriteString("## Ratios\n\n")
	t := newMarkdown("workload", "target", "unblend / target", "unblend's volume")
	for _, under := range s.columns() {
		title := under.WorkloadTitle()
		for _, row := range s.rows() {
			r, ok := s.ratio(Cell{row.ID, under.Workload, under.Volumes})
			if !ok {
				continue
			}
			t.row(title, row.Title, "**"+short(r.Median)+"** ("+short(r.Least)+" - "+short(r.Most)+")", r.Beside)
			title = ""
		}
	}
	b.WriteString(t.String() + "\n")
}

func (s *Suite) writeExpectations(b *strings.Builder) {
	if len(s.Expectations) == 0 {
		return
	}
	b.WriteString("## Expected\n\n")
	t := newMarkdown("cell", "expected", "measured", "", "why")
	for _, e := range s.Expectations {
		measured, verdict := "-", "not measured"
		if e.Median > 0 {
			measured, verdict = short(e.Median), "missed"
		}
		if e.Holds {
			verdict = "holds"
		}
		t.row(e.Cell.Title(), "at least "+short(e.Least), measured, verdict, e.Why)
	}
	b.WriteString(t.String() + "\n")
}

func (s *Suite) writeMissing(b *strings.Builder) {
	if len(s.Missing) == 0 {
		return
	}
	b.WriteString("## Missing\n\n")
	for _, m := range s.Missing {
		why, _, _ := strings.Cut(m.Why, "\n")
		fmt.Fprintf(b, "- %s: %s\n", m.Cell.Title(), why)
	}
	b.WriteString("\n")
}

// writeFigures writes the absolute figures.
func (s *Suite) writeFigures(b *strings.Builder) {
	b.WriteString("## Figures behind the ratios\n\nMedians; of an emulated machine they say nothing about " +
		"another one.\n\n")
	t := newMarkdown("workload", "target", "IOPS", "MiB/s", "p99", "unblend: IOPS", "MiB/s", "p99")
	for _, under := range s.columns() {
		title := under.WorkloadTitle()
		for _, row := range s.rows() {
			r, ok := s.ratio(Cell{row.ID, under.Workload, under.Volumes})
			if !ok {
				continue
			}
			t.row(append(append([]string{title, row.Title}, r.Theirs.cells()...), r.Ours.cells()...)...)
			title = ""
		}
	}
	b.WriteString(t.String())
}

func (t Typical) cells() []string {
	return []string{
		fmt.Sprintf("%.0f", t.IOPS), fmt.Sprintf("%.1f", t.Bytes/MiB),
		units.FormatDuration(time.Duration(t.P99)),
	}
}

// markdown is a table in Markdown.
type markdown struct{ strings.Builder }

func newMarkdown(headings ...string) *markdown {
	m := &markdown{}
	m.row(headings...)
	m.row(slices.Repeat([]string{"---"}, len(headings))...)
	return m
}

func (m *markdown) row(cells ...string) {
	fmt.Fprintf(m, "| %s |\n", strings.Join(cells, " | "))
}
