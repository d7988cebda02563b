package units

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrDuration is returned when a text is not a duration: the text of the error says what is wrong.
var ErrDuration = errors.New("not a duration")

// maxDuration bounds what an operator may ask for; nothing here waits longer than a year.
const maxDuration = 366 * 24 * time.Hour

// Duration is a time span that command line flags can hold.
type Duration time.Duration

// Set parses s; it makes *Duration a flag value.
func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Std returns the span as the standard library has it.
func (d *Duration) Std() time.Duration { return time.Duration(*d) }

// Type names the value in usage texts.
func (d *Duration) Type() string { return "DURATION" }

// String returns the span as FormatDuration does, without the space, so that Set takes it back;
// zero is the empty string, which usage texts read as "no default".
func (d *Duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// ParseDuration returns the span that s names: Go's notation ("1m30s"), with min as another name
// for minutes, d for days, and seconds for a bare number. It returns an error that wraps
// ErrDuration for negative spans and for more than a year.
func ParseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	scale := time.Duration(1)
	switch {
	case allDigits(text):
		text += "s"
	case strings.HasSuffix(text, "min"):
		text = strings.TrimSuffix(text, "in")
	case strings.HasSuffix(text, "d"):
		text, scale = strings.TrimSuffix(text, "d")+"h", 24
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("duration %q: %w", clip(s), ErrDuration)
	case d < 0:
		return 0, fmt.Errorf("duration %q: negative: %w", clip(s), ErrDuration)
	case d > maxDuration/scale:
		return 0, fmt.Errorf("duration %q: more than a year: %w", clip(s), ErrDuration)
	}
	return d * scale, nil
}

// FormatDuration returns d as a person reads it: one unit, two significant digits or all whole ones
// ("850 ms", "41 s", "9.2 min", "3 d").
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-max(d, -maxDuration))
	}
	steps := []struct {
		below time.Duration
		unit  time.Duration
		name  string
	}{
		{time.Microsecond, time.Nanosecond, "ns"},
		{time.Millisecond, time.Microsecond, "us"},
		{time.Second, time.Millisecond, "ms"},
		{time.Minute, time.Second, "s"},
		{time.Hour, time.Minute, "min"},
		{48 * time.Hour, time.Hour, "h"},
	}
	for _, s := range steps {
		if d < s.below {
			return oneDecimal(d, s.unit) + " " + s.name
		}
	}
	return oneDecimal(d, 24*time.Hour) + " d"
}

// oneDecimal prints d in unit, with one decimal where there are fewer than two whole digits.
func oneDecimal(d, unit time.Duration) string {
	v := float64(d) / float64(unit)
	if v >= 9.95 || d%unit == 0 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}
