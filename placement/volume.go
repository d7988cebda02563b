package placement

import "unblend/log"

// node is one generation of a volume: writable (its head) or frozen (a snapshot). Its map is a
// tree; a node whose map is still "as my parent's" has none and reads its nearest ancestor's.
type node struct {
	tree
	rec     NodeRecord // what the catalogue holds, but for the tree's fields
	parent  *node      // frozen
	kid     *node      // first of its children; they are linked by next and prev
	kids    int        // how many there are
	next    *node
	prev    *node
	line    *line
	mapped  *node   // whose map it reads, if mapSeen is the pool's shape
	vol     *Volume // while somebody uses it
	dirty   uint64  // its blocks in the dirty index
	mapSeen uint32

	scrubbed uint32 // the latest scrub that has read all it has

	entering needs  // of requests that are admitted and not yet published
	promised uint64 // pages, for what the log has of it and what enters
	extents  int    // its zero extents
	settled  bool   // a descendant has a map of its own: what the log has of it is in its map
	stale    bool   // rec or the root pointer changed since the last checkpoint
	removed  bool   // the next root has it no more
	queued   bool   // stands in Pool.walks
	counting bool   // stands in Pool.counts
	counted  uint64 // block up to which that has come
}

// Volume is a volume in use: what requests name. It lives from the first use until the node is
// deleted.
type Volume struct {
	node *node
	lane *log.Lane

	inflight  *Request // writing requests that have not ended, oldest first
	newest    *Request
	waiting   waitList // those of them that wait for an earlier one to end
	admission waitList // those that wait for room
	nextAdmit int64    // ns; when the next may be admitted while writers are slowed
	open      int      // requests under way, reads included
	logging   int      // writing requests in the hands of the log
	held      bool     // none is admitted: a snapshot is being made

	stats VolumeStats
}

// VolumeStats counts what one volume did since the daemon started.
type VolumeStats struct {
	Reads, Writes, Discards, Flushes uint64 // requests
	ReadBytes, WriteBytes            uint64
	ZeroBytes                        uint64 // written zeros that became extents or zero entries
	DiscardBytes                     uint64
	Merges                           uint64 // partial blocks completed from their old content
	Errors                           uint64 // requests that ended with an error
	StallNanos                       uint64 // time that writes waited for room
}

// Name returns the volume's name.
func (v *Volume) Name() string { return v.node.rec.Name }

// Size returns the volume's size in bytes.
func (v *Volume) Size() int64 { return int64(v.node.rec.Size) }

// enter puts a writing request at the end of those under way.
func (v *Volume) enter(r *Request) {
	r.older, r.newer = v.newest, nil
	if v.newest == nil {
		v.inflight = r
	} else {
		v.newest.newer = r
	}
	v.newest = r
}

// leave removes a writing request that has ended.
func (v *Volume) leave(r *Request) {
	if r.older == nil {
		v.inflight = r.newer
	} else {
		r.older.newer = r.newer
	}
	if r.newer == nil {
		v.newest = r.older
	} else {
		r.newer.older = r.older
	}
	r.older, r.newer = nil, nil
}

// blocked reports whether r must wait for an earlier request. A partial block is completed from
// its old content, so nothing that writes the block may be under way then, and nothing may pass
// until the merge has been published; whole writes are ordered by the log. Waiting only for older
// requests cannot deadlock.
func (v *Volume) blocked(r *Request) bool {
	for e := r.older; e != nil; e = e.older {
		if e.first+e.count <= r.first || r.first+r.count <= e.first {
			continue
		}
		if planted("merge-lets-write-pass") && !r.partial() {
			continue
		}
		if r.partial() && r.edgeIn(e) || e.partial() && e.edgeIn(r) {
			return true
		}
	}
	return false
}
