package placement

import "fmt"

// Stats counts what the pool did since it was opened.
type Stats struct {
	ReadErrors  uint64 // blocks that could not be read, for a guest or to be moved
	Mismatches  uint64 // reads that were done again because of a checksum or an error
	LostBlocks  uint64 // acknowledged blocks that became unreadable in the log
	BadBlocks   uint64 // blocks of the capacity device that could not be written
	IndexProbes uint64 // lookups in the dirty index for reads and merges
	PageHits    uint64 // lookups of metadata pages that were in memory
	PageReads   uint64 // lookups that were not: the page was read
	PageWrites  uint64 // metadata pages, to both homes
	PageDamage  uint64 // copies of metadata pages that were bad
	PageRepairs uint64 // of these, written anew from the other copy
	Checkpoints uint64
	SharedHits  uint64 // blocks that volumes share, copied from memory
	SharedReads uint64 // likewise, read from the device

	DestagedBlocks uint64 // blocks moved from the log to their places
	DestageRuns    uint64 // device writes that this took
	DestageReads   uint64 // device reads of the log for it
	DestageRead    uint64 // blocks that these read
	ReplacedBlocks uint64 // blocks moved to better places while guests were idle
	ReplacedLeaves uint64 // regions of 1 MiB of a volume in which that was done
	IndexStalls    uint64 // times a write found no room in the index
	SpaceStalls    uint64 // times a write found no promise of space

	LastError *BlockError // the latest block that could not be read
}

// BlockError names a block that could not be read.
type BlockError struct {
	Volume  string // or snapshot
	Block   uint64 // of the volume, in blocks
	Device  string // "fast", "capacity"
	Address uint64 // on the device, in blocks
	Err     error
}

func (e *BlockError) Error() string {
	if e.Volume == "" {
		return fmt.Sprintf("%s device, block %d: %v", e.Device, e.Address, e.Err)
	}
	return fmt.Sprintf("%s, block %d (%s device, block %d): %v",
		Object(e.Volume), e.Block, e.Device, e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *BlockError) Unwrap() error { return e.Err }
