package device

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newLoop puts a loop device on a new file of size bytes and returns both paths.
func newLoop(t *testing.T, size int64) (loop, file string) {
	t.Helper()
	ctl, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs root and the loop module: /dev/loop-control: %v", err)
	}
	defer unix.Close(ctl)
	n, err := unix.IoctlRetInt(ctl, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Skipf("no free loop device: %v", err)
	}
	file = writeFile(t, nil, size)
	back, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(back)
	loop = fmt.Sprintf("/dev/loop%d", n)
	fd, err := unix.Open(loop, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("%s: %v", loop, err)
	}
	defer unix.Close(fd)
	config := unix.LoopConfig{Fd: uint32(back), Size: 512}
	config.Info.Flags = unix.LO_FLAGS_PARTSCAN
	copy(config.Info.File_name[:], file)
	if err := unix.IoctlLoopConfigure(fd, &config); err != nil {
		t.Skipf("%s: configure: %v", loop, err)
	}
	t.Cleanup(func() {
		fd, err := unix.Open(loop, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0); err != nil {
			t.Errorf("%s: clear: %v", loop, err)
		}
	})
	return loop, file
}

func TestBlockDevice(t *testing.T) {
	loop, file := newLoop(t, 16<<20)
	d, err := OpenForInit(loop, InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Size() != 16<<20 || d.Info().Kind != BlockDevice || d.Info().LogicalBlock != 512 {
		t.Errorf("info %+v, size %d", d.Info(), d.Size())
	}
	block := alignedBytes(4096)
	copy(block, "UNBLEND\x00")
	if err := errors.Join(d.WriteAt(block, 0), d.Flush()); err != nil {
		t.Error(err)
	}
	if _, err := OpenForServe(loop, 0, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("second claim: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = OpenForInit(loop, InitOptions{})
	if !errors.Is(err, ErrHoldsData) || !strings.Contains(err.Error(), "an unblend pool") {
		t.Errorf("init of a pool's device: %v", err)
	}
	_, err = OpenForInit(file, InitOptions{Force: true})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), loop) {
		t.Errorf("init of the file behind %s: %v", loop, err)
	}
	if err := CheckApart(loop, file); !errors.Is(err, ErrSameRange) {
		t.Errorf("%s and its file pass for different: %v", loop, err)
	}
	if _, err := OpenForInit(loop, InitOptions{Create: 1 << 20}); !errors.Is(err, ErrUnsuitable) {
		t.Errorf("--size with a block device: %v", err)
	}
}

func TestBlockDeviceMounted(t *testing.T) {
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("mkfs.ext4 is not installed")
	}
	loop, _ := newLoop(t, 16<<20)
	if out, err := exec.Command(mkfs, "-q", loop).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := unix.Mount(loop, dir, "ext4", 0, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	_, err = OpenForInit(loop, InitOptions{Force: true})
	var use *InUseError
	if !errors.As(err, &use) || !slices.Contains(use.By, "mounted on "+dir) {
		t.Errorf("init --force of a mounted device: %v", err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	d, err := OpenForInit(loop, InitOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	if found, err := Probe(reader{d}, d.Size()); err != nil || len(found) > 0 {
		t.Errorf("after the wipe: %v, %v", found, err)
	}
}

func TestBlockDevicePartitioned(t *testing.T) {
	loop, file := newLoop(t, 16<<20)
	table := mbr(0x83)
	copy(table[446+8:], "\x00\x08\x00\x00\x00\x10\x00\x00") // 2 MiB from 1 MiB on
	f, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(table); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), addPartition(int(f.Fd()), 1<<20, 2<<20)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	part := loop + "p1"
	if !waitFor(part) {
		t.Skipf("%s did not appear (no devtmpfs?)", part)
	}
	for _, whole := range []string{loop, file} {
		if err := CheckApart(part, whole); !errors.Is(err, ErrSameRange) {
			t.Errorf("%s and its partition pass for different: %v", whole, err)
		}
	}
	held, err := OpenForServe(part, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !held.Info().Partition || held.Size() != 2<<20 {
		t.Errorf("partition: %+v", held.Info())
	}
	if _, err := OpenForInit(loop, InitOptions{Force: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("init of a disk with a claimed partition: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenForInit(loop, InitOptions{}); !errors.Is(err, ErrHoldsData) {
		t.Errorf("init of a partitioned disk: %v", err)
	}
	d, err := OpenForInit(loop, InitOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join("/sys/class/block", filepath.Base(part))
	if _, err := os.Stat(left); err == nil {
		t.Errorf("the kernel still knows %s", left)
	}
	if info, err := Stat(file); err != nil || info.Size != 16<<20 {
		t.Errorf("the file: %+v, %v", info, err)
	}
}

// addPartition adds partition 1 by hand, for kernels that do not read MBR tables.
func addPartition(fd int, start, length int64) error {
	part := unix.BlkpgPartition{Start: start, Length: length, Pno: 1}
	arg := unix.BlkpgIoctlArg{
		Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(part)),
		Data: (*byte)(unsafe.Pointer(&part)),
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKPG,
		uintptr(unsafe.Pointer(&arg)))
	if errno != 0 && errno != unix.EBUSY { // EBUSY: the kernel has read the table itself
		return errno
	}
	return nil
}

func waitFor(path string) bool {
	for range 50 {
		if _, err := os.Stat(path); err == nil {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}
