package faultdisk

// Stats is what a server has counted since New.
type Stats struct {
	Cuts        int         `json:"cuts"`
	Off         bool        `json:"off"`         // connections are refused until On
	Connections int         `json:"connections"` // open now
	Faults      int         `json:"faults"`      // set and not used up
	Memory      int64       `json:"memory"`      // bytes in use of MemoryLimit
	MemoryLimit int64       `json:"memory_limit"`
	Error       string      `json:"error,omitempty"` // as Server.Err
	Disks       []DiskStats `json:"disks"`           // in the order of Config.Disks
}

// DiskStats counts the requests of one disk by arrival.
type DiskStats struct {
	Name         string `json:"name"`
	Reads        uint64 `json:"reads"`
	Writes       uint64 `json:"writes"` // with and without FUA
	FUA          uint64 `json:"fua"`    // of the writes, trims and zeroes: those with FUA
	Flushes      uint64 `json:"flushes"`
	Trims        uint64 `json:"trims"`
	Zeroes       uint64 `json:"zeroes"`
	BytesRead    int64  `json:"bytes_read"`
	BytesWritten int64  `json:"bytes_written"`
	Failed       uint64 `json:"failed"`    // by a fault
	InFlight     int    `json:"in_flight"` // now
	Cached       int    `json:"cached"`    // pages of 4096 bytes in the volatile cache, now
}

// count takes note of a request.
func (d *DiskStats) count(r *request) {
	switch r.op {
	case Read:
		d.Reads++
		d.BytesRead += r.length
	case Write:
		d.Writes++
		d.BytesWritten += r.length
	case Flush:
		d.Flushes++
	case Trim:
		d.Trims++
	case Zeroes:
		d.Zeroes++
	}
	if r.fua && r.op.changes() {
		d.FUA++
	}
}

// Stats returns the counters at one instant.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Cuts: s.cuts, Off: s.off, Connections: len(s.conns), Faults: len(s.faults),
		Memory: s.arena.used, MemoryLimit: s.arena.limit,
	}
	if s.err != nil {
		st.Error = s.err.Error()
	}
	for _, d := range s.disks {
		ds := d.stats
		ds.Name, ds.Cached = d.cfg.Name, len(d.cache)
		st.Disks = append(st.Disks, ds)
	}
	return st
}
