package bpftrace

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	if c, ok := parse("1200 1197"); !ok || c != (Counts{1200, 1197}) || c.Share() != 0.9975 {
		t.Errorf("%+v, %t", c, ok)
	}
	for _, line := range []string{"", "Attaching 2 probes...", "@writes: 12", "7"} {
		if c, ok := parse(line); ok {
			t.Errorf("%q was read as %+v", line, c)
		}
	}
	if c := (Counts{10, 5}).Sub(Counts{4, 3}); c != (Counts{6, 2}) {
		t.Errorf("the difference is %+v", c)
	}
	if (Counts{}).Share() != 0 {
		t.Error("of nothing there is a share")
	}
}

// TestLatest holds that counts which nobody has read make way.
func TestLatest(t *testing.T) {
	w := &Witness{lines: make(chan Counts, 1)}
	for i := range uint64(3) {
		w.keep(Counts{Writes: i})
	}
	if c, err := w.next(time.Second); err != nil || c.Writes != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	close(w.lines)
	if _, err := w.next(time.Second); err == nil {
		t.Error("the end is not told")
	}
}
