package vmtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"unblend/tools/internal/load"

	"golang.org/x/sys/unix"
)

// cutKind is what a request of a cutVolume does.
type cutKind uint32

const (
	cutWrite   cutKind = iota + 1 // stamped sectors
	cutDiscard                    // whole blocks
	cutZeroes                     // any sectors
)

func (k cutKind) String() string {
	return [...]string{"", "write", "discard", "write-zeroes"}[k]
}

// cutOp is a request of one volume. Numbers rise, from 1.
type cutOp struct {
	kind   cutKind
	volume uint32
	number uint32
	load.Range
}

// sectors returns the first sector of the request and the one behind its last.
func (op cutOp) sectors() (first, end int64) {
	return op.Off / load.SectorSize, (op.Off + op.Len) / load.SectorSize
}

// leaves returns what the sectors of the request hold after it, as in cutVolume.holds.
func (op cutOp) leaves() uint32 {
	if op.kind == cutWrite {
		return op.number
	}
	return 0
}

// cutJournal keeps what was begun and what was acknowledged where no power cut reaches it.
type cutJournal interface {
	begun(op cutOp) error
	acknowledged(op cutOp) error
}

const (
	cutLongest = 256 << 10 // bytes: the longest request, below a device's limit
	cutBlock   = 4096      // bytes: what is discarded is aligned to it
)

// cutVolume is a volume, and which contents are permitted after a power cut: in every sector what
// was acknowledged last, or what was begun since. No two requests that overlap are ever under way
// at a time, so there is one such request at most.
type cutVolume struct {
	id      uint32
	name    string
	size    int64    // bytes
	f       *os.File // nil while the device is away
	journal cutJournal

	mu    sync.Mutex // guards what follows
	holds []uint32   // by sector: the number of the write acknowledged last; 0: zeros
	open  []cutOp    // begun, not acknowledged
	last  uint32     // number
	acks  int        // acknowledged since verify
}

func newCutVolume(id uint32, name string, size int64) *cutVolume {
	return &cutVolume{id: id, name: name, size: size, holds: make([]uint32, size/load.SectorSize)}
}

// openAt opens the device of the volume past the page cache.
func (v *cutVolume) openAt(path string) (err error) {
	v.f, err = os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	return err
}

// next draws a request that overlaps none under way, and notes that it has begun.
func (v *cutVolume) next(rng *rand.Rand, mixed load.Pattern) cutOp {
	v.mu.Lock()
	defer v.mu.Unlock()
	op := cutOp{kind: cutWrite, volume: v.id}
	for {
		op.Range = mixed(rng)
		switch n := rng.IntN(16); {
		case n == 0:
			op.kind = cutDiscard
			op.Off -= op.Off % cutBlock
			op.Len = min(op.Len+cutBlock-1, v.size-op.Off) / cutBlock * cutBlock
		case n == 1:
			op.kind = cutZeroes
		default:
			op.kind = cutWrite
		}
		overlaps := func(o cutOp) bool {
			return op.Off < o.Off+o.Len && o.Off < op.Off+op.Len
		}
		if op.Len > 0 && !slices.ContainsFunc(v.open, overlaps) {
			v.last++
			op.number = v.last
			v.open = append(v.open, op)
			return op
		}
	}
}

// settle notes that a request was acknowledged.
func (v *cutVolume) settle(op cutOp) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.acks++
	v.open = slices.DeleteFunc(v.open, func(o cutOp) bool { return o.number == op.number })
	for s, end := op.sectors(); s < end; s++ {
		v.holds[s] = op.leaves()
	}
}

// acknowledged returns how many requests were acknowledged since the last verify.
func (v *cutVolume) acknowledged() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.acks
}

// work sends one request after the other until ctx ends. A request that fails stays open.
func (v *cutVolume) work(ctx context.Context, seed, worker uint64) error {
	buf, err := unix.Mmap(-1, 0, cutLongest, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	defer unix.Munmap(buf)
	rng := rand.New(rand.NewPCG(seed, worker))
	mixed := load.Mixed(v.size, cutLongest)
	for ctx.Err() == nil {
		op := v.next(rng, mixed)
		if v.journal != nil {
			if err := v.journal.begun(op); err != nil {
				return err
			}
		}
		if err := v.perform(op, buf); err != nil {
			return fmt.Errorf("%s: %s of %d bytes at %d: %w", v.name, op.kind, op.Len, op.Off, err)
		}
		if v.journal != nil {
			if err := v.journal.acknowledged(op); err != nil {
				return err
			}
		}
		v.settle(op)
	}
	return nil
}

// perform sends a request and waits for its acknowledgement.
func (v *cutVolume) perform(op cutOp, buf []byte) error {
	if op.kind != cutWrite {
		request := uint(unix.BLKDISCARD)
		if op.kind == cutZeroes {
			request = unix.BLKZEROOUT
		}
		span := [2]uint64{uint64(op.Off), uint64(op.Len)}
		for {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, v.f.Fd(), uintptr(request),
				uintptr(unsafe.Pointer(&span)))
			if errno == 0 {
				return nil
			}
			if errno != unix.EINTR {
				return errno
			}
		}
	}
	buf = buf[:op.Len]
	for i := int64(0); i < op.Len; i += load.SectorSize {
		s := load.Stamp{
			Disk: op.volume, Write: op.number, Sector: uint64((op.Off + i) / load.SectorSize),
		}
		s.Fill(buf[i:])
	}
	_, err := v.f.WriteAt(buf, op.Off)
	return err
}

