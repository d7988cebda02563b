package units

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrPercent is returned when a text is not a percentage between 0 and 100.
var ErrPercent = errors.New("not a percentage from 0 to 100")

// Percent is a share in whole percent that command line flags can hold.
type Percent int

// Set parses s ("60" or "60%"); it makes *Percent a flag value.
func (p *Percent) Set(s string) error {
	text := strings.TrimSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.Atoi(text)
	if err != nil || !allDigits(text) || v > 100 {
		return fmt.Errorf("%q: %w", clip(s), ErrPercent)
	}
	*p = Percent(v)
	return nil
}

// Type names the value in usage texts.
func (p *Percent) Type() string { return "PERCENT" }

// String returns the share with its sign, as Set takes it back.
func (p *Percent) String() string { return strconv.Itoa(int(*p)) + "%" }

// FormatShare returns part/whole in percent as a person reads it; a whole of zero is a dash.
func FormatShare(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	share := float64(part) / float64(whole) * 100
	switch {
	case part > 0 && share < 1:
		return "<1 %"
	case part < whole && share > 99:
		return "99 %" // only what is really full reads as full
	}
	return strconv.FormatFloat(share, 'f', 0, 64) + " %"
}
