package log_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// life drives a ring on a simulated disk, on virtual time, with whatever the disk does to it.
type life struct {
	t    *testing.T
	w    *simdisk.World
	d    *simdisk.Disk
	rng  *rand.Rand
	geo  log.Geometry
	par  log.RecoverParams
	ops  *log.Ops
	ring *log.Ring
	drv  *simdisk.Driver

	state []itemState // by item number
	seqs  []uint64
	found []bool
}

type itemState uint8

const (
	pending itemState = iota
	acknowledged
	gone
)

func newLife(t *testing.T, seed uint64) *life {
	rng := rand.New(rand.NewPCG(seed, 7))
	l := &life{t: t, rng: rng, w: simdisk.NewWorld(seed)}
	l.geo = log.Geometry{
		SegmentBlocks: 8 + rng.Uint32N(9), Segments: 8 + rng.Uint32N(8), MaxRecordBlocks: 5,
		Lanes: 1 + rng.IntN(3),
	}
	cfg := simdisk.Config{
		Name: "log", Size: l.geo.Bytes(), Volatile: rng.IntN(2) == 0,
		Timing: simdisk.Random{Min: 1000, Max: 100_000},
	}
	cfg.Faults.Rate[simdisk.FailWrite] = 0.01
	cfg.Faults.Rate[simdisk.ShortWrite] = 0.005
	cfg.Faults.Rate[simdisk.CutUnreadable] = 0.1
	l.d = l.w.NewDisk(cfg)
	l.par = log.RecoverParams{UUID: [16]byte{9}, ReplayStart: 1, Generation: 1}
	l.quiet(func() error { return log.Format(l.d.Sync(), l.geo) })
	return l
}

// quiet does what must not meet write errors.
func (l *life) quiet(f func() error) {
	l.t.Helper()
	var none simdisk.Faults
	none.Rate[simdisk.CutUnreadable] = 0.1
	l.d.SetFaults(none)
	if err := f(); err != nil {
		l.t.Fatal(err)
	}
	none.Rate[simdisk.FailWrite] = 0.01
	l.d.SetFaults(none)
}

// start claims the disk, recovers, compares what is found with what was acknowledged, and cuts.
func (l *life) start() {
	l.t.Helper()
	l.w.Restart()
	l.quiet(l.d.Settle)
	l.found = make([]bool, len(l.state))
	ring, rep, err := log.Recover(l.d.Sync(), l.geo, l.par, (*replay)(l))
	if err != nil {
		l.t.Fatal(err)
	}
	if rep.LostBlocks > 0 {
		l.t.Fatalf("%+v", rep)
	}
	for id, s := range l.state {
		switch {
		case s == acknowledged && !l.found[id] && l.seqs[id] >= l.par.ReplayStart:
			l.t.Fatalf("item %d was acknowledged and is gone", id)
		case s == gone && l.found[id]:
			l.t.Fatalf("item %d came back", id)
		case l.found[id]:
			l.state[id] = acknowledged
		case s == pending:
			l.state[id] = gone
		}
	}
	random := func(p []byte) { binary.LittleEndian.PutUint64(p, l.rng.Uint64()) }
	l.quiet(func() error { return ring.Cut(l.d.Sync(), random) })
	l.ring, l.ops = ring, log.NewOps(32)
	ring.Start(l.ops, log.Settings{Random: random, Retries: 20}, l)
	l.drv = l.w.Drive(l.ops.Next, l.ops.Complete, l.d, l.d)
}

func (l *life) push() {
	id := len(l.state)
	l.state, l.seqs = append(l.state, pending), append(l.seqs, 0)
	it := &log.Item{Kind: log.ItemWrite, Node: 3, Block: uint64(id) * 8, Ref: id}
	it.Count = 1 + l.rng.Uint64N(5)
	it.Data = simdisk.Buffer(int(it.Count) * log.BlockSize)
	for i := range it.Count {
		p := it.Data[i*log.BlockSize : (i+1)*log.BlockSize]
		for j := range p {
			p[j] = byte(id + j%3 + 1)
		}
		it.CRCs = append(it.CRCs, log.Checksum(p))
	}
	l.ring.Lane(l.rng.IntN(l.ring.Lanes())).Push(it)
}

func (l *life) step() {
	switch n := l.rng.IntN(100); {
	case n < 40:
		l.push()
	case n < 42:
		l.ring.Lane(l.rng.IntN(l.ring.Lanes())).Seal()
	case n < 45:
		l.checkpoint()
	case n < 46:
		l.w.Crash(nil)
		l.start()
	case n < 47:
		l.w.Kill(50_000)
		l.start()
	default:
		for i := range l.ring.Lanes() {
			l.ring.Lane(i).Pump()
		}
		l.drv.Pump()
		l.w.Step()
	}
}

// checkpoint frees some of the oldest segments.
func (l *life) checkpoint() {
	i := l.ring.Oldest()
	for range l.rng.IntN(4) {
		if i >= 0 {
			i = l.ring.Newer(i)
		}
	}
	start := l.ring.MinUndurable()
	if i >= 0 {
		start = min(start, l.ring.Segment(i).FirstSeq)
	}
	l.par.ReplayStart = max(start, l.par.ReplayStart)
	l.par.Generation++
	l.ring.SetGeneration(l.par.Generation)
	l.ring.FreeBelow(l.par.ReplayStart)
}

func (l *life) Wrote(uint64, int, uint32, uint64, uint32, []uint32) {}
func (l *life) Zeroed(uint64, int, uint32, uint64, uint64, uint32)  {}
func (l *life) Marked(uint64, int, uint16, []byte, uint32)          {}

func (l *life) ItemDone(it *log.Item, err error) {
	if err != nil {
		l.t.Fatal(err)
	}
	id := it.Ref.(int)
	l.state[id], l.seqs[id] = acknowledged, it.Seq
}

type replay life

func (r *replay) Wrote(seq uint64, _ int, _ uint32, block uint64, loc uint32, crcs []uint32) {
	p := make([]byte, log.BlockSize)
	for i, crc := range crcs {
		r.d.Peek(p, r.geo.Offset(loc+uint32(i)))
		if log.Checksum(p) != crc {
			r.t.Fatalf("item %d: block %d has a wrong checksum", block/8, i)
		}
	}
	r.found[block/8], r.seqs[block/8] = true, seq
}

func (r *replay) Zeroed(uint64, int, uint32, uint64, uint64, uint32) {}
func (r *replay) Marked(uint64, int, uint16, []byte, uint32)         {}

func (r *replay) Lost(_ uint64, _ int, _ uint32, block uint64, _ uint32, _ []uint32) {
	r.t.Fatalf("item %d lost", block/8)
}

// Power cuts, deaths of the process whose writes land later, failed and short writes, caches,
// completions in any order. Two runs of a seed do the same.
func TestSimulatedLives(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var hashes [2]uint64
			for i := range hashes {
				l := newLife(t, seed)
				l.start()
				for range 1000 {
					l.step()
				}
				hashes[i] = l.w.Hash()
			}
			if hashes[0] != hashes[1] {
				t.Fatal("two runs of the seed differ")
			}
		})
	}
}
