// Package units turns the quantities an operator types into numbers and numbers into what an
// operator reads: sizes, durations, percentages, tables. Sizes are binary throughout, as lvm and
// qemu-img have it: 20G is 20 GiB. JSON never goes through this package; it carries plain integers.
package units

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// The binary multiples, in bytes.
const (
	KiB = int64(1) << 10
	MiB = int64(1) << 20
	GiB = int64(1) << 30
	TiB = int64(1) << 40
	PiB = int64(1) << 50
	EiB = int64(1) << 60
)

// ErrSize is returned when a text is not a size: the text of the error says what is wrong.
var ErrSize = errors.New("not a size")

const (
	suffixes     = "KMGTPE"
	maxSizeChars = 40 // longer than any sensible size, short enough for cheap exact arithmetic
)

// Size is a number of bytes that command line flags can hold.
type Size int64

// Set parses s; it makes *Size a flag value.
func (z *Size) Set(s string) error {
	n, err := ParseSize(s)
	if err != nil {
		return err
	}
	*z = Size(n)
	return nil
}

// Type names the value in usage texts.
func (z *Size) Type() string { return "SIZE" }

// String returns the size as FormatSize does, without the space, so that Set takes it back; zero
// is the empty string, which usage texts read as "no default".
func (z *Size) String() string {
	if *z == 0 {
		return ""
	}
	return ExactSize(int64(*z))
}

// ParseSize returns the number of bytes that s names: digits, perhaps a fraction, perhaps a binary
// unit (K, M, G, T, P, E, each also as KiB; B for bytes). It returns an error that wraps ErrSize
// for negative numbers, for fractions that are no whole number of bytes, for decimal units
// (20GB is 7 % less than 20GiB, so it asks), and for anything of 8 EiB or more.
func ParseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	switch {
	case text == "":
		return 0, fmt.Errorf("size %q: empty: %w", clip(s), ErrSize)
	case len(text) > maxSizeChars:
		return 0, fmt.Errorf("size %q: too long: %w", clip(s), ErrSize)
	case text[0] == '-':
		return 0, fmt.Errorf("size %q: negative: %w", clip(s), ErrSize)
	}
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit, err := parseUnit(text[len(digits):])
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", clip(s), err)
	}
	n, err := multiply(strings.TrimRight(digits, " "), unit)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", clip(s), err)
	}
	return n, nil
}

// ParseAligned is ParseSize for sizes that must be a whole number of blocks of align bytes.
func ParseAligned(s string, align int64) (int64, error) {
	n, err := ParseSize(s)
	if err != nil {
		return 0, err
	}
	if n%align != 0 {
		return 0, fmt.Errorf("size %q: not a multiple of %s: %w", clip(s), FormatSize(align),
			ErrSize)
	}
	return n, nil
}

func parseUnit(u string) (int64, error) {
	up := strings.ToUpper(u)
	if up == "" || up == "B" {
		return 1, nil
	}
	i := strings.IndexByte(suffixes, up[0])
	switch {
	case i < 0:
	case len(up) == 1 || up[1:] == "IB":
		return KiB << (10 * i), nil
	case up[1:] == "B":
		return 0, fmt.Errorf("%s is ambiguous, write %c or %ciB: %w", u, up[0], up[0], ErrSize)
	}
	return 0, fmt.Errorf("unknown unit %q: %w", u, ErrSize)
}

// multiply returns number × unit in exact arithmetic.
func multiply(number string, unit int64) (int64, error) {
	whole, frac, dotted := strings.Cut(number, ".")
	if !allDigits(whole) || dotted && !allDigits(frac) {
		return 0, fmt.Errorf("not a number: %w", ErrSize)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("not a number: %w", ErrSize)
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	switch {
	case !r.IsInt():
		return 0, fmt.Errorf("not a whole number of bytes: %w", ErrSize)
	case !r.Num().IsInt64():
		return 0, fmt.Errorf("8 EiB or more: %w", ErrSize)
	}
	return r.Num().Int64(), nil
}

func allDigits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// FormatSize returns n bytes as a person reads it: three significant digits at most when the size
// is no whole number of its unit ("1.5 GiB"), all of them when it is ("20 GiB").
func FormatSize(n int64) string {
	if n < 0 {
		if n == math.MinInt64 {
			return "-8 EiB"
		}
		return "-" + FormatSize(-n)
	}
	i, unit := -1, int64(1)
	for i+1 < len(suffixes) && n >= unit<<10 {
		i, unit = i+1, unit<<10
	}
	if i < 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	if n%unit == 0 {
		return fmt.Sprintf("%d %ciB", n/unit, suffixes[i])
	}
	v := float64(n) / float64(unit)
	if v >= 1023.5 && i+1 < len(suffixes) { // rounds up into the next unit
		return fmt.Sprintf("1 %ciB", suffixes[i+1])
	}
	return fmt.Sprintf("%s %ciB", significant(v), suffixes[i])
}

// ExactSize returns n bytes in the largest unit that needs no fraction, as ParseSize takes it back.
func ExactSize(n int64) string {
	i, unit := -1, int64(1)
	for i+1 < len(suffixes) && n != 0 && n%(unit<<10) == 0 {
		i, unit = i+1, unit<<10
	}
	if i < 0 {
		return strconv.FormatInt(n, 10) + "B"
	}
	return fmt.Sprintf("%d%ciB", n/unit, suffixes[i])
}

// significant prints v ≥ 1 with three significant digits and no trailing zeros.
func significant(v float64) string {
	decimals := 0
	switch {
	case v < 9.995:
		decimals = 2
	case v < 99.95:
		decimals = 1
	}
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if decimals > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// clip keeps quoted input short enough for one line of error.
func clip(s string) string {
	if len(s) > maxSizeChars {
		return s[:maxSizeChars] + "..."
	}
	return s
}
