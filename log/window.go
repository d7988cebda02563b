package log

// windowBlocks is how much recovery reads at a time.
const windowBlocks = 64

// window reads a segment's blocks through a buffer that moves ahead.
type window struct {
	d     Disk
	geo   *Geometry
	rep   *Report
	mem   []byte
	loc   uint32 // location of the first block held
	n     uint32 // blocks held
	ahead uint32 // blocks to read at a time
}

func newWindow(d Disk, geo *Geometry, rep *Report) *window {
	blocks := max(windowBlocks, geo.SummaryBlocks(), 1+maxHeaderBlocks)
	mem := NewBlocks(int(min(blocks, geo.SegmentBlocks)))
	return &window{d: d, geo: geo, rep: rep, mem: mem, ahead: windowBlocks}
}

// blocks returns up to n blocks from location loc on, fewer only at the end of their segment. They
// are valid until the next call.
func (w *window) blocks(loc, n uint32) []byte {
	left := w.geo.SegmentBlocks - loc%w.geo.SegmentBlocks
	n = min(n, left, uint32(len(w.mem)/BlockSize))
	if loc < w.loc || loc+n > w.loc+w.n {
		w.fill(loc, min(max(n, w.ahead), left))
	}
	at := (loc - w.loc) * BlockSize
	return w.mem[at : at+n*BlockSize]
}

// fill reads n blocks. A block that cannot be read becomes one that holds nothing of the log's and
// has no right checksum; one bad block does not hide its neighbours.
func (w *window) fill(loc, n uint32) {
	w.loc, w.n = loc, n
	w.rep.Blocks += uint64(n)
	if w.d.ReadAt(w.mem[:n*BlockSize], w.geo.Offset(loc)) == nil {
		return
	}
	for i := range n {
		p := w.mem[i*BlockSize : (i+1)*BlockSize]
		if w.d.ReadAt(p, w.geo.Offset(loc+i)) == nil {
			continue
		}
		w.rep.Unreadable++
		for j := range p {
			p[j] = unreadable
		}
	}
}

// unreadable fills a block that could not be read.
const unreadable = 0xdb
