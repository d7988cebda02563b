package placement

import (
	"io"
	"slices"
	"syscall"
	"testing"

	"unblend/log"
	"unblend/log/simdisk"
)

// corruptPool is the image of a small pool at rest, of which everything is known: what each byte is
// for, and what each volume and snapshot holds.
type corruptPool struct {
	one     bool
	base    [log.Devs][]byte
	label   Label
	root    Root
	parts   [log.Devs][]piece
	where   map[place][]blockOf // which blocks of which nodes a block of a device is the content of
	content map[string][]byte   // of each volume and snapshot
}

// blockOf is a block of a volume or snapshot.
type blockOf struct {
	name  string
	block int64
}

// patched is a device whose blocks differ from an image's where something was written.
type patched struct {
	base   []byte
	blocks map[int64][]byte
}

func (d *patched) Size() int64 { return int64(len(d.base)) }

func (d *patched) ReadAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > d.Size() {
		return io.ErrUnexpectedEOF
	}
	copy(p, d.base[off:])
	if len(d.blocks) > 0 {
		for at := int64(0); at < int64(len(p)); at += log.BlockSize {
			if b := d.blocks[off+at]; b != nil {
				copy(p[at:], b)
			}
		}
	}
	return nil
}

func (d *patched) WriteAt(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > d.Size() {
		return syscall.ENOSPC
	}
	for at := int64(0); at < int64(len(p)); at += log.BlockSize {
		d.blocks[off+at] = slices.Clone(p[at : at+log.BlockSize])
	}
	return nil
}

func (*patched) Flush() error { return nil }

// block returns what the device has at off.
func (d *patched) block(off int64) []byte {
	if b := d.blocks[off]; b != nil {
		return b
	}
	return d.base[off : off+log.BlockSize]
}

// disks returns the pool's devices, unharmed.
func (c *corruptPool) disks() (Disks, [log.Devs]*patched) {
	var all [log.Devs]*patched
	for i := range all {
		all[i] = &patched{base: c.base[i], blocks: map[int64][]byte{}}
		if c.one {
			all[i] = &patched{base: c.base[0], blocks: map[int64][]byte{}}
		}
	}
	if c.one {
		all[log.Capacity] = all[log.Fast]
	}
	return Disks{all[log.Fast], all[log.Capacity]}, all
}

// keepInLog leaves everything in the log until it is asked for.
func keepInLog(opt *Options) {
	opt.Low, opt.High, opt.Idle, opt.CheckpointEvery = 990, 995, 1<<60, 1<<60
	opt.NoReplacement = true
}

