package log

// Entries is told what records hold. The slices are valid during the call only. A location (loc)
// is the number of a block within the log area.
type Entries interface {
	// Wrote: len(crcs) blocks of node from block on have their content at loc, loc+1, ...
	Wrote(seq uint64, lane int, node uint32, block uint64, loc uint32, crcs []uint32)
	// Zeroed: count blocks of node from block on read as zeros. loc is the record's first block.
	Zeroed(seq uint64, lane int, node uint32, block, count uint64, loc uint32)
	// Marked: a change of the catalogue. loc is the record's first block.
	Marked(seq uint64, lane int, kind uint16, body []byte, loc uint32)
}

// Sink is told by the lanes what was published: in each lane in the order of its records, entry by
// entry, in a durable pool (DurableWrite) only what is on non-volatile media. A sink may call
// Lane.Push, but not Lane.Pump.
type Sink interface {
	Entries
	// ItemDone returns an item to its owner, after the calls for its record's entries. With an
	// error (an ErrLaneDead) nothing was published; it may or may not be found by a recovery.
	ItemDone(it *Item, err error)
}

// Replay is told by recovery what the log holds, in sequence order over all lanes.
type Replay interface {
	Entries
	// Lost: len(crcs) blocks of node from block on were acknowledged and are damaged in the log,
	// where they lie from loc on.
	Lost(seq uint64, lane int, node uint32, block uint64, loc uint32, crcs []uint32)
}
