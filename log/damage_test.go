package log

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// harm damages a block in one of the ways that a device has.
type harm struct {
	name string
	do   func(d *testDisk, off int64)
}

var harms = []harm{
	{"flipped bit", func(d *testDisk, off int64) { d.now[off+20] ^= 4 }},
	{"zeroed", func(d *testDisk, off int64) { clear(d.now[off : off+BlockSize]) }},
	{"unreadable", func(d *testDisk, off int64) { d.bad[off] = true }},
}

// threeSegments fills two segments of two records each, and begins a third. Every record holds one
// item, so item i is record i+1. With seal, the third segment is sealed.
func threeSegments(t *testing.T, seal bool) *rig {
	r := newRig(t, smallGeometry, Settings{})
	for range 6 {
		r.write(2)
		r.settle()
	}
	if seal {
		r.ring.Lane(0).Seal()
		r.settle()
	}
	if c := r.ring.Counters(); c.Segments != 3 {
		t.Fatalf("counters %+v", c)
	}
	r.d.settle()
	return r
}

// header and payload return where an item's record has its header and its first block.
func (r *rig) header(id uint64) int64 { return r.payload(id) - BlockSize }

func (r *rig) payload(id uint64) int64 { return r.geo.Offset(r.items[id].loc) }

func (r *rig) segmentStart(id uint64) int64 {
	return r.geo.Offset(uint32(r.geo.SegmentOf(r.items[id].loc)) * r.geo.SegmentBlocks)
}

func (r *rig) summary(id uint64) int64 {
	s := r.ring.Segment(r.geo.SegmentOf(r.items[id].loc))
	return r.segmentStart(id) + int64(s.Blocks)*BlockSize
}

// outcome is what recovery makes of damage.
type outcome int

const (
	all     outcome = iota // nothing is missing
	lost                   // one block is replayed as lost
	dropped                // the last record is taken for a tail
	refused                // an error names the damage
)

// The damaged blocks; of two, a refusal names the second one.
var damages = []struct {
	name string
	seal bool
	want outcome
	at   func(r *rig) []int64
}{
	{"payload of the last record", false, dropped, at((*rig).payload, 5)},
	{"header of the last record", false, dropped, at((*rig).header, 5)},
	{"payload below a durable record", false, lost, at((*rig).payload, 4)},
	{"header below a durable record", false, refused, at((*rig).header, 4)},
	{"payload below a summary", true, lost, at((*rig).payload, 5)},
	{"header below a summary", true, refused, at((*rig).header, 5)},
	{"header in a closed segment", false, all, at((*rig).header, 3)},
	{"summary", false, all, at((*rig).summary, 1)},
	{"header of the open segment", false, refused, at((*rig).segmentStart, 5)},
	{"header of a closed segment", false, refused, at((*rig).segmentStart, 3)},
	{"header of the oldest segment", false, refused, at((*rig).segmentStart, 0)},
	{"summary and header", false, refused, func(r *rig) []int64 {
		return []int64{r.summary(1), r.header(1)}
	}},
	{"summary and payload", false, lost, func(r *rig) []int64 {
		return []int64{r.summary(1), r.payload(1)}
	}},
}

func at(place func(r *rig, id uint64) int64, id uint64) func(r *rig) []int64 {
	return func(r *rig) []int64 { return []int64{place(r, id)} }
}