// newCorruptPool makes the pool: volumes with snapshots and a clone, destaged, then written on, with a
// restart in between, so that the log has segments with a summary, one without, and an open one.
func newCorruptPool(t *testing.T, one bool) *corruptPool {
	w := simdisk.NewWorld(1)
	r := &rig{t: t, w: w}
	size := [log.Devs]int64{600 * log.BlockSize, 1400 * log.BlockSize}
	if one {
		size[log.Fast] = 2400 * log.BlockSize
	}
	r.disk = w.NewDisk(simdisk.Config{
		Name: "fast", Size: size[log.Fast], SectorSize: 4096, Timing: simdisk.P3700(),
	})
	r.capacity = r.disk
	if !one {
		r.capacity = w.NewDisk(simdisk.Config{
			Name: "capacity", Size: size[log.Capacity], SectorSize: 4096, Timing: simdisk.P3700(),
		})
	}
	r.d = Disks{r.disk.Sync(), nil}
	if r.d[log.Capacity] = r.d[log.Fast]; !one {
		r.d[log.Capacity] = r.capacity.Sync()
	}
	err := Format(r.d, FormatConfig{
		LogSize: 12 * 16 * log.BlockSize, SegmentBlocks: 16, MetaPages: 128, GrowTo: 16 << 30,
		Rand: testOptions(w).Rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.reopen(keepInLog)
	r.fillCorruptPool()
	c := &corruptPool{one: one, label: r.p.label, root: r.p.root}
	for i, d := range []*simdisk.Disk{r.disk, r.capacity} {
		c.base[i] = simdisk.Buffer(int(d.Size()))
		d.Peek(c.base[i], 0)
	}
	c.learn(t)
	c.draw(t)
	return c
}

// fillCorruptPool gives the pool its content.
func (r *rig) fillCorruptPool() {
	v := r.create("a", 288*log.BlockSize)
	b := r.create("b", 272*log.BlockSize)
	r.fillRuns(v, 0, 40, 10)
	r.fillRuns(v, 250, 20, 20)
	r.fillRuns(b, 0, 20, 30)
	r.must(&Control{Op: Drain})
	r.must(&Control{Op: SnapshotVolume, Names: []string{"a"}, To: "s"})
	r.fillRuns(v, 10, 10, 40)
	r.must(&Control{Op: CloneVolume, Name: "a@s", To: "c"})
	r.fillRuns(r.p.Volume("c"), 30, 4, 50)
	r.must(&Control{Op: Drain})
	r.fillRuns(v, 5, 10, 60) // the summary of its segments stays
	r.fillRuns(b, 8, 4, 70)
	r.fillRuns(v, 5, 2, 80) // over what the log has already
	r.fillRuns(b, 100, 5, 90)
	r.reopen(keepInLog)
	v, b = r.p.Volume("a"), r.p.Volume("b")
	r.fillRuns(v, 60, 6, 100)
	q := &Request{Kind: Discard, Vol: b, Off: 128 * log.BlockSize, Len: 128 * log.BlockSize}
	if r.do(q); q.Err != 0 {
		r.t.Fatal(q.Err)
	}
	r.must(&Control{Op: SnapshotVolume, Names: []string{"b"}, To: "t"})
	r.fillRuns(b, 10, 6, 110)
	r.fillRuns(r.p.Volume("c"), 5, 2, 120)
}

// fillRuns writes n blocks from block on, two with each write, each of its own content.
func (r *rig) fillRuns(v *Volume, block, n int64, value byte) {
	r.t.Helper()
	for i := int64(0); i < n; i += 2 {
		buf := alignedBytes(2 * log.BlockSize)
		for j := range buf {
			buf[j] = value + byte(int(i)+j/log.BlockSize) + byte(j%251)
		}
		l := min(2, n-i) * log.BlockSize
		q := &Request{
			Kind: Write, Vol: v, Off: (block + i) * log.BlockSize, Len: l, Buf: buf[:l:l],
		}
		if r.do(q); q.Err != 0 {
			r.t.Fatalf("write: %v", q.Err)
		}
	}
}

// learn opens the pool and notes what is where.
func (c *corruptPool) learn(t *testing.T) {
	d, _ := c.disks()
	p, err := openCorrupt(d)
	if err != nil {
		t.Fatal(err)
	}
	c.where, c.content = map[place][]blockOf{}, map[string][]byte{}
	for _, n := range p.order {
		name := n.rec.Name
		all, bad := readNode(p, d, name)
		if len(bad) > 0 || all == nil {
			t.Fatalf("%q: blocks %v cannot be read", name, bad)
		}
		c.content[name] = all
		for b := range int64(n.blocks()) {
			s, err := locateNow(p, d, n, uint64(b))
			if err != nil {
				t.Fatal(err)
			}
			if s.kind == fromDevice {
				at := place{s.dev, int64(s.block) * log.BlockSize}
				if c.one {
					at.dev = log.Fast
				}
				c.where[at] = append(c.where[at], blockOf{name, b})
			}
		}
	}
}

// openCorrupt opens a pool whose devices are in memory.
func openCorrupt(d Disks) (*Pool, error) {
	opt := testOptions(simdisk.NewWorld(3))
	keepInLog(&opt)
	opt.IndexEntries, opt.Frames, opt.Extents = 2*maxBlocks, minFrames, minExtents
	return Open(d, opt)
}

// perform does all device operations of a pool, at once, until none is left.
func perform(p *Pool, d Disks) {
	for op := p.NextOp(); op != nil; op = p.NextOp() {
		off, res := op.Off, int32(0)
		for _, b := range op.Bufs {
			do := d[op.Dev].WriteAt
			if op.Kind == log.Read {
				do = d[op.Dev].ReadAt
			}
			if do(b, off) != nil { // beyond the device's end
				res = -int32(syscall.EIO)
				break
			}
			off += int64(len(b))
			res += int32(len(b))
		}
		p.Complete(op.Token, res)
	}
}

// locateNow looks up a block, reading what that needs.
func locateNow(p *Pool, d Disks, n *node, block uint64) (source, error) {
	for {
		s, err := p.locate(n, block, nil)
		if err != errWait {
			return s, err
		}
		perform(p, d)
	}
}

// readNode reads a whole volume or snapshot, and block by block what cannot be read as a whole. It
// returns which blocks cannot be read at all.
func readNode(p *Pool, d Disks, name string) (all []byte, bad map[int64]bool) {
	v := p.Volume(name)
	if v == nil {
		return nil, nil
	}
	size := int64(v.node.rec.Size)
	all = alignedBytes(int(size))
	read := func(off, n int64) bool {
		q := &Request{Kind: Read, Vol: v, Off: off, Len: n, Buf: all[off : off+n : off+n]}
		p.Submit(q)
		for p.NextDone() == nil {
			perform(p, d)
			p.runTasks()
		}
		return q.Err == 0
	}
	bad = map[int64]bool{}
	for off := int64(0); off < size; off += MaxIO {
		n := min(MaxIO, size-off)
		if read(off, n) {
			continue
		}
		for at := off; at < off+n; at += log.BlockSize {
			if !read(at, log.BlockSize) {
				bad[at/log.BlockSize] = true
			}
		}
	}
	return all, bad
}
