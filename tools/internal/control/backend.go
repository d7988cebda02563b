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
	// Remove deletes volumes and snapshots; nothing is begun before all are found fit. Unless
	// forced it refuses (CodeInUse) while somebody has one open; always, a volume with snapshots
	// that are not among them.
	Remove(ctx context.Context, r RemoveRequest) error
	// Snapshot freezes volumes as they are at one moment, and returns the snapshots in the order
	// of the volumes.
	Snapshot(ctx context.Context, r SnapshotRequest) ([]Volume, error)
	// Clone makes volumes that begin as a snapshot is, all of them or none, and returns the first.
	Clone(ctx context.Context, r CloneRequest) (Volume, error)
	// Diff returns one page of what differs between two volumes or snapshots.
	Diff(ctx context.Context, r DiffRequest) (DiffPage, error)
	// Rollback makes a volume what a snapshot of it is. It refuses (CodeInUse) while somebody has
	// it open; if it has a device it has one again afterwards.
	Rollback(ctx context.Context, r RollbackRequest) (Volume, error)
	// Rename gives a volume, its snapshots included, or one snapshot another name, with the link.
	Rename(ctx context.Context, r RenameRequest) (Volume, error)
	// Resize makes a volume larger. Where the kernel cannot, its device grows when it is attached
	// the next time: Volume.DeviceSize says so.
	Resize(ctx context.Context, r ResizeRequest) (Volume, error)
	// Attach makes the device of a volume, or of a snapshot to read it; the link is there when it
	// returns. What is attached already is returned as it is.
	Attach(ctx context.Context, r AttachRequest) (Volume, error)
	// Detach takes the device away. Unless forced it refuses (CodeInUse) while somebody has it
	// open. A volume that is detached already is returned as it is.
	Detach(ctx context.Context, r DetachRequest) (Volume, error)
	// List calls yield for each volume and what else is asked for, in the order of their names,
	// and stops at its error. yield waits for the client: nothing that others need may be held
	// meanwhile.
	List(ctx context.Context, r ListRequest, yield func(Volume) error) error
	// Layout says how a volume or snapshot lies on the capacity device. Schema is filled in by the
	// caller.
	Layout(ctx context.Context, r LayoutRequest) (Layout, error)
	// Flow says what guests wrote and what became of it. Schema is filled in by the caller.
	Flow(ctx context.Context) (Flow, error)
	// Status describes the pool. Schema is filled in by the caller.
	Status(ctx context.Context) (Status, error)
	// Grow lets the pool use what its devices have more than before; with a size its file is made
	// larger first. That there is nothing to add is no error.
	Grow(ctx context.Context, r GrowRequest) (GrowResult, error)
	// StartScrub begins to verify all that the pool holds, in the background, StopScrub ends that, and
	// Scrub says how it stands.
	StartScrub(ctx context.Context, r ScrubRequest) (ScrubStatus, error)
	StopScrub(ctx context.Context) (ScrubStatus, error)
	Scrub(ctx context.Context) (ScrubStatus, error)
	// Checkpoint makes what is known durable in the maps.
	Checkpoint(ctx context.Context, r CheckpointRequest) error
	// Shutdown begins the daemon's end and returns; the socket goes with it. Unless forced it
	// refuses (CodeInUse) while a volume is open.
	Shutdown(ctx context.Context, r ShutdownRequest) error
}
