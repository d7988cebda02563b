package vmtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
	"unblend/tools/internal/operate"
)

const (
	fullVolumes = 10 // of which the last one fills the pool
	fullWithin  = 3 * time.Minute
	fullQuiet   = 2 * time.Second // without a write before the pool counts as full
)

// full is the state of TestFull.
type full struct {
	*guest
	fails bool // the policy
	mib   int  // of the capacity device
	fio   *fioRun
	hog   *load.Disk   // the volume that fills the pool
	w     *load.Writer // to it
	cease context.CancelFunc
	ended chan error // gets what w ended with
}

// TestFull fills a pool to its last block while fio writes to nine volumes and verifies them, under
// both policies: who needs space waits, or gets the error of a full disk, and nobody gets any other
// error. Status must name the volume that filled the pool, and end with 5; reads and overwrites go on.
// Then space is freed by a discard, by rm of a snapshot and by rm of a volume: each time what needs it
// goes on, without a restart.
//
// It runs only where UNBLEND_FULL_MIB says how large the capacity device is, such as 128, which takes a
// minute.
func TestFull(t *testing.T) {
	mib := asked(t, "UNBLEND_FULL_MIB")
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	for _, policy := range []string{control.OnFullWait, control.OnFullFail} {
		t.Run(policy, func(t *testing.T) {
			f := &full{guest: newGuest(t), fails: policy == control.OnFullFail, mib: mib}
			f.sh("mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config")
			p := devicePool(f.nullBlock("nulllog", poolMiB/8), f.nullBlock("nulldata", f.mib))
			f.format(p)
			d := f.serve(p, "--on-full="+policy)
			f.prepare()
			f.fill()
			f.whenFull()
			f.free("a discard", func() { f.sh("blkdiscard /dev/unblend/spare") })
			f.free("rm of a snapshot", func() { f.do("rm", "old@s") })
			f.free("rm of a volume", func() { f.do("rm", "old") })
			f.room()
			f.step("check")
			f.eventually("the pool is well", fullWithin, func() bool {
				return f.status().State == control.PoolOK
			})
			f.wellServed()
			f.stop(d)
			f.nothingIsLeft()
			f.check(p)
		})
	}
}

// prepare makes volumes whose space can be freed later, one with a place for all of it, the nine that
// fio writes, and the one that fills the pool.
func (f *full) prepare() {
	f.step("prepare")
	part := f.mib / 16
	for _, name := range []string{"spare", "old", "own"} {
		f.create(name, fmt.Sprintf("%dM", part))
		f.put(name, part)
	}
	f.do("snapshot", "old@s")
	f.put("old", part)
	size := f.mib / 4 / (fullVolumes - 1)
	lines := []string{
		"[global]", "direct=1", "ioengine=libaio", "iodepth=4", "bsrange=4k-128k", "randseed=7",
		"rw=randrw", "rwmixread=30", "verify=crc32c", "verify_fatal=1", "verify_backlog=128",
		"thread=1", "group_reporting=1", fmt.Sprintf("size=%dm", size),
	}
	// Where others get errors, what fio writes has its place already. Otherwise it may wait as well:
	// it is slow, so that it still writes when the pool is full.
	if f.fails {
		lines = append(lines, "time_based=1", "runtime=20")
	} else {
		lines = append(lines, "rate_iops=10")
	}
	for i := range fullVolumes - 1 {
		name := fmt.Sprintf("vol%d", i)
		lines = append(lines, "["+name+"]", "filename="+f.create(name, fmt.Sprintf("%dM", size)))
		if f.fails {
			f.put(name, size)
		}
	}
	f.hog = f.openDisk(f.create("hog", fmt.Sprintf("%dM", 2*f.mib)), 1)
	f.checkpoint()
	f.fio = f.guest.fio(lines)
	const n = 64 << 10
	f.w = load.NewWriter(f.hog, 4, load.Sequential(f.hog.Size(), n), 1)
	f.write()
}

