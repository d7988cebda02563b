package perf

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func TestPlot(t *testing.T) {
	var b strings.Builder
	err := Plot(&b, "clones", []float64{10, 100, 1000}, Panel{"us", []float64{0, 5, 10}},
		Panel{"bytes", []float64{0, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// The ends and the middle of the first curve, and the floor of the second.
	for _, want := range []string{`points="80.0,146.0 348.0,90.0 616.0,34.0"`, `616.0,146.0"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

func TestCeiling(t *testing.T) {
	for _, x := range [][2]float64{{0, 1}, {0.7, 1}, {1, 1}, {1.1, 2}, {18, 20}, {501, 1000}} {
		if got := ceiling([]float64{x[0] / 2, x[0]}); got != x[1] {
			t.Errorf("above %g: %g, want %g", x[0], got, x[1])
		}
	}
}
