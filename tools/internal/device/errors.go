package device

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrInUse is returned when somebody else holds the device: a mount, a swap, a device built
	// on it, another program. The error around it is an InUseError. --force does not help.
	ErrInUse = errors.New("in use")
	// ErrHoldsData is returned when a device that is to be initialized holds something already.
	// The error around it is a DataError.
	ErrHoldsData = errors.New("holds data")
	// ErrUnsuitable is returned for what can never back a pool: a directory, a character device,
	// a read-only device, logical blocks above 4 KiB, a file system without O_DIRECT.
	ErrUnsuitable = errors.New("cannot back a pool")
	// ErrSameRange is returned when the log and the data would share bytes.
	ErrSameRange = errors.New("log and data would lie on the same bytes")
	// ErrPermission is returned when the user may not open the device.
	ErrPermission = errors.New("permission denied")
	// ErrNoSpace is returned when the file system has no room for a file that is to be created.
	ErrNoSpace = errors.New("no space on the file system")
	// ErrNoDevice is returned when there is nothing at the path.
	ErrNoDevice = errors.New("no such device or file")
)

// InUseError says who holds a device. It is an ErrInUse.
type InUseError struct {
	Path string
	By   []string // such as "mounted on /srv"; empty: somebody who could not be found out
}

func (e *InUseError) Error() string {
	by := strings.Join(e.By, ", ")
	if by == "" {
		by = "another program has claimed it"
	}
	return fmt.Sprintf("%s: in use: %s", e.Path, by)
}

// Unwrap makes the error an ErrInUse.
func (e *InUseError) Unwrap() error { return ErrInUse }

// DataError says what a device holds. It is an ErrHoldsData.
type DataError struct {
	Path  string
	Found []Signature // at least one
}

func (e *DataError) Error() string {
	names := make([]string, len(e.Found))
	for i, s := range e.Found {
		names[i] = s.String()
	}
	return fmt.Sprintf("%s: holds %s", e.Path, strings.Join(names, ", "))
}

// Unwrap makes the error an ErrHoldsData.
func (e *DataError) Unwrap() error { return ErrHoldsData }

// unsuitable says why path cannot back a pool.
func unsuitable(path, why string) error {
	return fmt.Errorf("%s: %s: %w", path, why, ErrUnsuitable)
}
