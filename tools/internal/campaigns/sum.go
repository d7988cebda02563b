package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// sum is what all runs of one kind of campaign on one kernel have seen.
type sum struct {
	kind, kernel string
	runs         int
	last         string // commit of the latest run
	time         string // of that
	total        map[string]float64
}

// add reads the lines of all campaigns and returns their sums, by kind and kernel.
func add(r io.Reader) ([]*sum, error) {
	all := map[string]*sum{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		text := func(name string) string { s, _ := line[name].(string); return s }
		s := &sum{kind: text("kind"), kernel: series(text("kernel")), total: map[string]float64{}}
		if s.kind == "" {
			return nil, fmt.Errorf("line %d has no kind", n)
		}
		key := s.kind + " " + s.kernel
		if all[key] == nil {
			all[key] = s
		}
		all[key].count(line, text("commit"), text("time"))
	}
	sums := []*sum{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		sums = append(sums, all[key])
	}
	return sums, lines.Err()
}

// series returns the first two numbers of a kernel's release.
func series(release string) string {
	parts := strings.SplitN(release, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

// count adds one run.
func (s *sum) count(line map[string]any, commit, time string) {
	s.runs++
	if time >= s.time {
		s.last, s.time = commit, time
	}
	for name, v := range line {
		x, ok := v.(float64)
		switch {
		case !ok || name == "from":
		case isPeak(name):
			s.total[name] = max(s.total[name], x)
		default:
			s.total[name] += x
		}
	}
	if failed, _ := line["failed"].(bool); failed {
		s.total["failures"]++
	}
}

// isPeak reports whether of a figure the largest counts, and not the sum.
func isPeak(name string) bool {
	return strings.HasSuffix(name, "_s") || strings.HasSuffix(name, "_MiB")
}

// table writes the sums as Markdown. changes says how much has changed since a commit.
func table(sums []*sum, changes func(commit string) string) string {
	var b strings.Builder
	b.WriteString("| campaign | runs | last | engine commits since | in all |\n|---|---|---|---|---|\n")
	for _, s := range sums {
		name := s.kind
		if s.kernel != "" {
			name += ", Linux " + s.kernel
		}
		day, _, _ := strings.Cut(s.time, "T")
		fmt.Fprintf(&b, "| %s | %d | %s, %s | %s | %s |\n", name, s.runs, day, s.last, changes(s.last),
			s.figures())
	}
	return b.String()
}

// figures names what was counted, in the order of names.
func (s *sum) figures() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.total)) {
		unit, words := "", strings.ReplaceAll(name, "_", " ")
		switch {
		case name == "seconds":
			unit = " s"
		case strings.HasSuffix(name, "_s"):
			unit, words = " s", "most "+strings.TrimSuffix(words, " s")
		case strings.HasSuffix(name, "_MiB"):
			unit, words = " MiB", "most "+strings.TrimSuffix(words, " MiB")
		}
		all = append(all, fmt.Sprintf("%s %s%s", words, grouped(s.total[name]), unit))
	}
	return strings.Join(all, "; ")
}

// grouped writes a number with commas between its thousands.
func grouped(x float64) string {
	if x != float64(int64(x)) {
		return fmt.Sprintf("%.1f", x)
	}
	digits := fmt.Sprint(int64(x))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
