package units

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	good := []struct {
		in   string
		want int64
	}{
		{"0", 0},
		{"4096", 4096},
		{"512B", 512},
		{"4K", 4096},
		{"4k", 4096},
		{"4KiB", 4096},
		{"4kib", 4096},
		{"20G", 20 * GiB},
		{"20 GiB", 20 * GiB},
		{" 10GiB ", 10 * GiB},
		{"1.5G", GiB + GiB/2},
		{"0.5K", 512},
		{"256T", 256 * TiB},
		{"7E", 7 * EiB},
		{"2P", 2 * PiB},
		{"9223372036854775807", math.MaxInt64},
		{"0000000001M", MiB},
	}
	for _, c := range good {
		if got, err := ParseSize(c.in); err != nil || got != c.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
	}
	bad := []struct{ in, says string }{
		{"", "empty"},
		{"   ", "empty"},
		{"-1", "negative"},
		{"-20G", "negative"},
		{"20GB", "ambiguous"},
		{"20kb", "ambiguous"},
		{"8E", "8 EiB or more"},
		{"16EiB", "8 EiB or more"},
		{"99999999999999999999", "8 EiB or more"},
		{"1.3K", "whole number of bytes"},
		{"0.1", "whole number of bytes"},
		{"1.", "not a number"},
		{".5G", "not a number"},
		{"1..5G", "not a number"},
		{"1.5.5G", "not a number"},
		{"G", "not a number"},
		{"1e3", "not a number"},
		{"0x10", "not a number"},
		{"1_000", "not a number"},
		{"1/2G", "not a number"},
		{"+5", "not a number"},
		{"five", "unknown unit"},
		{"5Q", "unknown unit"},
		{"5GiBs", "unknown unit"},
		{"5 G G", "not a number"},
		{"٥G", "not a number"},
		{strings.Repeat("9", 1000), "too long"},
	}
	for _, c := range bad {
		got, err := ParseSize(c.in)
		if !errors.Is(err, ErrSize) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("ParseSize(%q) = %d, %v; want an error saying %q", c.in, got, err, c.says)
		}
		if err != nil && len(err.Error()) > 160 {
			t.Errorf("ParseSize(%.20q...): error of %d characters", c.in, len(err.Error()))
		}
	}
}

func TestParseAligned(t *testing.T) {
	if n, err := ParseAligned("1.5M", 4096); err != nil || n != 1536*KiB {
		t.Errorf("1.5M: %d, %v", n, err)
	}
	for _, in := range []string{"1000", "4097", "1.5K", "-4096", "x"} {
		if n, err := ParseAligned(in, 4096); !errors.Is(err, ErrSize) {
			t.Errorf("ParseAligned(%q) = %d, %v; want ErrSize", in, n, err)
		}
	}
}

func TestFormatSize(t *testing.T) {
	cases := []struct {
		n    int64
		want string
	}{
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{20 * GiB, "20 GiB"},
		{1000 * GiB, "1000 GiB"},
		{GiB + GiB/2, "1.5 GiB"},
		{12*GiB + 300*MiB, "12.3 GiB"},
		{123*GiB + 900*MiB, "124 GiB"},
		{GiB - 1, "1 GiB"},
		{TiB - GiB/4, "1 TiB"},
		{10*GiB - 1, "10 GiB"},
		{100*GiB - 1, "100 GiB"},
		{-3 * MiB, "-3 MiB"},
		{math.MaxInt64, "8 EiB"},
		{math.MinInt64, "-8 EiB"},
	}
	for _, c := range cases {
		if got := FormatSize(c.n); got != c.want {
			t.Errorf("FormatSize(%d) = %q, want %q", c.n, got, c.want)
		}
	}
}

func TestSizeFlag(t *testing.T) {
	var z Size
	if z.String() != "" {
		t.Errorf("zero prints as %q", z.String())
	}
	if err := z.Set("4G"); err != nil || z != Size(4*GiB) || z.String() != "4GiB" {
		t.Errorf("Set(4G): %v, %v", z.String(), err)
	}
	if err := z.Set("nonsense"); err == nil || z != Size(4*GiB) {
		t.Errorf("a bad text changed the value to %d, %v", z, err)
	}
}

// FuzzParseSize holds that no text panics, that what parses is never negative, and that the exact
// form of what parses parses to the same number.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"20G", "1.5 KiB", "-1", "8E", "0", "9999999999999.99999T", "1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			if !errors.Is(err, ErrSize) {
				t.Fatalf("ParseSize(%q): %v does not wrap ErrSize", s, err)
			}
			return
		}
		if n < 0 {
			t.Fatalf("ParseSize(%q) = %d", s, n)
		}
		again, err := ParseSize(ExactSize(n))
		if err != nil || again != n {
			t.Fatalf("ParseSize(%q) = %d, whose form %q gives %d, %v", s, n, ExactSize(n), again,
				err)
		}
	})
}
