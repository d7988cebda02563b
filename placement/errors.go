package placement

import (
	"errors"
	"fmt"

	"unblend/log"
)

// What a caller may have got wrong. Errors name the object in front of them: "volume web1: ...".
var (
	// ErrNoVolume is returned when no volume or snapshot has the name that was asked for.
	ErrNoVolume = errors.New("no such volume or snapshot")
	// ErrExists is returned when a name is to be given that another volume or snapshot has.
	ErrExists = errors.New("the name is taken")
	// ErrName is returned for a name that breaks the rules of ValidName or ValidNodeName.
	ErrName = errors.New("not a valid name")
	// ErrSize is returned for a size that breaks the rules of ValidSize, or a device too small
	// for what it is to hold.
	ErrSize = errors.New("not a valid size")
	// ErrAttached is returned when something can only be done to a detached volume.
	ErrAttached = errors.New("it is attached")
	// ErrNotAttached is returned when something can only be done to an attached volume.
	ErrNotAttached = errors.New("it is not attached")
	// ErrSnapshots is returned when a volume is to be removed that has snapshots.
	ErrSnapshots = errors.New("the volume has snapshots")
	// ErrSnapshot is returned when something cannot be done to a snapshot.
	ErrSnapshot = errors.New("a snapshot does not change")
	// ErrNotSnapshot is returned when something can only be done with a snapshot.
	ErrNotSnapshot = errors.New("not a snapshot; take one first")
	// ErrUnrelated is returned when two are to be compared that do not begin as the same snapshot.
	ErrUnrelated = errors.New("they have no snapshot in common")
	// ErrInUse is returned when somebody else has claimed a device, or has a volume open.
	ErrInUse = errors.New("in use")
	// ErrTooMany is returned when a limit of the pool or of the format would be passed.
	ErrTooMany = errors.New("too many")
	// ErrFull is returned when the capacity device or the metadata area has no room left for
	// what was asked; reads and whatever needs no new space go on.
	ErrFull = errors.New("the pool is full")
	// ErrReadOnly is returned for changes after the pool stopped accepting them; Status says why.
	ErrReadOnly = errors.New("the pool is read-only")
	// ErrBusy is returned when an operation of the same kind is still under way.
	ErrBusy = errors.New("busy")
	// ErrNoScrub is returned when a scrub is to be stopped and none is under way.
	ErrNoScrub = errors.New("no scrub is under way")
	// ErrStopped is why a scrub ended that somebody has stopped.
	ErrStopped = errors.New("stopped")
	// ErrConfig is returned for settings that contradict each other or are out of range.
	ErrConfig = errors.New("not a valid setting")
)

// What may be wrong with the devices of a pool. No device is written before one of these is
// returned.
var (
	// ErrNotPool is returned when a device does not carry a pool's label.
	ErrNotPool = errors.New("not a pool")
	// ErrHoldsPool is returned when a device that is to be initialized carries a pool's label.
	ErrHoldsPool = errors.New("the device holds a pool")
	// ErrVersion is returned for a format version that this program does not know: a newer
	// program wrote it.
	ErrVersion = errors.New("unknown format version; a newer unblend wrote this")
	// ErrMissingDevice is returned when one of a pool's two devices is not there.
	ErrMissingDevice = errors.New("a device of the pool is missing")
	// ErrSwapped is returned when a device is not the one that stood in its place: of another
	// pool, the other device of this one, or an earlier member that was replaced.
	ErrSwapped = errors.New("not the device that belongs here")
	// ErrTruncated is returned when a device is smaller than its label says.
	ErrTruncated = errors.New("the device is smaller than its label says")
	// ErrStale is returned when the newest readable root is older than what the log was written
	// after: using it would bring back what was overwritten.
	ErrStale = errors.New("the newest root is missing; an older one would bring back old data")
	// ErrWithoutLog is why a pool that was opened without its fast device accepts no writes.
	ErrWithoutLog = errors.New("opened without its log device: the last checkpoint, read-only")
	// ErrNoRoot is returned when no copy of any root is readable.
	ErrNoRoot = errors.New("no readable root")
	// ErrTooManyBad is returned when more blocks of the capacity device have failed than a root
	// can name: the device is dying.
	ErrTooManyBad = errors.New("too many bad blocks on the capacity device")
	// ErrDamaged is returned when bytes on a device are not what was written there. The error
	// around it says where and what: see CorruptError.
	ErrDamaged = errors.New("damaged")
	// ErrLost is returned for a block whose content could not be read when it was moved: reads
	// of it fail until it is written again. It is an ErrDamaged.
	ErrLost = fmt.Errorf("lost: %w", ErrDamaged)
)

// What the engine tells itself; none of these leaves the package.
var (
	// errWait: a page or a slot has to come first; the task that asked waits for it.
	errWait = errors.New("wait")
	// errTight: a checkpoint has to come first.
	errTight = errors.New("a checkpoint is due")
	// errFull: no unit is free; a checkpoint may free some.
	errFull = errors.New("no free unit")
)

// CorruptError says which bytes of which device are not what they should be. It is an ErrDamaged.
type CorruptError struct {
	Dev  log.Dev
	Off  int64  // of the structure, in bytes from the start of the device
	What string // the structure and the field in it, such as "label: checksum"
	Want uint64 // the value that would be right, or the limit that is passed
	Got  uint64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s device, offset %d: %s: want %#x, got %#x",
		e.Dev, e.Off, e.What, e.Want, e.Got)
}

// Unwrap makes the error an ErrDamaged.
func (e *CorruptError) Unwrap() error { return ErrDamaged }

// ChecksumError says that a block or page was read and is not what was written. It is an
// ErrDamaged.
type ChecksumError struct{ Want, Got uint32 }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("checksum: want %#08x, got %#08x", e.Want, e.Got)
}

// Unwrap makes the error an ErrDamaged.
func (e *ChecksumError) Unwrap() error { return ErrDamaged }

// DamagedError says which metadata page has no good copy. It is an ErrDamaged.
type DamagedError struct {
	Key  string // what kind of page
	Page uint64 // its number
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s %d: no copy has the right checksum", e.Key, e.Page)
}

// Unwrap makes the error an ErrDamaged.
func (e *DamagedError) Unwrap() error { return ErrDamaged }

// DeviceError says which operation of which device failed. It wraps the device's error.
type DeviceError struct {
	Op  string
	Dev log.Dev
	Off int64 // bytes from the start of the device
	Err error
}

func (e *DeviceError) Error() string {
	return fmt.Sprintf("%s device: %s at offset %d: %v", e.Dev, e.Op, e.Off, e.Err)
}

// Unwrap returns the device's error.
func (e *DeviceError) Unwrap() error { return e.Err }
