package bench

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(c.v); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.v, got, c.want)
		}
	}
}

// outcome makes an outcome of pairs of IOPS: the contender's, unblend's.
func outcome(c Cell, pairs ...[2]float64) Outcome {
	o := Outcome{Schema: SchemaOutcome, Cell: c, Seconds: 60, Machine: Machine{Kernel: "6.12", CPUs: 2}}
	for i, p := range pairs {
		o.Runs = append(o.Runs, Run{Pair: i + 1, Figures: Figures{IOPS: p[0], Bytes: p[0] * 4096}},
			Run{Pair: i + 1, Ours: true, Figures: Figures{IOPS: p[1], Bytes: p[1] * 4096, P99: 2e6}})
	}
	return o
}

// TestRatio: a ratio is the median of the pairs' ratios, not the ratio of the medians.
func TestRatio(t *testing.T) {
	r := ratioOf(outcome(Cell{"loop", "w4-qd32", 1}, [2]float64{100, 50}, [2]float64{10, 8},
		[2]float64{60, 54}))
	if r.Pairs != 3 || r.Median != 0.8 || r.Least != 0.5 || r.Most != 0.9 {
		t.Errorf("%+v", r)
	}
	if r.Theirs.IOPS != 60 || r.Ours.IOPS != 50 || r.Ours.P99 != 2e6 || r.Beside != oursFull {
		t.Errorf("%+v", r)
	}
}

func suiteOfThree() *Suite {
	cells := []Cell{
		{"loop", "w4-qd32", 1}, {"thin-snap", "w4-qd32", 1}, {"qcow2-fresh", "w4-qd32", 1}, {"raw", "sync", 1},
	}
	return newSuite(Settings{Commit: "abc", Pairs: 1, Run: 3e9, Total: 128 * MiB}, cells, []Outcome{
		outcome(cells[0], [2]float64{100, 50}), outcome(cells[1], [2]float64{100, 499}),
		outcome(cells[3], [2]float64{1000, 12}),
	})
}

// TestExpectations: each holds, is missed, or says that nobody looked.
func TestExpectations(t *testing.T) {
	s := suiteOfThree()
	if len(s.Expectations) != 3 {
		t.Fatalf("%+v", s.Expectations)
	}
	text := s.Markdown("core")
	for _, want := range []string{
		"| at least 0.33 | 0.50 | holds |", "| at least 5.00 | 4.99 | missed |",
		"| at least 1.50 | - | not measured |",
		"- qcow2 over nbd, just made, 4 KiB random write, QD 32: not measured yet",
		"| 4 KiB random write, QD 32 | kernel loop, direct I/O | **0.50** (0.50 - 0.50) | all of it written |",
		"|  | dm-thin, just after a snapshot | **4.99** (4.99 - 4.99) | just after a snapshot |",
		"| kernel loop, direct I/O | 100 | 0.4 | 0 ns | 50 | 0.2 | 2 ms |",
		"come in pairs, 1 of each cell", "128 MiB in all", "![the ratios](core.svg)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bench")
	if err := suiteOfThree().Write(dir, "core"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "core.json"))
	var s Suite
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil || len(s.Outcomes) != 3 || len(s.Outcomes[0].Runs) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestSVG: the picture is XML, and has each ratio on its scale.
func TestSVG(t *testing.T) {
	s := suiteOfThree()
	picture := s.SVG()
	d, dots := xml.NewDecoder(strings.NewReader(picture)), 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			dots++
		}
	}
	if dots != 3 {
		t.Errorf("%d dots, want 3:\n%s", dots, picture)
	}
	if from, to := s.scale(); from != -2 || to != 1 {
		t.Errorf("scale from %v to %v", from, to)
	}
}