// put writes random bytes to the first MiB of a volume.
func (f *full) put(name string, mib int) {
	f.Helper()
	f.sh(fmt.Sprintf("dd if=/dev/urandom of=/dev/unblend/%s bs=1M count=%d oflag=direct "+
		"iflag=fullblock status=none", name, mib))
}

// write lets the writer that fills the pool go on until f.cease.
func (f *full) write() {
	ctx, cancel := context.WithCancel(f.ctx)
	f.cease, f.ended = cancel, make(chan error, 1)
	ended := f.ended
	go func() { ended <- f.w.Run(ctx, 0) }()
}

// fill waits until nothing more fits: the writer waits, or has got the error that is wanted.
func (f *full) fill() {
	f.Helper()
	f.step("fill")
	if f.fails {
		select {
		case err := <-f.ended:
			if !errors.Is(err, unix.ENOSPC) {
				f.Fatalf("the pool is full, and a writer got: %v", err)
			}
		case <-time.After(fullWithin):
			f.Fatal("the pool does not get full")
		}
		return
	}
	from, since := uint64(0), time.Now()
	f.eventually("the pool is full", fullWithin, func() bool {
		if n := f.w.Stats().Writes; n != from {
			from, since = n, time.Now()
		}
		return time.Since(since) > fullQuiet && f.status().Log.Stalled > 0
	})
}

// whenFull looks at what status says, and does what must be possible.
func (f *full) whenFull() {
	f.step("when full")
	st := f.status()
	left := st.Space.Free - st.Space.Promised
	f.Logf("with %d MiB of %d written by one volume, %d KiB are neither used nor promised: %+v",
		f.w.Stats().Bytes>>20, st.Space.Size>>20, left>>10, st.Warnings)
	if left > st.Space.Size/16 {
		f.Errorf("writers wait, and %d KiB of %d are free", left>>10, st.Space.Size>>10)
	}
	out, err := f.ask("status")
	failed, ok := err.(*operate.VerbError)
	if !ok || failed.Status != 5 || !strings.Contains(out, `volume "hog" grew most`) {
		f.Errorf("status of a full pool: %v, want exit status 5 and volume hog named:\n%s", err, out)
	}
	f.put("own", f.mib/16)
	f.sh("dd if=/dev/unblend/hog of=/dev/null bs=1M count=1 iflag=direct status=none")
}

// free frees space, and wants writes to go on until it is used up again.
func (f *full) free(how string, do func()) {
	f.Helper()
	f.step("full again after " + how)
	from, begin := f.w.Stats().Bytes, time.Now()
	do()
	if f.fails {
		f.again()
	}
	f.eventually("writes go on after "+how, fullWithin, func() bool {
		return f.w.Stats().Bytes-from >= uint64(f.mib/32)<<20
	})
	f.Logf("after %s: %d MiB more in %v", how, f.mib/32,
		time.Since(begin).Round(time.Millisecond))
	f.fill()
}

// again writes until a write succeeds: the space comes back in the background.
func (f *full) again() {
	f.Helper()
	f.eventually("a write succeeds", fullWithin, func() bool {
		from := f.w.Stats().Writes
		f.write()
		time.Sleep(100 * time.Millisecond)
		return f.w.Stats().Writes > from
	})
}

// room makes room for all, after which fio must come to a good end.
func (f *full) room() {
	f.step("the rest of fio")
	f.cease()
	f.do("rm", "spare", "own")
	if !f.fails {
		if err := <-f.ended; err != nil {
			f.Errorf("the writer that filled the pool: %v", err)
		}
	}
	f.verify(f.hog)
	if err := f.hog.Close(); err != nil {
		f.Error(err)
	}
	f.sh("blkdiscard /dev/unblend/hog")
	res := f.fio.wait()
	f.figures("full pools", figures{
		"fails": f.fails, "pool_MiB": f.mib, "fio_errors": res.errors(),
		"fio_MiB": res.written() >> 20, "longest_s": res.longest().Seconds(),
	})
}
