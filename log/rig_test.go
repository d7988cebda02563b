package log

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// rig drives a ring on a testDisk and knows what must come out of it. Every item has a number: a
// write's first block, a zero's block, a mark's body; so that whatever is replayed can be told.
type rig struct {
	t    testing.TB
	d    *testDisk
	geo  Geometry
	set  Settings
	par  RecoverParams
	rng  *rand.Rand
	ops  *Ops
	ring *Ring
	rep  Report

	next   uint64
	items  map[uint64]*rigItem
	order  []uint64 // items as they were published or replayed in this life
	lost   int
	failed int
}

// rigItem is the oracle's knowledge of one item.
type rigItem struct {
	item  Item
	id    uint64
	lane  int
	state itemState
	seq   uint64
	loc   uint32 // of the last entry seen
	found int    // blocks, in the present replay

	covers []*rigItem // of a flush: what was published before it was pushed
}

type itemState uint8

const (
	maybe   itemState = iota // pushed
	certain                  // acknowledged, or found by a recovery
	never                    // not found by a recovery, or freed
)

var smallGeometry = Geometry{
	AreaOff: 3 * BlockSize, SegmentBlocks: 8, Segments: 12, MaxRecordBlocks: 5, Lanes: 1,
}

// stride is the distance of the items' block numbers.
const stride = 1000

func newRig(t testing.TB, geo Geometry, set Settings) *rig {
	r := &rig{t: t, geo: geo, set: set}
	r.seed(1)
	r.items = map[uint64]*rigItem{}
	r.par = RecoverParams{UUID: uuid{1, 2, 3}, ReplayStart: 1, Generation: 1}
	r.d = newTestDisk(geo.AreaOff + geo.Bytes() + BlockSize)
	for i := range r.d.now {
		r.d.now[i] = byte(i * 7)
	}
	if err := Format(r.d, geo); err != nil {
		t.Fatal(err)
	}
	r.start()
	return r
}

// start recovers, checks what is found, cuts and starts the lanes.
func (r *rig) start() {
	r.t.Helper()
	if err := r.recover(); err != nil {
		r.t.Fatal(err)
	}
	r.cut()
}

func (r *rig) cut() {
	r.t.Helper()
	if err := r.ring.Cut(r.d, r.set.Random); err != nil {
		r.t.Fatal(err)
	}
	r.ops = NewOps(16)
	r.ring.Start(r.ops, r.set, r)
}

// recover replays, and settles what the items' states are if that succeeds.
func (r *rig) recover() (err error) {
	r.t.Helper()
	r.order, r.lost = r.order[:0], 0
	for _, it := range r.items {
		it.found = 0
	}
	r.ring, r.rep, err = Recover(r.d, r.geo, r.par, (*rigReplay)(r))
	if err != nil {
		return err
	}
	for id := range r.next {
		r.judge(r.items[id])
	}
	return nil
}

func (r *rig) judge(it *rigItem) {
	r.t.Helper()
	whole := it.found == int(it.blocks())
	gone := it.seq != 0 && it.seq < r.par.ReplayStart
	switch {
	case it.found != 0 && !whole:
		r.t.Fatalf("item %d: %d of %d blocks replayed", it.id, it.found, it.blocks())
	case it.state == certain && !whole && !gone && r.lost == 0:
		r.t.Fatalf("item %d of lane %d, seq %d, was acknowledged and is gone", it.id, it.lane, it.seq)
	case it.state == never && it.found != 0:
		r.t.Fatalf("item %d, seq %d, was dropped and came back", it.id, it.seq)
	case whole:
		it.state = certain
	case it.state == maybe:
		it.state = never
	}
}

func (it *rigItem) blocks() uint64 {
	if it.item.Kind == ItemMark {
		return 1
	}
	return it.item.Count
}

// content returns block i of a write.
func content(id, i uint64) []byte {
	p := NewBlocks(1)
	binary.LittleEndian.PutUint64(p, id*stride+i+1)
	p[BlockSize-1] = byte(id)
	return p
}

