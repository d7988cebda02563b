package placement

import (
	"errors"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// Cases that the simulation once found, cut down to what they take.

// simCasePlan is a plan of the given steps on two devices with volatile caches.
func simCasePlan(steps ...simStep) *simPlan {
	const seg, segments = 32, 12
	p := &simPlan{
		seed: 1, batch: 1, volumes: 3, logBytes: seg * segments * log.BlockSize, steps: steps,
		maxSpan: seg / 2 * log.BlockSize,
		format: FormatConfig{
			LogSize: seg * segments * log.BlockSize, SegmentBlocks: seg, MetaPages: 256,
		},
		opens: []Options{{
			Frames: 128, IndexEntries: 1024, Extents: 32, BatchBlocks: 64, FreedRuns: 128,
			Ops: 600, MaxNodes: 16, Lanes: 1,
		}},
	}
	for d := range p.disks {
		p.disks[d] = simdisk.Config{
			Name: log.Dev(d).String(), Size: 24 << 20, Volatile: true,
			Timing: simdisk.Random{Min: 10_000, Max: 100_000},
		}
	}
	return p
}

// simCase runs such a plan.
func simCase(t *testing.T, change func(*simPlan), steps ...simStep) *sim {
	t.Helper()
	p := simCasePlan(steps...)
	if change != nil {
		change(p)
	}
	s := newSim(p)
	if err := s.run(); err != nil {
		t.Error(err)
	}
	return s
}

func createVol(slot int) simStep {
	return simStep{do: stepCreate, slot: slot, n: 2 << 20, depth: 8}
}

func writeAt(slot int, off, n int64) simStep {
	return simStep{do: stepIO, kind: Write, slot: slot, off: off, n: n}
}

// A control operation goes on without any other event.
func TestSimControlOnAnIdlePool(t *testing.T) {
	simCase(t, nil, createVol(0), simStep{do: stepCheckpoint}, simStep{do: stepDrain})
}

// A mark that is durable in its lane, but waits to take effect, is not in the root of a checkpoint
// that is cut meanwhile: the root's replay start must not be above it.
func TestReplayStartIsNotAboveAMarkThatIsDue(t *testing.T) {
	r := newRig(t, 64<<20)
	r.create("a", 1<<20)
	r.p.control, r.p.markDue = &Control{seq: r.p.ring.NextSeq() - 1}, true
	if got := r.p.replayStart(); got > r.p.control.seq {
		t.Errorf("replay from %d on, but the mark with number %d waits", got, r.p.control.seq)
	}
}

// What a pool with --durability flush acknowledges with FUA survives a power cut.
func TestSimFUAInAFlushPool(t *testing.T) {
	fua := writeAt(0, 8192, 12288)
	fua.fua = true
	for seed := range uint64(10) {
		simCase(t, func(p *simPlan) { p.seed, p.format.Durability = seed, DurabilityFlush },
			createVol(0), writeAt(0, 0, 65536), fua, simStep{do: stepPause, wait: 1_000_000},
			simStep{do: stepCrash, verify: true})
	}
}

// A shutdown's root says so even if another checkpoint was under way when it was asked for.
func TestSimShutdownDuringACheckpoint(t *testing.T) {
	for i := range int64(20) {
		simCase(t, func(p *simPlan) { p.opens[0].Idle, p.opens[0].CheckpointEvery = 1000, 1000 },
			createVol(0), writeAt(0, 0, 8192), simStep{do: stepPause, wait: 50_000 * i},
			simStep{do: stepShutdown, verify: true, check: true})
	}
}

// What is left of a deleted volume may have been overwritten in place after the last checkpoint,
// and the log does not tell what by: its data is no damage.
func TestCheckLeavesTheDataOfDeletedVolumesAlone(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 1<<20)
	fill := func(b byte) {
		q := &Request{Kind: Write, Vol: v, Len: 8192, Buf: alignedBytes(8192)}
		for i := range q.Buf {
			q.Buf[i] = b
		}
		r.do(q)
	}
	fill(1)
	if err := r.control(&Control{Op: Drain}); err != nil {
		t.Fatal(err)
	}
	fill(2)
	for b := &r.p.back; b.backlog() || b.phase != backIdle; { // destage, without a checkpoint
		b.drain = true
		r.turn()
	}
	r.p.back.drain = false
	if err := r.control(&Control{Op: RemoveVolume, Name: "a"}); err != nil {
		t.Fatal(err)
	}
	r.open()
	for r.p.back.wanted = true; r.p.stats.Checkpoints == 0; { // before the walk begins
		r.turn()
	}
	r.check()
}

// While writes wait because the pool is full, those of the same volume that need no space go on:
// what is to make room among them.
func TestSimDiscardBehindWritesThatWaitForSpace(t *testing.T) {
	steps := []simStep{{do: stepCreate, slot: 0, n: 8 << 20, depth: 64}}
	for off := int64(0); off < 4<<20; off += 64 << 10 {
		steps = append(steps, writeAt(0, off, 64<<10))
	}
	steps = append(steps, simStep{do: stepPause, wait: 5_000_000_000},
		simStep{do: stepIO, kind: Discard, n: 2 << 20})
	s := simCase(t, func(p *simPlan) { p.disks[log.Capacity].Size = 5 << 20 }, steps...)
	if s.cover.stalls > 0 {
		t.Error("the discard did not make room")
	}
	if s.p.blocks.total > 1280 {
		t.Errorf("the pool has %d blocks: it never was full", s.p.blocks.total)
	}
}

// A control operation whose mark fails in a lane that gives up ends in that turn, also when the pool was
// read-only before: nothing else may come that would make the loop look again.
func TestControlEndsWhenTheLogDies(t *testing.T) {
	r := newRig(t, 64<<20)
	r.create("a", 1<<20)
	r.disk.Inject(simdisk.Fault{Do: simdisk.FailWrite, Sticky: true})
	c := &Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"}
	r.p.Control(c)
	r.p.Run()
	r.drv.Pump()
	r.p.setReadOnly(errors.New("a root could not be written"))
	for r.p.Run() || r.drv.Pump() > 0 || r.w.Step() {
	}
	if r.p.NextControl() != c || c.Err == nil {
		t.Errorf("the snapshot waits for ever: %v", c.Err)
	}
}

// Blocks of the log are not given up because the whole device cannot be read: the pool stops, and has them
// all when the device is back.
func TestADeadLogDeviceLosesNothing(t *testing.T) {
	r := newRig(t, 64<<20)
	v := r.create("a", 1<<20)
	q := &Request{Kind: Write, Vol: v, Len: 8192, Buf: alignedBytes(8192)}
	for i := range q.Buf {
		q.Buf[i] = 7
	}
	r.do(q)
	r.disk.Inject(simdisk.Fault{Do: simdisk.FailRead, Sticky: true})
	if err := r.control(&Control{Op: Drain}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("the log was destaged without being read: %v", err)
	}
	if n := r.p.Status().Stats.LostBlocks; n != 0 {
		t.Errorf("%d blocks were given up", n)
	}
	r.disk.Disarm()
	r.open()
	q = &Request{Kind: Read, Vol: r.p.Volume("a"), Len: 8192, Buf: alignedBytes(8192)}
	if r.do(q); q.Err != 0 || q.Buf[0] != 7 || q.Buf[8191] != 7 {
		t.Errorf("%v: the data is gone", q.Err)
	}
}
