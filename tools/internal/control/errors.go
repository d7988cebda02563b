package control

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"unblend/placement"
	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
	"unblend/ublk"
)

// Code says what sort of thing went wrong, for scripts: it decides the exit code.
type Code string

// The codes, by exit code.
const (
	CodeFailed      Code = "failed"      // 1: anything else
	CodeExists      Code = "exists"      // 1: the name is taken
	CodeNoSpace     Code = "no-space"    // 1: no room for what was asked
	CodeTimeout     Code = "timeout"     // 1: not done in time; it may yet happen
	CodeBadRequest  Code = "bad-request" // 2: what was asked makes no sense
	CodeNotFound    Code = "not-found"   // 3: no such volume or snapshot
	CodeUnreachable Code = "unreachable" // 4: no daemon answers
	CodeDenied      Code = "denied"      // 4: the daemon or its socket refuses this user
	CodeDegraded    Code = "degraded"    // 5: the pool is degraded or read-only
	CodeDamaged     Code = "damaged"     // 5: bytes on a device are not what was written there
	CodeUnsupported Code = "unsupported" // 6: the kernel or this program lacks what it takes
	CodeInUse       Code = "in-use"      // 7: somebody has it open, or a volume has snapshots
	CodeHoldsData   Code = "holds-data"  // 7: the device holds something already
)

// ExitInterrupted is the exit code after an interrupt, as shells have it.
const ExitInterrupted = 130

// codes gives every code its exit code and its HTTP status.
var codes = map[Code]struct{ exit, status int }{
	CodeFailed:      {1, http.StatusInternalServerError},
	CodeExists:      {1, http.StatusConflict},
	CodeNoSpace:     {1, http.StatusInsufficientStorage},
	CodeTimeout:     {1, http.StatusGatewayTimeout},
	CodeBadRequest:  {2, http.StatusBadRequest},
	CodeNotFound:    {3, http.StatusNotFound},
	CodeUnreachable: {4, http.StatusServiceUnavailable},
	CodeDenied:      {4, http.StatusForbidden},
	CodeDegraded:    {5, http.StatusServiceUnavailable},
	CodeDamaged:     {5, http.StatusInternalServerError},
	CodeUnsupported: {6, http.StatusNotImplemented},
	CodeInUse:       {7, http.StatusConflict},
	CodeHoldsData:   {7, http.StatusConflict},
}

// Error is a refusal as an operator sees it: the object and the cause, and what to do next.
type Error struct {
	Code    Code   `json:"code" doc:"for scripts; decides the exit code"`
	Message string `json:"message" doc:"object and cause"`
	Next    string `json:"next,omitempty" doc:"what to do about it"`
	Err     error  `json:"-"` // the cause, on the side where it happened
}

// ErrorDocument is how an Error travels.
type ErrorDocument struct {
	Schema Schema `json:"schema"`
	Error  Error  `json:"error" doc:"what is wrong"`
	Exit   int    `json:"exit" doc:"the exit code of the program"`
}

// Error returns the whole line, without the program's name.
func (e *Error) Error() string {
	if e.Next == "" {
		return e.Message
	}
	return e.Message + "; " + e.Next
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns the exit code of the program that ends with this error.
func (e *Error) ExitCode() int {
	if c, ok := codes[e.Code]; ok {
		return c.exit
	}
	return codes[CodeFailed].exit // of a newer daemon
}

func (e *Error) status() int {
	if c, ok := codes[e.Code]; ok {
		return c.status
	}
	return codes[CodeFailed].status
}

// Document wraps the error for output.
func (e *Error) Document() ErrorDocument {
	return ErrorDocument{Schema: SchemaError, Error: *e, Exit: e.ExitCode()}
}

// sentinels gives the errors of the packages below their codes. The first match counts.
var sentinels = []struct {
	err  error
	code Code
}{
	{context.DeadlineExceeded, CodeTimeout},
	{placement.ErrNoVolume, CodeNotFound},
	{placement.ErrExists, CodeExists},
	{placement.ErrName, CodeBadRequest},
	{placement.ErrSize, CodeBadRequest},
	{placement.ErrConfig, CodeBadRequest},
	{units.ErrSize, CodeBadRequest},
	{placement.ErrSnapshot, CodeBadRequest},
	{placement.ErrNotSnapshot, CodeBadRequest},
	{placement.ErrUnrelated, CodeBadRequest},
	{placement.ErrSnapshots, CodeInUse},
	{placement.ErrAttached, CodeInUse},
	{placement.ErrInUse, CodeInUse},
	{placement.ErrFull, CodeNoSpace},
	{placement.ErrTooMany, CodeNoSpace},
	{placement.ErrReadOnly, CodeDegraded},
	{placement.ErrHoldsPool, CodeHoldsData},
	{placement.ErrVersion, CodeUnsupported},
	{placement.ErrDamaged, CodeDamaged},
	{placement.ErrTruncated, CodeDamaged},
	{placement.ErrStale, CodeDamaged},
	{placement.ErrNoRoot, CodeDamaged},
	{placement.ErrMissingDevice, CodeDegraded},
	{device.ErrInUse, CodeInUse},
	{device.ErrHoldsData, CodeHoldsData},
	{device.ErrSameRange, CodeBadRequest},
	{device.ErrNoSpace, CodeNoSpace},
	{ublk.ErrNoDriver, CodeUnsupported},
	{ublk.ErrUnsupported, CodeUnsupported},
	{ublk.ErrBusy, CodeInUse},
	{ublk.ErrTimeout, CodeTimeout},
}

// ErrorOf returns err as an Error: itself if it is or wraps one, else with the code that the cause
// has among the errors of this project. A nil error is nil.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	// Joined errors come as lines; an Error is one line.
	message := strings.ReplaceAll(err.Error(), "\n", "; ")
	e = &Error{Code: CodeFailed, Message: units.Printable(message), Err: err}
	if errors.Is(err, device.ErrPermission) {
		e.Next = "use sudo"
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			e.Code = s.code
			break
		}
	}
	return e
}
