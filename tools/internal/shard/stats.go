package shard

import (
	"unblend/log"
	"unblend/placement"
)

// Stats counts what the shards did since Start.
type Stats struct {
	Served    uint64 // guest requests answered
	LogWrites uint64 // device writes into the log
	LogBytes  uint64
	// Written elsewhere: to volumes' places, and maps, catalogue and roots.
	DataBytes, MetadataBytes uint64

	ReadErrors  [log.Devs]uint64 // device operations
	WriteErrors [log.Devs]uint64 // likewise, flushes included
}

// Stats returns the counters.
func (s *Shards) Stats() (Stats, error) {
	_, st, err := s.StatusAndStats()
	return st, err
}

// StatusAndStats returns the pool's state and the counters, as they were at one moment, but for Served.
func (s *Shards) StatusAndStats() (p placement.Status, st Stats, err error) {
	err = s.Do(func() { p, st = s.pool.Status(), s.stats })
	for _, sh := range s.all {
		if err == nil {
			err = sh.on(func() { st.Served += sh.served })
		}
	}
	return p, st, err
}

// countDone counts an operation that has ended.
func (e *engine) countDone(op *log.Op, res int32) {
	switch {
	case res < 0 && op.Kind == log.Read:
		e.stats.ReadErrors[op.Dev]++
	case res < 0:
		e.stats.WriteErrors[op.Dev]++
	case op.Kind == log.Write && op.Dev == log.Fast &&
		op.Off >= e.logStart && op.Off < e.logEnd:
		e.stats.LogWrites++
		e.stats.LogBytes += uint64(res)
	case op.Kind == log.Write && e.pool.IsData(op.Dev, op.Off):
		e.stats.DataBytes += uint64(res)
	case op.Kind == log.Write:
		e.stats.MetadataBytes += uint64(res)
	}
}
