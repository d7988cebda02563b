package faultdisk

import (
	"fmt"
	"slices"
	"time"
)

// request is one command of a client, from its arrival to its reply.
type request struct {
	conn   *conn
	disk   *disk
	op     Op
	fua    bool
	cookie uint64
	off    int64  // bytes
	length int64  // bytes
	data   []byte // of a write; where a read's go

	cover uint64        // of a flush: the last write completed when it arrived
	fault *armed        // that it hits, or nil
	wait  time.Duration // of a delayed request
	held  int64         // bytes charged to the arena while it is in flight
	errno uint32        // of the reply
}

// payload returns what the request writes; nil stands for zeros.
func (r *request) payload() []byte {
	if r.op == Write {
		return r.data
	}
	return nil
}

// begin takes a request in. Without a delay it is complete on return; else r.wait says when to
// call end. It returns errCut when the connection belongs to a time before the last cut.
func (s *Server) begin(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.conn.gone != s.gone {
		return errCut
	}
	r.cover = s.seq
	r.disk.stats.count(r)
	if r.fault = s.match(r); r.fault != nil {
		r.disk.stats.Failed++
	}
	wait := r.disk.delay[r.op]
	if wait == 0 {
		s.complete(r)
		return nil
	}
	if r.held = r.length; r.op != Read && r.op != Write {
		r.held = 0
	}
	if !s.admit(r, r.held) {
		r.held = 0
		return nil
	}
	r.wait = wait
	s.arena.used += r.held
	s.inflight = append(s.inflight, r)
	r.disk.stats.InFlight++
	return nil
}

// end completes a request whose delay is over.
func (s *Server) end(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.inflight, r)
	if i < 0 {
		return errCut
	}
	s.inflight = slices.Delete(s.inflight, i, i+1)
	s.arena.used -= r.held
	r.disk.stats.InFlight--
	if r.op == Read {
		r.data = make([]byte, r.length)
	}
	s.complete(r)
	return nil
}

// admit reports whether n bytes more fit under the memory limit, and refuses the request if not.
func (s *Server) admit(r *request, n int64) bool {
	if s.arena.room(n) {
		return true
	}
	r.errno = errnoNoSpc
	s.keep(fmt.Errorf("disk %s: %s of %d bytes at offset %d: %w: %d of %d bytes used",
		r.disk.cfg.Name, r.op, r.length, r.off, ErrMemory, s.arena.used, s.arena.limit))
	return false
}

// complete performs a request and sets its errno. From here on a write is in the cache.
func (s *Server) complete(r *request) {
	d := r.disk
	if r.fault != nil {
		r.errno = uint32(r.fault.Errno)
		s.completeFailed(r)
		return
	}
	var err error
	switch {
	case r.op == Read:
		err = d.read(r.data, r.off)
	case r.op == Flush:
		err = d.flush(r.cover)
	case s.admit(r, d.writeCost(r.off, r.length, r.op != Write)):
		s.seq++
		if err = d.write(s.seq, r.off, r.length, r.payload()); err == nil && r.fua {
			err = d.settleRange(s.seq, r.off, r.length)
		}
	}
	if err != nil {
		r.errno = errnoIO
		s.keep(fmt.Errorf("disk %s: %s at offset %d: %w", d.cfg.Name, r.op, r.off, err))
	}
}

// completeFailed does what a request that hit a fault does to the disk.
func (s *Server) completeFailed(r *request) {
	switch {
	case r.op == Flush && r.fault.Lose:
		r.disk.breakCache(r.cover)
	case r.op.changes() && r.fault.Torn:
		if s.admit(r, r.disk.writeCost(r.off, r.length, r.op != Write)) {
			s.keep(s.tear(r))
		}
	}
}

// tear stores about half of the sectors of a failed write.
func (s *Server) tear(r *request) error {
	s.seq++
	data, sector := r.payload(), int64(r.disk.cfg.Sector)
	for off := r.off; off < r.off+r.length; {
		n := min(sector-off%sector, r.off+r.length-off)
		var part []byte
		if data != nil {
			part = data[off-r.off:][:n]
		}
		if r.fault.rng.IntN(2) == 0 {
			if err := r.disk.write(s.seq, off, n, part); err != nil {
				return fmt.Errorf("disk %s: %w", r.disk.cfg.Name, err)
			}
		}
		off += n
	}
	return nil
}
