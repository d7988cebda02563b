package ublk

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"unblend/uring"

	"golang.org/x/sys/unix"
)

// memoryLoop serves several devices, which live in memory, from one ring on one thread: what a
// loop over queues looks like.
type memoryLoop struct {
	ring   *uring.Ring
	pool   *Pool
	queues []*Queue
	data   [][]byte     // by queue
	closed []chan error // by queue: its end
}

// run serves until all queues are drained.
func (l *memoryLoop) run() error {
	var out [128]uring.CQE
	for drained := 0; drained < len(l.queues); {
		if err := l.ring.SubmitAndWait(1, -1); err != nil {
			return err
		}
		for _, cqe := range out[:l.ring.Reap(out[:])] {
			i := int(cqe.UserData>>16) - 1
			io, ok, err := l.queues[i].Next(cqe)
			if err != nil {
				return err
			}
			if ok {
				if err := l.queues[i].Commit(io.Tag, l.answer(i, io)); err != nil {
					return err
				}
			} else if l.queues[i].Drained() {
				drained++
				l.closed[i] <- l.queues[i].Close()
			}
		}
	}
	return nil
}

// answer carries out one request.
func (l *memoryLoop) answer(i int, io IO) int32 {
	q, data := l.queues[i], l.data[i][io.Off:io.Off+io.Len]
	switch io.Op {
	case Read, Write:
		buf := l.pool.Alloc(int(io.Len))
		defer l.pool.Free(buf)
		var err error
		if io.Op == Write {
			err = q.CopyIn(io.Tag, 0, buf)
			copy(data, buf)
		} else {
			copy(buf, data)
			err = q.CopyOut(io.Tag, 0, buf)
		}
		if err != nil {
			return Errno(err)
		}
		return int32(io.Len)
	case Discard, WriteZeroes:
		clear(data)
	}
	return 0
}

// looped are devices served by one memoryLoop.
type looped struct {
	t     *testing.T
	c     *Control
	infos []Info
	devs  []*Device
	l     *memoryLoop
	left  int
	serve sync.Mutex // held to keep the loop from serving
	ended chan error
}

// newLooped adds n devices and fetches their tags on one thread, which then serves them.
func newLooped(t *testing.T, c *Control, n, depth int, size int64) *looped {
	t.Helper()
	d := &looped{t: t, c: c, left: n, ended: make(chan error, 1)}
	for range n {
		cfg := DeviceConfig{ID: AnyID, Depth: depth, Want: NoAutoPartScan}
		info, err := c.Add(cfg, patience)
		if err != nil {
			t.Fatal(err)
		}
		p := Params{
			Size: size, DiscardGranularity: 4096, MaxDiscard: 1 << 30, MaxWriteZeroes: 1 << 30,
		}
		if err := c.SetParams(info, p, patience); err != nil {
			t.Fatal(err)
		}
		dev, err := OpenDevice(info, patience)
		if err != nil {
			t.Fatal(err)
		}
		d.infos, d.devs = append(d.infos, info), append(d.devs, dev)
	}
	d.l = &memoryLoop{pool: newPool(t, 4<<20)}
	d.serve.Lock()
	fetched := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := d.l.open(d.devs, depth, size)
		fetched <- err
		if err == nil {
			d.serve.Lock()
			d.ended <- errors.Join(d.l.run(), d.l.ring.Close())
		}
	}()
	if err := <-fetched; err != nil {
		t.Fatal(err)
	}
	return d
}

