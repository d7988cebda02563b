package shard

import (
	"unblend/log"
	"unblend/placement"
)

// Stats counts what a shard did since Start.
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
func (s *Shard) Stats() (Stats, error) {
	var st Stats
	err := s.Do(func() { st = s.stats })
	return st, err
}

// StatusAndStats returns the pool's state and the counters, as they were at one moment.
func (s *Shard) StatusAndStats() (p placement.Status, st Stats, err error) {
	err = s.Do(func() { p, st = s.pool.Status(), s.stats })
	return p, st, err
}

// countDone counts an operation that has ended.
func (s *Shard) countDone(op *log.Op, res int32) {
	switch {
	case res < 0 && op.Kind == log.Read:
		s.stats.ReadErrors[op.Dev]++
	case res < 0:
		s.stats.WriteErrors[op.Dev]++
	case op.Kind == log.Write && op.Dev == log.Fast &&
		op.Off >= s.cfg.LogStart && op.Off < s.cfg.LogEnd:
		s.stats.LogWrites++
		s.stats.LogBytes += uint64(res)
	case op.Kind == log.Write && s.pool.IsData(op.Dev, op.Off):
		s.stats.DataBytes += uint64(res)
	case op.Kind == log.Write:
		s.stats.MetadataBytes += uint64(res)
	}
}
