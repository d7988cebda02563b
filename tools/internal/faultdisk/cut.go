package faultdisk

import (
	"errors"
	"maps"
	"slices"
)

// CutReport says what a cut did.
type CutReport struct {
	Mode        Mode      `json:"mode"`        // the one used: never Random
	Connections int       `json:"connections"` // dropped
	Disks       []DiskCut `json:"disks"`       // in the order of Config.Disks
}

// DiskCut says what a cut did to one disk. Sectors is the sum of the last three.
type DiskCut struct {
	Name     string `json:"name"`
	InFlight int    `json:"in_flight"` // writes that had arrived and were not complete
	Sectors  int    `json:"sectors"`   // with more than the durable version
	Durable  int    `json:"durable"`   // of them: fell back to the durable version
	Older    int    `json:"older"`     // of them: kept a later one that is not the newest
	Newest   int    `json:"newest"`    // of them: kept the newest
}

// Cut is a power failure and the return of power: it drops all connections, leaves in each sector
// what mode and seed choose, and accepts connections again. Faults, delays and statistics stay.
//
// A client that connects again by itself goes on as if nothing had happened, on contents that its
// own kernel still believes to be others. Where one may exist use Off, end the client, and On.
//
// The error is that of Server.Err, so that no test goes on with a disk that had refused requests.
func (s *Server) Cut(seed uint64, mode Mode) (CutReport, error) {
	return s.cut(seed, mode, false)
}

// Off is Cut without the return of power: connections are refused until On.
func (s *Server) Off(seed uint64, mode Mode) (CutReport, error) {
	return s.cut(seed, mode, true)
}

// On returns the power after Off.
func (s *Server) On() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = false
}

func (s *Server) cut(seed uint64, mode Mode, off bool) (CutReport, error) {
	if mode >= modeCount {
		return CutReport{}, errors.New("cut: unknown mode " + mode.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return CutReport{}, ErrClosed
	}
	rep := CutReport{Connections: len(s.conns)}
	s.off = off
	s.cuts++
	s.dropConnections()
	rep.Disks = s.landInFlight()
	c := newChooser(seed, mode, cachedSeqs(s.disks))
	rep.Mode = c.mode
	for i, d := range s.disks {
		s.keep(d.cut(c, &rep.Disks[i]))
	}
	return rep, s.err
}

// dropConnections ends all connections and the period that their delayed requests belong to.
func (s *Server) dropConnections() {
	close(s.gone)
	s.gone = make(chan struct{})
	for c := range s.conns {
		c.nc.Close()
	}
	clear(s.conns)
}

// landInFlight puts the writes in flight behind those in the caches, in order of arrival.
func (s *Server) landInFlight() []DiskCut {
	reports := make([]DiskCut, len(s.disks))
	for _, r := range s.inflight {
		s.arena.used -= r.held
		if !r.op.changes() {
			continue
		}
		s.seq++
		s.keep(r.disk.write(s.seq, r.off, r.length, r.payload()))
		reports[slices.Index(s.disks, r.disk)].InFlight++
	}
	s.inflight = nil
	for _, d := range s.disks {
		d.stats.InFlight = 0
	}
	return reports
}

// cut leaves in every sector the version that c picks and empties the cache.
func (d *disk) cut(c *chooser, rep *DiskCut) error {
	rep.Name = d.cfg.Name
	for _, n := range slices.Sorted(maps.Keys(d.cache)) {
		if err := d.cutPage(n, c, rep); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) cutPage(n int64, c *chooser, rep *DiskCut) error {
	vers := d.cache[n]
	width := d.cfg.Sector / slotSize
	picked := make([]uint8, len(vers))
	for slot := 0; slot < pageSize/slotSize; slot += width {
		mask := uint8((uint(1)<<width - 1) << slot)
		newest := len(vers) - 1
		for newest >= 0 && vers[newest].mask&mask == 0 {
			newest--
		}
		if newest < 0 {
			continue
		}
		i := c.pick(vers, mask)
		rep.count(i, newest)
		if i >= 0 {
			picked[i] |= mask
		}
	}
	for i, mask := range picked {
		if mask != 0 {
			if err := d.base.put(n, mask, vers[i].data); err != nil {
				return err
			}
		}
		vers[i].mask = 0
	}
	d.compact(n)
	return nil
}

func (r *DiskCut) count(picked, newest int) {
	r.Sectors++
	switch picked {
	case -1:
		r.Durable++
	case newest:
		r.Newest++
	default:
		r.Older++
	}
}