// loopOf is newLooped with all devices started, at the same time.
func loopOf(t *testing.T, c *Control, n, depth int, size int64) *looped {
	t.Helper()
	d := newLooped(t, c, n, depth, size)
	d.serve.Unlock()
	var started sync.WaitGroup
	for _, info := range d.infos {
		started.Go(func() {
			if err := c.Start(info.ID, patience); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	return d
}

// stop stops and deletes a device, while the others live on.
func (d *looped) stop(i int) {
	d.t.Helper()
	if err := d.c.Stop(d.infos[i].ID, patience); err != nil {
		d.t.Error(err)
	}
	if err := <-d.l.closed[i]; err != nil {
		d.t.Error(err)
	}
	if d.left--; d.left == 0 {
		if err := <-d.ended; err != nil {
			d.t.Error(err)
		}
	}
	// Files are closed here, on another thread: nothing of the device is left in the ring.
	if err := d.devs[i].Close(); err != nil {
		d.t.Error(err)
	}
	if err := d.c.Delete(d.infos[i].ID, patience); err != nil {
		d.t.Error(err)
	}
}

func (l *memoryLoop) open(devs []*Device, depth int, size int64) (err error) {
	l.ring, err = uring.New(uring.Options{Entries: uint32(len(devs) * depth)})
	if err != nil {
		return err
	}
	for i, dev := range devs {
		q, err := NewQueue(l.ring, dev, 0, uint64(i+1)<<16)
		if err != nil {
			return err
		}
		if err := q.Fetch(); err != nil {
			return err
		}
		l.queues = append(l.queues, q)
		l.data = append(l.data, make([]byte, size))
		l.closed = append(l.closed, make(chan error, 1))
	}
	return nil
}

func TestTwoDevicesOnOneRing(t *testing.T) {
	c := control(t)
	const size, rounds = 4 << 20, 60
	l := loopOf(t, c, 2, 16, size)
	disks := make([]disk, len(l.infos))
	for i, info := range l.infos {
		disks[i] = openDisk(t, BlockPath(info.ID))
		if got := disks[i].size(); got != size {
			t.Errorf("device %d has %d bytes, want %d", i, got, size)
		}
	}
	var wg sync.WaitGroup
	for i, d := range disks {
		w, r := aligned(t, 256<<10), aligned(t, 256<<10)
		wg.Go(func() {
			for k := range rounds {
				n := 512 << (k % 10)
				off := int64(k) * 64 << 10
				stamp(w[:n], uint64(i*1000+k))
				d.write(w[:n], off)
				d.read(r[:n], off)
				if !bytes.Equal(r[:n], w[:n]) {
					t.Errorf("device %d: %d bytes at %d read back differently", i, n, off)
				}
			}
		})
	}
	wg.Wait()
	// One device goes while the other is idle, and then is used: nothing of the first may hang
	// on what the second has under way.
	disks[0].close()
	l.stop(0)
	gone(t, CharPath(l.infos[0].ID))
	b := aligned(t, 4096)
	stamp(b, 77)
	disks[1].write(b, 0)
	disks[1].close()
	l.stop(1)
}

func TestManyDevicesStartAtOnce(t *testing.T) {
	c := control(t)
	const n = 24
	start := time.Now()
	l := loopOf(t, c, n, 16, 1<<20)
	t.Logf("%d devices live after %v", n, time.Since(start))
	if list, err := c.Devices(patience); err != nil || len(list) != n {
		t.Errorf("%d devices (%v), want %d", len(list), err, n)
	}
	b := aligned(t, 4096)
	for i, info := range l.infos {
		d := openDisk(t, BlockPath(info.ID))
		stamp(b, uint64(i))
		d.write(b, 0)
		d.close()
	}
	for i, info := range l.infos {
		d := openDisk(t, BlockPath(info.ID))
		d.read(b, 0)
		d.close()
		want := make([]byte, len(b))
		if stamp(want, uint64(i)); !bytes.Equal(b, want) {
			t.Errorf("device %d holds another's data", i)
		}
		l.stop(i)
	}
}

// A queue gives everything back while requests are coming.
func TestDeviceStoppedUnderLoad(t *testing.T) {
	c := control(t)
	l := loopOf(t, c, 1, 8, 1<<20)
	d := openDisk(t, BlockPath(l.infos[0].ID))
	started := make(chan struct{})
	ended := make(chan error)
	b := aligned(t, 4096)
	go func() {
		for i := 0; ; i++ {
			if _, err := unix.Pwrite(d.fd, b, int64(i%256)*4096); err != nil {
				ended <- err
				return
			}
			if i == 50 {
				close(started)
			}
		}
	}()
	<-started
	stopped := make(chan struct{})
	go func() {
		l.stop(0) // waits at the end for the writer's file
		close(stopped)
	}()
	if err := <-ended; !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENXIO) &&
		!errors.Is(err, unix.ENOSPC) {
		t.Errorf("write to a stopped device: %v", err)
	}
	d.close()
	select {
	case <-stopped:
	case <-time.After(2 * patience):
		t.Fatal("not stopped")
	}
}

// On 6.12 START_DEV reads the partition table in a way that nothing can interrupt: a command that
// cannot be taken back yields an error too, and other commands go on.
func TestCommandThatCannotBeCancelled(t *testing.T) {
	c := control(t)
	l := newLooped(t, c, 1, 8, 1<<20)
	id := l.infos[0].ID
	err := c.Start(id, 100*time.Millisecond)
	if err == nil {
		l.serve.Unlock()
		l.stop(0)
		t.Skip("skipped: this kernel does not read the partition table in START_DEV")
	}
	var te *TimeoutError
	if !errors.As(err, &te) || !te.Stuck {
		t.Errorf("start without an answer to its reads: %v", err)
	}
	if _, err := c.Features(patience); err != nil {
		t.Error(err)
	}
	l.serve.Unlock()
	d := openDisk(t, BlockPath(id)) // it does start in the end
	d.close()
	l.stop(0)
}

func TestQueueRefusesMisuse(t *testing.T) {
	c := control(t)
	info, err := c.Add(DeviceConfig{ID: AnyID, Depth: 4}, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Delete(info.ID, patience)
	dev, err := OpenDevice(info, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if _, err := OpenDevice(info, 20*time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v, want ErrBusy", err)
	}
	runtime.LockOSThread()
	ring, err := uring.New(uring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	q, err := NewQueue(ring, dev, 0, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"answer to no request": func() { q.Commit(0, 0) },
		"foreign completion":   func() { q.Next(uring.CQE{UserData: 1<<16 | 9}) },
		"tag bits taken":       func() { NewQueue(ring, dev, 0, 5) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			f()
		}()
	}
	if small, err := uring.New(uring.Options{Entries: 2}); err != nil {
		t.Error(err)
	} else {
		if _, err := NewQueue(small, dev, 0, 1<<16); err == nil {
			t.Error("a ring of 2 entries for 4 tags")
		}
		small.Close()
	}
	if err := q.CopyIn(0, 0, make([]byte, 512)); err == nil {
		t.Error("copied the bytes of no request")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewQueue(ring, dev, 7, 1<<16); err == nil {
		t.Error("opened a queue that is not there")
	}
}