// newItem makes an item of the kind; zero says which blocks of a write are all zero.
func (r *rig) newItem(lane int, kind ItemKind, count uint64, zero ...uint64) *rigItem {
	it := &rigItem{id: r.next, lane: lane}
	r.next++
	r.items[it.id] = it
	it.item = Item{Kind: kind, Node: 7, Block: it.id * stride, Count: count, Ref: it}
	switch kind {
	case ItemMark:
		it.item.MarkKind = uint16(it.id)
		it.item.Body = binary.LittleEndian.AppendUint64(nil, it.id)
	case ItemWrite:
		it.item.Data = NewBlocks(int(count))
		it.item.Zeros = make([]uint64, (count+63)/64)
		for i := range count {
			if slices.Contains(zero, i) {
				it.item.Zeros[i/64] |= 1 << (i % 64)
			} else {
				copy(it.item.Data[i*BlockSize:], content(it.id, i))
			}
			it.item.CRCs = append(it.item.CRCs, Checksum(it.item.Data[i*BlockSize:(i+1)*BlockSize]))
		}
	}
	return it
}

func (r *rig) push(it *rigItem) { r.ring.Lane(it.lane).Push(&it.item) }

// pushFlush pushes a flush of what the lane has published.
func (r *rig) pushFlush(lane int) {
	it := &rigItem{lane: lane}
	it.item = Item{Kind: ItemFlush, Ref: it}
	for _, o := range r.items {
		if o.lane == lane && o.state == maybe && o.seq != 0 {
			it.covers = append(it.covers, o)
		}
	}
	r.push(it)
}

// certify notes that what was published below the smallest sequence number that is not durable must
// survive.
func (r *rig) certify() {
	for _, it := range r.items {
		if it.state == maybe && it.seq != 0 && it.seq < r.ring.MinUndurable() {
			it.state = certain
		}
	}
}

// fork returns a rig that lost power in the state of r, and has not recovered yet.
func (r *rig) fork(seed uint64, keep func(write, sector, sectors int) bool) *rig {
	r.certify()
	f := &rig{t: r.t, geo: r.geo, set: r.set, par: r.par, next: r.next}
	f.d = r.d.fork()
	f.d.crash(keep)
	f.seed(seed)
	f.items = make(map[uint64]*rigItem, len(r.items))
	for id, it := range r.items {
		c := *it
		f.items[id] = &c
	}
	return f
}

func (r *rig) seed(seed uint64) {
	r.rng = rand.New(rand.NewPCG(seed, 2))
	r.set.Random = func(p []byte) {
		for i := range p {
			p[i] = byte(r.rng.Uint32())
		}
	}
}

// write pushes a write of count blocks to lane 0 and pumps.
func (r *rig) write(count uint64) *rigItem {
	it := r.newItem(0, ItemWrite, count)
	r.push(it)
	r.pump()
	return it
}

func (r *rig) pump() {
	for i := range r.ring.Lanes() {
		r.ring.Lane(i).Pump()
	}
	r.d.take(r.ops)
}

// settle completes everything until nothing is left to do.
func (r *rig) settle() {
	r.pump()
	for len(r.d.pending) > 0 {
		r.d.end(r.ops, 0, 0)
		r.pump()
	}
}

// restart loses power, keeping what keep says of what is not durable, and starts again.
func (r *rig) restart(keep func(write, sector, sectors int) bool) {
	r.t.Helper()
	r.d.crash(keep)
	r.start()
}

func keepAll(int, int, int) bool { return true }

func keepNone(int, int, int) bool { return false }

// itemOf returns the item that a block number belongs to, and the block's index in it.
func (r *rig) itemOf(block uint64) (*rigItem, uint64) {
	it := r.items[block/stride]
	if it == nil {
		r.t.Fatalf("block %d belongs to no item", block)
	}
	return it, block % stride
}

