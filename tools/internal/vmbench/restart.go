package vmbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/operate"

	"golang.org/x/sys/unix"
)

// restarts is how often each way to start is measured.
const restarts = 3

// restartEngine measures, in this process, opening a pool and reading one block of it: all that a
// daemon does until its first answer, but for the kernel's part.
func restartEngine(path string) (Restart, error) {
	begin := time.Now()
	e, err := openEngine(path, placement.Options{})
	if err != nil {
		return Restart{}, err
	}
	buf, err := unix.Mmap(-1, 0, log.BlockSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = e.request(&placement.Request{
			Kind: placement.Read, Vol: e.pool.Volume("full0"), Len: log.BlockSize, Buf: buf,
		})
	}
	took := time.Since(begin)
	r := Restart{
		Where: "natively, without the kernel's part", Blocks: e.pool.Status().IndexUsed,
		Seconds: took.Seconds(),
	}
	return r, errors.Join(err, unix.Munmap(buf), e.close())
}

// restartReady measures how long the program takes natively until it says that it is ready; without
// the ublk driver it serves no device.
func restartReady(ctx context.Context, program, dir, path string) (float64, error) {
	d, err := operate.Program{Path: program, Dir: dir}.Serve(ctx, path, "--link-dir",
		filepath.Join(dir, "links"))
	if err != nil {
		return 0, err
	}
	d.Kill() // before it moves anything out of the log
	return d.Ready.Seconds(), nil
}

// restartDaemon measures a start of the daemon up to the answer of the first read from a device.
func restartDaemon(ctx context.Context, p operate.Program, path string) (Restart, error) {
	type answer struct {
		at  time.Time
		err error
	}
	first := make(chan answer, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	begin := time.Now()
	go func() {
		err := readFirst(ctx, "/dev/unblend/full0")
		first <- answer{time.Now(), err}
	}()
	d, err := p.Serve(ctx, path)
	if err != nil {
		return Restart{}, err
	}
	a := <-first
	if a.err != nil {
		return Restart{}, a.err
	}
	r := Restart{Seconds: a.at.Sub(begin).Seconds(), Ready: d.Ready.Seconds()}
	st, err := p.Status(ctx)
	r.Blocks = st.Log.Index
	d.Kill()
	return r, err
}

// readFirst reads a block from a device as soon as it is there.
func readFirst(ctx context.Context, path string) error {
	buf, err := unix.Mmap(-1, 0, log.BlockSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		n, err := unix.Pread(fd, buf, 0)
		if err == nil && n != len(buf) {
			err = unix.EIO
		}
		if err := errors.Join(err, unix.Close(fd), unix.Munmap(buf)); err != nil {
			return fmt.Errorf("first read of %s: %w", path, err)
		}
		return nil
	}
	return ctx.Err()
}
