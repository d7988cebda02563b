package placement

import (
	"math/bits"

	"unblend/log"
)

// Flow is what guests wrote and what became of it. For the pool, and for each volume with its
// snapshots, at any moment
//
//	Began + Logged = Absorbed + Dropped + Destaged + Lost + Live
//
// in blocks with data; zeros take no room in the log. When no request is under way, and none has
// failed, the blocks that were logged are what guests wrote but for what is named apart:
//
//	Logged blocks = WriteBytes + MergeBytes - ZeroBytes
type Flow struct {
	WriteBytes uint64 // that guests wrote, write-zeroes and discards left out
	MergeBytes uint64 // that completing partial blocks adds
	ZeroBytes  uint64 // zeros that were found among them, and not logged

	Began    uint64 // blocks that the log had when counting began
	Logged   uint64 // blocks that have entered the log
	Absorbed uint64 // overwritten there by newer data
	Dropped  uint64 // zeroed or discarded there, or removed with their volume
	Destaged uint64 // moved to their places
	Lost     uint64 // could not be read when they were to be moved
	Live     uint64 // blocks that the log has now

	// What was destaged, by ranges of blocks whose places follow each other. Blocks that were
	// overwritten in the log while they were on their way count here, and as Absorbed.
	Placed uint64 // blocks
	Runs   Lengths

	Ages       Ages   // of the blocks that were destaged
	StallNanos uint64 // time that writes waited for room
}

// Lengths counts ranges of blocks: element n those of 2^n up to 2^(n+1) blocks, the last one all
// longer ones too.
type Lengths [12]uint64

// add counts a range of n blocks.
func (l *Lengths) add(n int) { l[min(bits.Len(uint(n)), len(l))-1]++ }

// Ages counts blocks by the time that they were in the log. Element 0 is for those up to 1 ms; then
// four elements share each doubling. The last one counts all older ones too.
type Ages [129]uint64

// ageUnit is the shortest time that is told apart, in nanoseconds.
const ageUnit = 1_000_000

// ageIndex returns the element of an age in nanoseconds.
func ageIndex(nanos int64) int {
	if nanos < ageUnit {
		return 0
	}
	q := uint64(4 * nanos / ageUnit) // of 2^k milliseconds: 2^(k+2), and in steps of a fourth of that
	octave := bits.Len64(q) - 3
	return min(1+octave*4+int(q>>octave&3), len(Ages{})-1)
}

// AgeFrom returns the shortest time that element i of Ages counts, in nanoseconds.
func AgeFrom(i int) int64 {
	if i == 0 {
		return 0
	}
	octave, quarter := (i-1)/4, (i-1)%4
	return int64(4+quarter) << octave * (ageUnit / 4)
}

// VolumeFlow is the flow of one volume.
type VolumeFlow struct {
	Name string
	Line uint32 // another one: the volume was rolled back, and is counted from then on
	Flow Flow
}

// FlowsAfter fills page, up to its capacity, with the flows of volumes that are, or were, in use, as
// VolumesAfter does with what it tells.
func (p *Pool) FlowsAfter(after uint32, page []VolumeFlow) ([]VolumeFlow, uint32) {
	rest := p.nodesAfter(after)
	for k, n := range rest {
		if k == cap(page) {
			return page, rest[k-1].rec.ID
		}
		if n.vol != nil && n.rec.Name != "" && n.line.flow != nil {
			f := VolumeFlow{n.rec.Name, n.line.id, *n.line.flow}
			f.Flow.Live = n.line.data
			page = append(page, f)
		}
	}
	return page, 0
}

// flowOf returns the counters of a line of which a volume was in use since the start. Those of others
// are of no interest to anybody, and take no memory.
func (p *Pool) flowOf(l *line) *Flow {
	if l.flow == nil {
		return &p.unseen
	}
	return l.flow
}

// beginFlow begins to count what becomes of a line's blocks.
func (l *line) beginFlow() {
	if l.flow == nil {
		l.flow = &Flow{Began: l.data}
	}
}

