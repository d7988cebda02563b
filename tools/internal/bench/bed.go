package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// bed is the device that everything is measured on, cut into three partitions: unblend's pool, what
// serves the contender as metadata, and the contender's space. Only the kernel knows of them: there
// is no table.
type bed struct {
	ctx     context.Context
	set     Settings
	device  string
	program string // unblend's path
	self    string // this program's, for the null server
	dir     string // scratch
	made    int    // partitions

	progress func(format string, args ...any) // tells the person who waits
}

// MiB is 1 MiB in bytes.
const MiB = 1 << 20

const (
	partPool = 1 + iota
	partMeta
	partRival
	parts = partRival
)

// first is where the first partition begins; what lies before it stays as it is.
const first = 1 * MiB

// partSizes returns the bytes of the partitions for volumes of total bytes, or fading times that. The
// pool holds them, what a run replaces, the same until its space is free again, and its log; a
// contender them, the chunks that runs replace, and a file system around that.
func partSizes(total int64) [parts]int64 {
	return [parts]int64{14 * total, max(total/16, 32*MiB), 8 * total}
}

// Needed returns how many bytes a device must have for volumes of total bytes.
func Needed(total int64) int64 {
	n := int64(2 * first)
	for _, s := range partSizes(total) {
		n += s
	}
	return n
}

// logSize returns the bytes of unblend's log: half of the volumes' for what is measured with the log
// full, twice the volumes' for the rest, of which it takes a part of a run at most.
func logSize(total int64, full bool) int64 {
	if full {
		return total / 2
	}
	return 2 * total
}

// part returns the path of a partition.
func (b *bed) part(n int) string {
	if last := b.device[len(b.device)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", b.device, n)
	}
	return fmt.Sprintf("%s%d", b.device, n)
}

// open makes the partitions and writes all of them once: on a device that is memory, or flash, the
// first write of a place costs what later ones do not.
func (b *bed) open() error {
	var err error
	if b.dir, err = os.MkdirTemp("/run", "unblend-bench-"); err != nil {
		return err
	}
	if _, err := Sh(b.ctx, "modprobe -a ublk_drv loop dm-thin-pool && modprobe nbd nbds_max=%d max_part=0",
		maxVolumes+1); err != nil {
		return err
	}
	at := int64(first)
	for i, size := range partSizes(b.set.Total) {
		if _, err := Sh(b.ctx, "addpart %s %d %d %d", b.device, i+1, at>>9, size>>9); err != nil {
			return err
		}
		b.made++
		at += size
	}
	b.progress("writing %s once", b.device)
	for n := 1; n <= parts; n++ {
		if err := b.touch(n); err != nil {
			return err
		}
	}
	return nil
}

// touch writes a partition once.
func (b *bed) touch(n int) error {
	_, err := Sh(b.ctx, "dd if=/dev/zero of=%s bs=1M oflag=direct count=%d status=none", b.part(n),
		partSizes(b.set.Total)[n-1]/MiB)
	return err
}

// close removes the partitions and what tells what they were. It works after an interruption, too.
func (b *bed) close() error {
	b.ctx = context.WithoutCancel(b.ctx)
	var errs []error
	for ; b.made > 0; b.made-- {
		err := b.settle(`set -e; blockdev --flushbufs %[1]s
			dd if=/dev/zero of=%[1]s bs=1M oflag=direct count=2 status=none
			dd if=/dev/zero of=%[1]s bs=1M oflag=direct seek=%[2]d count=1 status=none
			delpart %[3]s %[4]d`, b.part(b.made), partSizes(b.set.Total)[b.made-1]/MiB-1, b.device, b.made)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// settle waits until a command succeeds.
func (b *bed) settle(format string, args ...any) error {
	return b.retry(func() error {
		_, err := Sh(b.ctx, format, args...)
		return err
	})
}

// retry waits until something succeeds, a few seconds at most: what the kernel, a server or udev lets
// go of, it lets go of a little later.
func (b *bed) retry(do func() error) error {
	err := do()
	for try := 0; try < 100 && err != nil && b.ctx.Err() == nil; try++ {
		time.Sleep(100 * time.Millisecond)
		err = do()
	}
	return err
}

// needTools reports the programs that the cells call and this machine lacks.
func needTools(cells []Cell) error {
	tools := map[string]string{"fio": "fio", "addpart": "util-linux"}
	for _, c := range cells {
		switch {
		case strings.HasPrefix(c.Contender, "thin"):
			tools["dmsetup"] = "dmsetup"
		case strings.HasPrefix(c.Contender, "qcow2"):
			tools["qemu-nbd"], tools["qemu-img"], tools["mkfs.ext4"] = "qemu-utils", "qemu-utils", "e2fsprogs"
		}
	}
	for program, pkg := range tools {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: run .ci/deps bench, or install %s", program, pkg)
		}
	}
	return nil
}
