package placement

import (
	"fmt"
	"unsafe"

	"unblend/log"
)

// FullPolicy says what happens to writes that need space when there is none.
type FullPolicy uint8

// The policies.
const (
	FullWaits FullPolicy = iota // they wait until space is added or freed
	FullFails                   // they end with ENOSPC
)

// Options are the limits and policies of a running pool. Zero values mean the defaults.
type Options struct {
	Frames       int // metadata pages in memory, 4 KiB each
	IndexEntries int // blocks that the dirty index can hold
	Extents      int // zero extents that it can hold
	BatchBlocks  int // blocks destaged at a time
	FreedRuns    int // ranges that can be freed between two checkpoints
	Ops          int // device operations under way
	MaxNodes     int // volumes and snapshots

	Lanes       int // of the log
	LogInFlight int // log writes under way in each lane
	DestageOps  int // device operations of destage and checkpoint under way

	// NoFUA says that the fast device has a volatile cache and makes no single write durable: what
	// fails then may be the flush behind a log write, and the pool becomes read-only at once.
	NoFUA bool

	// HardDisk says which devices turn and have one head, by log.Dev: guests' reads and the back end
	// take turns there, and the log keeps two writes under way that follow each other.
	HardDisk [2]bool

	Low  int // thousandths of the log at which destage begins
	High int // at which writers are slowed

	Idle            int64 // ns without guest requests after which everything is destaged
	CheckpointEvery int64 // ns after which a checkpoint follows the last in any case

	NoReplacement bool // leave in pieces what became scattered

	OnFull FullPolicy
	Rand   func(p []byte) // random bytes, for the nonces of the log
	Wall   func() int64   // Unix time in seconds

	reserveBlocks uint64 // blocks that stay free for moving things
	reservePages  uint64 // pages that stay free for copy-on-write
}

// The defaults; together with the runtime they keep to 100 MB.
const (
	defaultFrames       = 24 << 20 / log.BlockSize
	defaultIndexEntries = 1 << 20
	defaultExtents      = 1 << 15
	defaultBatch        = 2048
	defaultFreed        = 1 << 16
	defaultOps          = 4096
	defaultMaxNodes     = 1 << 16
	defaultInFlight     = 2
	defaultDestageOps   = 16
	hardDestageOps      = 32 // as many as a drive holds
	defaultLow          = 250
	defaultHigh         = 750
	defaultIdle         = 1_000_000_000
	defaultCheckpoint   = 30_000_000_000

	minExtents = maxBlocks/extentMin + 1

	// maxVector is how many blocks the back end moves with one operation: 1 MiB.
	maxVector = 256
)

func setDefault[T int | int64](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// complete fills in the defaults and checks the rest.
func (o *Options) complete() error {
	setDefault(&o.Frames, defaultFrames)
	setDefault(&o.IndexEntries, defaultIndexEntries)
	setDefault(&o.Extents, defaultExtents)
	setDefault(&o.BatchBlocks, defaultBatch)
	setDefault(&o.FreedRuns, defaultFreed)
	setDefault(&o.Ops, defaultOps)
	setDefault(&o.MaxNodes, defaultMaxNodes)
	setDefault(&o.Lanes, 1)
	setDefault(&o.LogInFlight, defaultInFlight)
	if o.HardDisk[log.Capacity] {
		setDefault(&o.DestageOps, hardDestageOps)
	}
	setDefault(&o.DestageOps, defaultDestageOps)
	setDefault(&o.Low, defaultLow)
	setDefault(&o.High, defaultHigh)
	setDefault(&o.Idle, defaultIdle)
	setDefault(&o.CheckpointEvery, defaultCheckpoint)
	switch {
	case o.Frames < minFrames:
		return fmt.Errorf("%d page frames: at least %d: %w", o.Frames, minFrames, ErrConfig)
	case o.IndexEntries < 2*maxBlocks:
		return fmt.Errorf("%d index entries: at least %d: %w", o.IndexEntries, 2*maxBlocks, ErrConfig)
	case o.FreedRuns < minFrames:
		return fmt.Errorf("%d freed ranges: at least %d: %w", o.FreedRuns, minFrames, ErrConfig)
	case o.Extents < minExtents:
		return fmt.Errorf("%d zero extents: at least %d: %w", o.Extents, minExtents, ErrConfig)
	case o.Low <= 0 || o.Low >= o.High || o.High >= 1000:
		return fmt.Errorf("marks of %d and %d thousandths: want 0 < low < high < 1000: %w",
			o.Low, o.High, ErrConfig)
	case o.Ops < 3*maxBlocks+o.keptOps():
		return fmt.Errorf("%d device operations: at least %d: %w",
			o.Ops, 3*maxBlocks+o.keptOps(), ErrConfig)
	}
	return nil
}

// keptOps returns how many device operations reads leave free: for all that the lanes can have
// under way, records, two summaries and a flush, and for a step of the back end.
func (o *Options) keptOps() int { return o.Lanes*(o.LogInFlight+3) + 4 }

// dirtyLimit returns how many dirty frames make a checkpoint necessary: half, or a checkpoint runs.
func (o *Options) dirtyLimit() int { return o.Frames / 2 }

// alignedBytes returns n zero bytes aligned to BlockSize, as direct I/O wants its buffers.
func alignedBytes(n int) []byte {
	if n == 0 {
		return nil
	}
	b := make([]byte, n+log.BlockSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (log.BlockSize - 1)
	return b[skip : skip+n : skip+n]
}