// check compares one entry with what was pushed, the content on the device included.
func (r *rig) check(seq uint64, lane int, block, count uint64, loc uint32, crcs []uint32) *rigItem {
	it, at := r.itemOf(block)
	if at+count > it.blocks() || lane != it.lane {
		r.t.Fatalf("item %d of lane %d: blocks %d to %d in lane %d",
			it.id, it.lane, at, at+count, lane)
	}
	for i, crc := range crcs {
		p := make([]byte, BlockSize)
		copy(p, r.d.now[r.geo.Offset(loc+uint32(i)):])
		want := content(it.id, at+uint64(i))
		if Checksum(p) != crc || string(p) != string(want) {
			r.t.Fatalf("item %d: block %d at loc %d is not what was written", it.id, i, loc)
		}
	}
	it.seq, it.loc = seq, loc
	return it
}

func (r *rig) Wrote(seq uint64, lane int, node uint32, block uint64, loc uint32, crcs []uint32) {
	r.check(seq, lane, block, uint64(len(crcs)), loc, crcs)
}

func (r *rig) Zeroed(seq uint64, lane int, node uint32, block, count uint64, loc uint32) {
	r.check(seq, lane, block, count, loc, nil)
}

func (r *rig) Marked(seq uint64, lane int, kind uint16, body []byte, loc uint32) {
	r.check(seq, lane, binary.LittleEndian.Uint64(body)*stride, 1, loc, nil)
}

func (r *rig) ItemDone(it *Item, err error) {
	ri := it.Ref.(*rigItem)
	if err != nil {
		r.failed++
		return
	}
	if it.Kind == ItemFlush {
		for _, o := range ri.covers {
			o.state = certain
		}
		return
	}
	if ri.seq != it.Seq {
		r.t.Fatalf("item %d: seq %d, its entries had %d", ri.id, it.Seq, ri.seq)
	}
	if r.set.Durability == DurableWrite {
		ri.state = certain
	}
	r.order = append(r.order, ri.id)
}

// rigReplay is the rig as the receiver of a replay.
type rigReplay rig

func (p *rigReplay) found(it *rigItem, seq, blocks uint64) {
	r := (*rig)(p)
	if r.par.ReplayStart > seq {
		r.t.Fatalf("seq %d replayed, start is %d", seq, r.par.ReplayStart)
	}
	if it.found == 0 {
		r.order = append(r.order, it.id)
	}
	it.found += int(blocks)
}

func (p *rigReplay) Wrote(seq uint64, lane int, node uint32, block uint64, loc uint32,
	crcs []uint32,
) {
	it := (*rig)(p).check(seq, lane, block, uint64(len(crcs)), loc, crcs)
	p.found(it, seq, uint64(len(crcs)))
}

func (p *rigReplay) Zeroed(seq uint64, lane int, node uint32, block, count uint64, loc uint32) {
	p.found((*rig)(p).check(seq, lane, block, count, loc, nil), seq, count)
}

func (p *rigReplay) Marked(seq uint64, lane int, kind uint16, body []byte, loc uint32) {
	it := (*rig)(p).check(seq, lane, binary.LittleEndian.Uint64(body)*stride, 1, loc, nil)
	if kind != it.item.MarkKind {
		p.t.Fatalf("mark %d has kind %d", it.id, kind)
	}
	p.found(it, seq, 1)
}

func (p *rigReplay) Lost(seq uint64, lane int, node uint32, block uint64, loc uint32, crcs []uint32) {
	count := uint64(len(crcs))
	it := (*rig)(p).check(seq, lane, block, count, loc, nil)
	p.lost += int(count)
	p.found(it, seq, count)
}

// wantOrder checks which items were published, or replayed, in this life.
func (r *rig) wantOrder(want ...uint64) {
	r.t.Helper()
	if !slices.Equal(r.order, want) {
		r.t.Fatalf("order %v, want %v", r.order, want)
	}
}

// ids returns the numbers from a up to b.
func ids(a, b uint64) (s []uint64) {
	for ; a < b; a++ {
		s = append(s, a)
	}
	return s
}