// cutFindings is what a look at a volume after a power cut found.
type cutFindings struct {
	sectors int      // looked at
	wrong   int      // sectors that hold something else than they may
	lost    int      // acknowledged writes of which at least a sector is missing
	torn    int      // writes under way of which a part is there and a part is not
	kept    int      // requests under way that are there; see verify
	first   []string // descriptions
}

func (f *cutFindings) add(o cutFindings) {
	f.sectors += o.sectors
	f.wrong += o.wrong
	f.lost += o.lost
	f.torn += o.torn
	f.kept += o.kept
	f.first = append(f.first, o.first...)
	f.first = f.first[:min(len(f.first), maxFindings)]
}

// maxFindings bounds the descriptions.
const maxFindings = 12

// verify reads the whole volume and compares it with what is permitted. Requests under way count
// as settled from then on, the way they were found. A write is there as a whole or not at all, if
// wholeTo bytes are not less than its length.
func (v *cutVolume) verify(wholeTo int64) (cutFindings, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &cutLook{v: v, under: map[int64]cutOp{}, there: map[uint32]int{}, lost: map[uint32]bool{}}
	for _, op := range v.open {
		for s, end := op.sectors(); s < end; s++ {
			c.under[s] = op
		}
	}
	const chunk = 1 << 20
	buf, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return c.cutFindings, err
	}
	defer unix.Munmap(buf)
	for off := int64(0); off < v.size; off += chunk {
		part := buf[:min(chunk, v.size-off)]
		if _, err := v.f.ReadAt(part, off); err != nil {
			return c.cutFindings, fmt.Errorf("%s: read of %d bytes at %d: %w", v.name, len(part),
				off, err)
		}
		for i := 0; i < len(part); i += load.SectorSize {
			c.sector(off/load.SectorSize+int64(i)/load.SectorSize, part[i:i+load.SectorSize])
		}
	}
	c.lookAtOpen(wholeTo)
	v.open, v.acks = nil, 0
	return c.cutFindings, nil
}

// cutLook is a look at a volume under way.
type cutLook struct {
	cutFindings
	v     *cutVolume
	under map[int64]cutOp // by sector: what is under way there
	there map[uint32]int  // by number of a write under way: its sectors that are there
	lost  map[uint32]bool // numbers of acknowledged writes
}

// sector compares one sector.
func (c *cutLook) sector(s int64, p []byte) {
	c.sectors++
	want := c.v.holds[s]
	if c.stamp(want, s).Holds(p) {
		return
	}
	op, ok := c.under[s]
	if ok && c.stamp(op.leaves(), s).Holds(p) {
		c.v.holds[s] = op.leaves()
		c.there[op.number]++
		return
	}
	c.wrong++
	if want != 0 && !c.lost[want] {
		c.lost[want] = true
		c.cutFindings.lost++
	}
	if len(c.first) < maxFindings {
		text := fmt.Sprintf("%s, sector %d: want %s, got %s", c.v.name, s, c.stamp(want, s),
			load.Describe(p))
		if ok {
			text += fmt.Sprintf("; %s %d was under way", op.kind, op.number)
		}
		c.first = append(c.first, text)
	}
}

func (c *cutLook) stamp(number uint32, sector int64) load.Stamp {
	if number == 0 {
		return load.Stamp{}
	}
	return load.Stamp{Disk: c.v.id, Write: number, Sector: uint64(sector)}
}

// lookAtOpen judges the requests under way as wholes.
func (c *cutLook) lookAtOpen(wholeTo int64) {
	for _, op := range c.v.open {
		n := c.there[op.number]
		if n == 0 {
			continue
		}
		c.kept++
		first, end := op.sectors()
		if op.kind == cutWrite && op.Len <= wholeTo && int64(n) != end-first {
			c.torn++
			c.first = append(c.first, fmt.Sprintf("%s: %d of %d sectors of write %d, from %d on",
				c.v.name, n, end-first, op.number, first))
		}
	}
}

// cutWriters are the workers of all volumes.
type cutWriters struct {
	stop context.CancelFunc
	done chan struct{}
	mu   sync.Mutex
	errs []error
}

// startCutWriters lets depth workers work on each volume.
func startCutWriters(ctx context.Context, vols []*cutVolume, depth int, seed uint64) *cutWriters {
	ctx, stop := context.WithCancel(ctx)
	w := &cutWriters{stop: stop, done: make(chan struct{})}
	var wg sync.WaitGroup
	for i, v := range vols {
		for j := range depth {
			wg.Go(func() {
				if err := v.work(ctx, seed, uint64(i*depth+j)); err != nil {
					w.mu.Lock()
					w.errs = append(w.errs, err)
					w.mu.Unlock()
				}
			})
		}
	}
	go func() {
		wg.Wait()
		close(w.done)
	}()
	return w
}

// wait ends the work when the requests under way were answered, and returns what failed.
func (w *cutWriters) wait(limit time.Duration) []error {
	w.stop()
	select {
	case <-w.done:
	case <-time.After(limit):
		return append(w.failed(), fmt.Errorf("requests are not answered within %v", limit))
	}
	return w.failed()
}

// failed returns what failed so far.
func (w *cutWriters) failed() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errs)
}