func TestTailOrDamage(t *testing.T) {
	for _, c := range damages {
		for _, h := range harms {
			t.Run(c.name+", "+h.name, func(t *testing.T) {
				r := threeSegments(t, c.seal)
				places := c.at(r)
				for _, off := range places {
					h.do(r.d, off)
				}
				if c.want == dropped {
					r.items[5].state = maybe
				}
				err := r.recover()
				if c.want == refused {
					wantCorrupt(t, err, places[len(places)-1])
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				r.wantOutcome(c.want)
				r.cut()
				r.write(1)
				r.settle()
			})
		}
	}
}

// wantOutcome checks the replay of six items.
func (r *rig) wantOutcome(want outcome) {
	r.t.Helper()
	items, blocks := 6, 0
	switch want {
	case lost:
		blocks = 1
	case dropped:
		items = 5
	}
	if len(r.order) != items || r.lost != blocks || r.rep.LostBlocks != uint64(blocks) {
		r.t.Fatalf("items %v, %d blocks lost", r.order, r.lost)
	}
}

// A power cut tears the opening of the next segment, before the last one has its summary. What has
// landed of it knows that the last record of the head was durable.
func TestTornOpeningTellsDamageFromTail(t *testing.T) {
	for _, c := range []struct {
		name string
		want outcome
		keep func(write, sector, sectors int) bool // of the summary and two records
	}{
		{"nothing", dropped, keepNone},
		{"the first record", lost, func(w, s, _ int) bool { return w == 1 && s >= BlockSize/sector }},
		{"the second record", lost, func(w, _, _ int) bool { return w == 2 }},
	} {
		for _, h := range harms {
			t.Run(c.name+", "+h.name, func(t *testing.T) {
				r := threeSegments(t, false)
				r.write(2)
				r.write(2)
				if n := r.d.unstable(); n != 3 || r.ring.Counters().Segments != 4 {
					t.Fatalf("%d writes under way, %+v", n, r.ring.Counters())
				}
				r.d.crash(c.keep)
				h.do(r.d, r.payload(5))
				if c.want == dropped {
					r.items[5].state = maybe
				}
				for range 2 { // the second time the head is a closed segment
					if err := r.recover(); err != nil {
						t.Fatal(err)
					}
					r.wantOutcome(c.want)
					r.cut()
				}
				r.write(1)
				r.settle()
			})
		}
	}
}

func wantCorrupt(t *testing.T, err error, off int64) {
	t.Helper()
	var c *CorruptError
	if !errors.As(err, &c) || !errors.Is(err, ErrCorrupt) {
		t.Fatalf("error %v, want a CorruptError", err)
	}
	if c.Off != off || c.Dev != Fast || c.Want == "" || c.Got == "" {
		t.Fatalf("error %v, want one at offset %d", err, off)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("offset %d of the fast device", off)) {
		t.Fatalf("error %q does not name the place", err)
	}
}

// A damaged record below the replay start hides those behind it, of which the last is above.
func TestDamageBelowTheReplayStartHidesNothing(t *testing.T) {
	for _, h := range harms {
		t.Run(h.name, func(t *testing.T) {
			r := threeSegments(t, false)
			r.par.ReplayStart = r.items[5].seq
			h.do(r.d, r.header(4))
			wantCorrupt(t, r.recover(), r.header(4))
		})
	}
}

// What is below the replay start is not needed, and does not matter however damaged it is.
func TestDamageBelowTheReplayStart(t *testing.T) {
	for block := range int64(3 * 8) {
		r := threeSegments(t, true)
		r.par.ReplayStart = 7
		harms[0].do(r.d, r.geo.AreaOff+block*BlockSize)
		if err := r.recover(); err != nil || len(r.order) != 0 {
			t.Fatalf("block %d: %v, %v", block, err, r.order)
		}
		r.cut()
		r.write(1)
		r.settle()
		r.restart(keepNone)
		r.wantOrder(6)
	}
}

// Verify finds what recovery does not look at: headers that a summary stands for, and summaries.
func TestVerifyFindsAndMends(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    func(r *rig) int64
		trace bool
	}{
		{"record header", func(r *rig) int64 { return r.header(1) }, false},
		{"record header of the second segment", func(r *rig) int64 { return r.header(2) }, false},
		{"summary", func(r *rig) int64 { return r.summary(1) }, true},
	} {
		for _, h := range harms {
			t.Run(c.name+", "+h.name, func(t *testing.T) {
				r := threeSegments(t, false)
				if f, err := Verify(r.d, r.geo, r.par, false); len(f) != 0 || err != nil {
					t.Fatalf("without damage: %v, %v", f, err)
				}
				h.do(r.d, c.at(r))
				for _, mend := range []bool{false, true} {
					f, err := Verify(r.d, r.geo, r.par, mend)
					if err != nil || len(f) != 1 || f[0].Trace != c.trace || f[0].Mended != mend ||
						f[0].Off != c.at(r) {
						t.Fatalf("findings %+v, %v", f, err)
					}
					wantCorrupt(t, f[0].Err, c.at(r))
				}
				delete(r.d.bad, c.at(r)) // it was written
				if f, err := Verify(r.d, r.geo, r.par, false); len(f) != 0 || err != nil {
					t.Fatalf("mended, but: %v, %v", f, err)
				}
				for id := range uint64(4) { // now those that were mended are what it reads
					clear(r.d.now[r.summary(id):][:BlockSize])
				}
				if err := r.recover(); err != nil {
					t.Fatal(err)
				}
				r.wantOutcome(all)
			})
		}
	}
}

// What recovery cannot do without is an error of Verify, too.
func TestVerifyEndsAsRecoveryDoes(t *testing.T) {
	r := threeSegments(t, false)
	harms[0].do(r.d, r.summary(1))
	harms[0].do(r.d, r.header(1))
	_, err := Verify(r.d, r.geo, r.par, true)
	wantCorrupt(t, err, r.header(1))
}

