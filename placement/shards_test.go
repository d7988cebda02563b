package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// shardsRig drives one pool from several threads in turn, each of which sleeps until it has a reason to
// take a turn: a request of its own, an operation of its own that ended, more to do, or that another one
// has woken it.
type shardsRig struct {
	*rig
	rng   *rand.Rand
	awake []bool
	ended [][]func() // by thread: completions that it has not looked at
}

// shardTurn is a turn of thread i.
func (r *shardsRig) shardTurn(i int) {
	r.awake[i] = false
	r.p.Tick(r.w.Now() + 1)
	for _, f := range r.ended[i] {
		f()
	}
	r.ended[i] = r.ended[i][:0]
	more, wake := r.p.RunShard(i, len(r.awake))
	r.awake[i] = more
	for j := range r.awake {
		r.awake[j] = r.awake[j] || wake>>j&1 == 1
	}
	for op := r.p.NextOp(); op != nil; op = r.p.NextOp() {
		disk := r.disk
		if op.Dev == log.Capacity {
			disk = r.capacity
		}
		disk.Submit(op, func(t log.Token, res int32) {
			r.ended[i] = append(r.ended[i], func() { r.p.Complete(t, res) })
			r.awake[i] = true
		})
	}
}

// TestShardsSleep: however few turns threads take, every request ends, in a log that runs full again and
// again, with snapshots, flushes and a drain among them.
func TestShardsSleep(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { shardsLife(t, seed) })
	}
}

func shardsLife(t *testing.T, seed uint64) {
	w := simdisk.NewWorld(seed)
	r := &shardsRig{rig: &rig{t: t, w: w}, rng: rand.New(rand.NewPCG(seed, 1))}
	r.disk = w.NewDisk(simdisk.Config{
		Name: "disk", Size: 512 << 20, Timing: simdisk.Random{Min: 10_000, Max: 2_000_000}, Volatile: seed%2 == 0,
	})
	r.capacity = r.disk
	s := r.disk.Sync()
	r.d = Disks{s, s}
	format := FormatConfig{
		LogSize: 16 * 16 << 12, SegmentBlocks: 16, MetaPages: 8192, Rand: testOptions(w).Rand,
	}
	if seed%3 == 0 {
		format.Durability = DurabilityFlush
	}
	if err := Format(r.d, format); err != nil {
		t.Fatal(err)
	}
	opt := testOptions(w)
	opt.Lanes, opt.OnFull = 2+int(seed%3), FullWaits
	p, err := Open(r.d, opt)
	if err != nil {
		t.Fatal(err)
	}
	r.p = p
	shards := 1 + int(seed)%opt.Lanes
	r.awake, r.ended = make([]bool, shards), make([][]func(), shards)
	r.live(opt.Lanes)
}

// live does requests and control operations until enough have ended.
func (r *shardsRig) live(lanes int) {
	const depth, most = 12, 1500
	var vols []*Volume
	var control *Control
	do := func(c *Control) {
		control = c
		r.p.Control(c)
		r.awake[0] = true
	}
	begun, ended, controls := 0, 0, 0
	for idle := 0; ended < most || control != nil || ended < begun; {
		switch {
		case control == nil && len(vols) < 5:
			do(&Control{Op: CreateVolume, Name: fmt.Sprint("v", len(vols)), Size: 16 << 20, QueueDepth: 8})
		case control == nil && begun < most && r.rng.IntN(200) == 0:
			controls++
			do(&Control{
				Op: SnapshotVolume, Names: []string{fmt.Sprint("v", r.rng.IntN(5))}, To: fmt.Sprint("s", controls),
			})
		case control == nil && begun < most && r.rng.IntN(400) == 0:
			do(&Control{Op: Drain})
		case begun < most && begun-ended < depth && len(vols) == 5:
			begun++
			v := vols[r.rng.IntN(5)]
			r.p.Tick(r.w.Now() + 1)
			r.p.Submit(r.request(v))
			r.awake[lanesShard(v, r.p, len(r.awake))] = true
		}
		took := false
		for i := range r.awake {
			if r.awake[i] && r.rng.IntN(2) == 0 {
				r.shardTurn(i)
				took = true
			}
		}
		for q := r.p.NextDone(); q != nil; q = r.p.NextDone() {
			if ended++; q.Err != 0 {
				r.t.Fatalf("%v: %v", q.Kind, q.Err)
			}
		}
		if c := r.p.NextControl(); c != nil {
			if control = nil; c.Err != nil {
				r.t.Fatal(c.Err)
			}
			if c.Op == CreateVolume {
				r.p.Home(c.Vol, r.rng.IntN(lanes))
				vols = append(vols, c.Vol)
			}
		}
		if took || r.anyAwake() {
			idle = 0
			continue
		}
		if at := r.p.Deadline(); !r.w.Step() && at > 0 {
			r.w.Advance(at)
			r.awake[0] = true // who waits for the pool's time
		} else if idle++; idle > 1000 {
			r.t.Fatalf("all threads sleep; under way: %d requests, a control operation: %v",
				begun-ended, control != nil)
		}
	}
}

func (r *shardsRig) anyAwake() bool {
	for _, a := range r.awake {
		if a {
			return true
		}
	}
	return false
}

// lanesShard returns the thread of a volume.
func lanesShard(v *Volume, p *Pool, shards int) int {
	for i := range p.ring.Lanes() {
		if v.lane == p.ring.Lane(i) {
			return i % shards
		}
	}
	return 0
}

// request draws one.
func (r *shardsRig) request(v *Volume) *Request {
	n := int64(1+r.rng.IntN(12)) * 2048
	q := &Request{Vol: v, Off: r.rng.Int64N((16<<20-n)/2048) * 2048, Len: n}
	switch r.rng.IntN(8) {
	case 0:
		q.Kind = Read
	case 1:
		q.Kind, q.Off, q.Len = Flush, 0, 0
	case 2:
		q.Kind = Discard
	default:
		q.Kind = Write
	}
	q.Buf = alignedBytes(int(Span(q.Off, q.Len)))
	for i := range q.Buf {
		q.Buf[i] = byte(i%7 + 1)
	}
	return q
}