// addData changes the number of blocks with data that the log has of a line.
func (p *Pool) addData(l *line, delta int64) {
	l.data = uint64(int64(l.data) + delta)
	p.dirtyData = uint64(int64(p.dirtyData) + delta)
}

// enterFlow counts a block that has entered the log, in place of an older version of its own if that
// was there and had data.
func (p *Pool) enterFlow(l *line, data, replaced bool) {
	f := p.flowOf(l)
	switch {
	case replaced && data:
		p.flow.Absorbed++
		f.Absorbed++
	case replaced:
		p.flow.Dropped++
		f.Dropped++
	}
	if data {
		p.flow.Logged++
		f.Logged++
	}
}

// countWritten counts what a guest's request has written, and what of it is not in the log, or more.
func (p *Pool) countWritten(r *Request) {
	var w, m, z uint64
	logged := r.needs.data * log.BlockSize
	if r.Kind == Write {
		w, z = uint64(r.Len), r.count*log.BlockSize-logged
		m = r.count*log.BlockSize - w
	} else {
		m = logged // the blocks at the ends of a range of zeros
	}
	for _, f := range [...]*Flow{&p.flow, p.flowOf(r.Vol.node.line)} {
		f.WriteBytes += w
		f.MergeBytes += m
		f.ZeroBytes += z
	}
	r.Vol.stats.ZeroBytes += z
}

// countStall counts that a request waited for room.
func (p *Pool) countStall(r *Request) {
	n := uint64(p.now - r.since)
	r.Vol.stats.StallNanos += n
	p.flow.StallNanos += n
	p.flowOf(r.Vol.node.line).StallNanos += n
}

// leaveFlow counts a block with data of the batch that has left the log.
func (b *backend) leaveFlow(n *node, m *moving) {
	p := b.p
	age, known := p.ageOf(m.loc)
	for _, f := range [...]*Flow{&p.flow, p.flowOf(n.line)} {
		switch {
		case m.flags&dirtyLost != 0:
			f.Lost++
		case !m.write:
			f.Dropped++ // with its volume
		default:
			f.Destaged++
			if known {
				f.Ages[ageIndex(age)]++
			}
		}
	}
}

// countRuns counts the ranges of blocks that are to be written, in the order of their places: for
// the pool, and for each volume those of its own.
func (b *backend) countRuns() {
	p, all, own := b.p, 0, 0
	for i := 1; i <= len(b.order); i++ {
		last := &b.batch[b.order[i-1]]
		joined, same := false, false
		if i < len(b.order) {
			m := &b.batch[b.order[i]]
			joined = m.addr == last.addr+1
			same = joined && p.nodes[m.id].line == p.nodes[last.id].line
		}
		if !same {
			f := p.flowOf(p.nodes[last.id].line)
			f.Runs.add(i - own)
			f.Placed += uint64(i - own)
			own = i
		}
		if !joined {
			p.flow.Runs.add(i - all)
			p.flow.Placed += uint64(i - all)
			all = i
		}
	}
}

// times are when a segment's first and last block with data came, and where they lie. In between, as
// much has come in each part of the time.
type times struct {
	first, last int64 // 0: a recovery has found it, and nobody knows when
	from, end   uint32
}

// came notes that count blocks have come at loc.
func (t *times) came(loc uint32, count int, now int64) {
	if t.first == 0 {
		t.first, t.from = now, loc
	}
	t.last, t.end = now, loc+uint32(count)
}

// ageOf returns for how long the block at loc has been in the log, and whether that is known.
func (p *Pool) ageOf(loc uint32) (int64, bool) {
	t := &p.segments[loc/p.label.SegmentBlocks].times
	if t.first == 0 || loc < t.from || loc >= t.end {
		return 0, false
	}
	at := t.first + int64(float64(t.last-t.first)*float64(loc-t.from)/float64(t.end-t.from))
	return p.now - at, true
}