func TestOlderRootIsRefused(t *testing.T) {
	r := newRig(t, smallGeometry, Settings{})
	r.ring.SetGeneration(5)
	r.write(1)
	r.settle()
	r.par.Generation = 4
	if err := r.recover(); !errors.Is(err, ErrOldRoot) {
		t.Fatalf("error %v", err)
	}
	r.par.Generation = 5
	r.start()
}

func TestNewerVersionIsRefused(t *testing.T) {
	r := threeSegments(t, false)
	p := r.d.now[r.segmentStart(0):]
	le.PutUint16(p[8:], segmentVersion+1)
	le.PutUint32(p[crcAt:], checksumWithout(p[:segmentHeaderSize]))
	if err := r.recover(); !errors.Is(err, ErrVersion) {
		t.Fatalf("error %v", err)
	}
	r = threeSegments(t, false)
	p = r.d.now[r.header(4):]
	le.PutUint16(p[recordHeaderSize:], 9)
	n := recordHeaderSize + le.Uint32(p[80:])
	le.PutUint32(p[crcAt:], checksumWithout(p[:n]))
	if err := r.recover(); !errors.Is(err, ErrVersion) {
		t.Fatalf("error %v", err)
	}
}

// A version that is damaged is not a newer program's: of a live segment it is damage, and of one below
// the replay start it does not matter.
func TestDamagedVersionIsNoNewerOne(t *testing.T) {
	for bit := range 16 {
		r := threeSegments(t, false)
		p := r.d.now[r.segmentStart(0):]
		le.PutUint16(p[8:], le.Uint16(p[8:])^1<<bit)
		wantCorrupt(t, r.recover(), r.segmentStart(0))
		r.par.ReplayStart = r.items[4].seq
		if err := r.recover(); err != nil {
			t.Fatalf("bit %d of a free segment's version: %v", bit, err)
		}
	}
}

func TestAnotherPoolsLogIsEmpty(t *testing.T) {
	r := threeSegments(t, false)
	r.par.UUID[0]++
	clear(r.items)
	r.next = 0
	r.start()
	if len(r.order) != 0 || r.rep.Lanes != 0 {
		t.Fatalf("%v, %+v", r.order, r.rep)
	}
}

func TestGeometryIsChecked(t *testing.T) {
	size := smallGeometry.AreaOff + smallGeometry.Bytes()
	for name, change := range map[string]func(g *Geometry){
		"unaligned":        func(g *Geometry) { g.AreaOff++ },
		"negative":         func(g *Geometry) { g.AreaOff = -BlockSize },
		"beyond the end":   func(g *Geometry) { g.Segments++ },
		"short segments":   func(g *Geometry) { g.SegmentBlocks = 7 },
		"no segments":      func(g *Geometry) { g.Segments = 0 },
		"too many blocks":  func(g *Geometry) { g.Segments, g.SegmentBlocks = 1<<20, 1<<11 },
		"records too long": func(g *Geometry) { g.MaxRecordBlocks = 6 },
		"no records":       func(g *Geometry) { g.MaxRecordBlocks = 0 },
		"no lanes":         func(g *Geometry) { g.Lanes = 0 },
		"too many lanes":   func(g *Geometry) { g.Lanes = MaxLanes + 1 },
		"lanes for more":   func(g *Geometry) { g.Lanes = 6 },
	} {
		g := smallGeometry
		change(&g)
		if err := g.Validate(size); !errors.Is(err, ErrGeometry) {
			t.Errorf("%s: error %v", name, err)
		}
		d := newTestDisk(size)
		if _, _, err := Recover(d, g, RecoverParams{ReplayStart: 1}, nil); !errors.Is(err, ErrGeometry) {
			t.Errorf("%s: recovery: %v", name, err)
		}
		if Format(d, g) == nil || Prefill(d, g, nil) == nil {
			t.Errorf("%s: formatted", name)
		}
	}
	g := Geometry{
		SegmentBlocks: DefaultSegmentBlocks, Segments: 256,
		MaxRecordBlocks: DefaultRecordBlocks, Lanes: 4,
	}
	if err := g.Validate(4 << 30); err != nil {
		t.Fatal(err)
	}
}

// A device that cannot be read at all is no empty log: everything acknowledged would be gone.
func TestADeadDeviceIsNoEmptyLog(t *testing.T) {
	r := threeSegments(t, false)
	r.certify()
	for off := range r.d.Size() / BlockSize {
		r.d.bad[off*BlockSize] = true
	}
	if err := r.recover(); !errors.Is(err, errTest) {
		t.Fatalf("recovery of an unreadable log: %v", err)
	}
	r.d.bad = map[int64]bool{}
	r.start()
}
