package log

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrCorrupt is returned when bytes that must be on the device are not: what was acknowledged
	// cannot be read back. Every such error is a CorruptError.
	ErrCorrupt = errors.New("log is damaged")
	// ErrOldRoot is returned when a segment was opened under a newer root than the one that
	// recovery was given: that root is not the pool's last, and replay from it would lose writes.
	ErrOldRoot = errors.New("root is older than the log")
	// ErrVersion is returned for a segment that a newer program wrote.
	ErrVersion = errors.New("log format is newer than this program")
	// ErrGeometry is returned for sizes that make no log, or do not fit the device.
	ErrGeometry = errors.New("log geometry is invalid")
	// ErrNoSegment is returned when recovery finds no free segment to cut a lane's tail off with.
	// The ring keeps one in reserve for each lane, so the area was changed by somebody else.
	ErrNoSegment = errors.New("log has no free segment")
	// ErrLaneDead is returned for items of a lane that gave up: too many log writes failed in a
	// row, or a flush failed. The cause is wrapped too.
	ErrLaneDead = errors.New("log can no longer be written")
)

// CorruptError says what is damaged, where, and how that was noticed. It is an ErrCorrupt.
type CorruptError struct {
	Dev  Dev
	Off  int64  // bytes from the start of the device
	What string // the structure: "segment header", "record header", ...
	Want string
	Got  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s at offset %d of the %s device: want %s, got %s",
		e.What, e.Off, e.Dev, e.Want, e.Got)
}

// Unwrap makes the error an ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
