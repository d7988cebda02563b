package units

import (
	"errors"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{
		"30": 30 * time.Second, "30s": 30 * time.Second, "1m30s": 90 * time.Second,
		"5min": 5 * time.Minute, "2d": 48 * time.Hour, "100ms": 100 * time.Millisecond, "0": 0,
		"1.5d": 36 * time.Hour,
	}
	for in, want := range good {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1s", "1x", "400d", "99999999999999h", "s", "1 2", "d"} {
		if got, err := ParseDuration(in); !errors.Is(err, ErrDuration) {
			t.Errorf("ParseDuration(%q) = %v, %v; want ErrDuration", in, got, err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	cases := map[time.Duration]string{
		0:                                 "0 ns",
		850 * time.Millisecond:            "850 ms",
		1500 * time.Microsecond:           "1.5 ms",
		41 * time.Second:                  "41 s",
		9*time.Minute + 12*time.Second:    "9.2 min",
		59*time.Minute + 59*time.Second:   "60 min",
		36 * time.Hour:                    "36 h",
		72 * time.Hour:                    "3 d",
		-2 * time.Second:                  "-2 s",
		1<<63 - 1:                         "106752 d",
		-1 << 63:                          "-366 d",
		12 * time.Microsecond:             "12 us",
		7 * time.Nanosecond:               "7 ns",
		100*time.Hour + 30*time.Minute:    "4.2 d",
		time.Second + 40*time.Millisecond: "1 s",
	}
	for in, want := range cases {
		if got := FormatDuration(in); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestDurationFlag(t *testing.T) {
	var d Duration
	if err := d.Set("90"); err != nil || d.String() != "1m30s" {
		t.Errorf("Set(90): %q, %v", d.String(), err)
	}
	if err := d.Set("soon"); err == nil {
		t.Error("Set(soon) accepted")
	}
}

func TestPercent(t *testing.T) {
	var p Percent
	for in, want := range map[string]Percent{"0": 0, "60": 60, "60%": 60, " 100% ": 100} {
		if err := p.Set(in); err != nil || p != want {
			t.Errorf("Set(%q) = %d, %v; want %d", in, p, err, want)
		}
	}
	for _, in := range []string{"", "%", "101", "-1", "+5", "1.5", "x", "1%%", "99999999999999"} {
		if err := p.Set(in); !errors.Is(err, ErrPercent) {
			t.Errorf("Set(%q) = %v, want ErrPercent", in, err)
		}
	}
}

func TestFormatShare(t *testing.T) {
	cases := []struct {
		part, whole int64
		want        string
	}{
		{0, 0, "-"},
		{0, 10, "0 %"},
		{1, 1000, "<1 %"},
		{5, 10, "50 %"},
		{999, 1000, "99 %"},
		{10, 10, "100 %"},
	}
	for _, c := range cases {
		if got := FormatShare(c.part, c.whole); got != c.want {
			t.Errorf("FormatShare(%d, %d) = %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	tab := NewTable("NAME", ">SIZE", "STATE")
	tab.Row("web1", "20 GiB", "attached")
	tab.Row("database\x1b[2J", "1 TiB")
	tab.Row("é")
	want := "" +
		"NAME            SIZE  STATE\n" +
		"web1          20 GiB  attached\n" +
		"database?[2J   1 TiB\n" +
		"é\n"
	if tab.String() != want {
		t.Errorf("got\n%s\nwant\n%s", tab, want)
	}
}

func TestFormatUUID(t *testing.T) {
	got := FormatUUID([16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255})
	if got != "00010203-0405-0607-0809-0a0b0c0d0eff" {
		t.Errorf("got %s", got)
	}
}
