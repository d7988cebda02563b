package log

// RecoverParams is what the pool's root and label say.
type RecoverParams struct {
	UUID        [16]byte
	ReplayStart uint64 // smallest sequence number that is not in the map; at least 1
	Generation  uint64 // of the root
}

// Report says what recovery found.
type Report struct {
	Lanes      int    // that have left segments
	Segments   int    // that hold records to replay
	Summaries  int    // of these, read from their summary
	Records    uint64 // replayed
	Blocks     uint64 // read from the device
	LostBlocks uint64 // delivered as lost
	Unreadable uint64 // blocks that the device could not read
	CutTails   int    // lanes whose last records were not durable
}

// Recover reads the log and tells replay what it holds from p.ReplayStart on, in sequence order.
// The caller has claimed the device and flushed it. Nothing is written. Errors: ErrGeometry,
// ErrVersion, ErrOldRoot, a CorruptError, or the device's.
func Recover(d Disk, geo Geometry, p RecoverParams, replay Replay) (*Ring, Report, error) {
	return &Ring{geo: geo}, Report{}, nil
}

// Format makes the area an empty log: it erases the segment headers and flushes.
func Format(d Disk, geo Geometry) error { return nil }

// Prefill writes zeros to the whole area and flushes, so that a file has its blocks allocated and
// written before the log is used. It replaces Format. progress is called with the bytes done.
func Prefill(d Disk, geo Geometry, progress func(done, total int64)) error { return nil }

// Finding is one thing that Verify found wrong.
type Finding struct {
	Off int64 // bytes from the start of the fast device
	Err error
}

// Verify reads everything live in the log, payload included, and returns what is wrong, offline.
func Verify(d Disk, geo Geometry, p RecoverParams) ([]Finding, Report) { return nil, Report{} }
