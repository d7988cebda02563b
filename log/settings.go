package log

// Durability says when a record is published.
type Durability uint8

const (
	// DurableWrite publishes what is on non-volatile media: every record is a FUA write.
	DurableWrite Durability = iota
	// DurableFlush publishes what the device has accepted. It is durable after a flush: an
	// ItemFlush, or Ring.DurableTo.
	DurableFlush
)

// Settings tune a ring; they may differ from one start to the next.
type Settings struct {
	InFlight   int  // record writes a lane keeps under way; 0: 2
	Split      bool // divide what is queued among the writes that may be under way; see Lane.gather
	Retries    int  // failed writes in a row that a lane survives; 0: 3; negative: none
	Durability Durability
	Random     func(p []byte) // fills p with random bytes, for nonces
}

// withDefaults returns s with its zero values replaced.
func (s Settings) withDefaults() Settings {
	if s.InFlight <= 0 {
		s.InFlight = 2
	}
	switch {
	case s.Retries == 0:
		s.Retries = 3
	case s.Retries < 0:
		s.Retries = 0
	}
	return s
}

// Counters count what a ring did since it was started.
type Counters struct {
	Records         uint64 // published
	Items           uint64
	PayloadBlocks   uint64
	HeaderBlocks    uint64 // of records
	Writes          uint64 // record writes submitted, failed ones included
	FailedWrites    uint64
	Segments        uint64 // opened
	Summaries       uint64 // submitted
	FailedSummaries uint64 // costs a scan at the next start, nothing else
	Flushes         uint64
}
