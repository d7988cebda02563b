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

// loopOf makes n devices and a thread that serves them all. The returned function stops and
// deletes them, one by one, while the others live on.
func loopOf(t *testing.T, c *Control, n, depth int, size int64) (infos []Info, stop func(i int)) {
	t.Helper()
	devs := make([]*Device, n)
	for i := range devs {
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
		if devs[i], err = OpenDevice(info, patience); err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	l := &memoryLoop{pool: newPool(t, 4<<20)}
	fetched, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := l.open(devs, depth, size)
		fetched <- err
		if err == nil {
			ended <- l.run()
		}
	}()
	if err := <-fetched; err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if err := c.Start(info.ID, patience); err != nil {
			t.Fatal(err)
		}
	}
	left := n
	return infos, func(i int) {
		t.Helper()
		if err := c.Stop(infos[i].ID, patience); err != nil {
			t.Error(err)
		}
		if err := <-l.closed[i]; err != nil {
			t.Error(err)
		}
		if left--; left == 0 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		// Files are closed here, on another thread: nothing of the device is left in the ring.
		if err := devs[i].Close(); err != nil {
			t.Error(err)
		}
		if err := c.Delete(infos[i].ID, patience); err != nil {
			t.Error(err)
		}
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
	infos, stop := loopOf(t, c, 2, 16, size)
	disks := make([]disk, len(infos))
	for i, info := range infos {
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
	stop(0)
	gone(t, CharPath(infos[0].ID))
	b := aligned(t, 4096)
	stamp(b, 77)
	disks[1].write(b, 0)
	disks[1].close()
	stop(1)
}

// A queue gives everything back while requests are coming.
func TestDeviceStoppedUnderLoad(t *testing.T) {
	c := control(t)
	infos, stop := loopOf(t, c, 1, 8, 1<<20)
	d := openDisk(t, BlockPath(infos[0].ID))
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
		stop(0) // waits at the end for the writer's file
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
	if err := q.CopyIn(0, 0, make([]byte, 512)); err == nil {
		t.Error("copied the bytes of no request")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewQueue(ring, dev, 7, 1<<16); err == nil {
		t.Error("mapped a queue that is not there")
	}
}
