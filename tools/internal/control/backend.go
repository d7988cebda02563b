package control

import "context"

// Backend is what the daemon does for the socket. Methods are called from several goroutines at
// once; requests have been validated. An error becomes the refusal that ErrorOf makes of it: return
// an *Error to choose code, message and next step, or wrap a sentinel of placement, device or ublk.
// ctx ends when the client goes or the verb's time is up; what was begun then may still happen.
type Backend interface {
	// Create makes a volume and, unless it is told not to, attaches it: the link is there when
	// it returns.
	Create(ctx context.Context, r CreateRequest) (Volume, error)
	// Remove deletes a volume. Unless forced it refuses (CodeInUse) while somebody has it open.
	Remove(ctx context.Context, r RemoveRequest) error
	// Attach makes the device of a volume; the link is there when it returns. A volume that is
	// attached already is returned as it is.
	Attach(ctx context.Context, r AttachRequest) (Volume, error)
	// Detach takes the device away. Unless forced it refuses (CodeInUse) while somebody has it
	// open. A volume that is detached already is returned as it is.
	Detach(ctx context.Context, r DetachRequest) (Volume, error)
	// List calls yield for each volume, in the order of their names, and stops at its error.
	// yield waits for the client: nothing that others need may be held meanwhile.
	List(ctx context.Context, yield func(Volume) error) error
	// Status describes the pool. Schema is filled in by the caller.
	Status(ctx context.Context) (Status, error)
	// Checkpoint makes what is known durable in the maps.
	Checkpoint(ctx context.Context, r CheckpointRequest) error
	// Shutdown begins the daemon's end and returns; the socket goes with it. Unless forced it
	// refuses (CodeInUse) while a volume is open.
	Shutdown(ctx context.Context, r ShutdownRequest) error
}
