package vmbench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"unblend/log"
)

// reader reads random blocks of disks of one size, one after the other, and notes how long each takes.
type reader struct {
	size int64 // of each disk, bytes
	took []time.Duration
	stop atomic.Bool
	done chan error
}

// startReader starts a reader, which ends after n blocks or with end.
func startReader(paths []string, size int64, n int) *reader {
	r := &reader{size: size, done: make(chan error, 1)}
	go func() { r.done <- r.run(paths, n) }()
	return r
}

// run reads.
func (r *reader) run(paths []string, n int) error {
	buf, err := unix.Mmap(-1, 0, log.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	fds := make([]int, len(paths))
	for i, p := range paths {
		if fds[i], err = unix.Open(p, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for len(r.took) < n && !r.stop.Load() && err == nil {
		err = r.read(fds[rng.IntN(len(fds))], buf, rng)
	}
	for _, fd := range fds {
		err = errors.Join(err, unix.Close(fd))
	}
	return errors.Join(err, unix.Munmap(buf))
}

// read reads one block.
func (r *reader) read(fd int, buf []byte, rng *rand.Rand) error {
	begin := time.Now()
	_, err := unix.Pread(fd, buf, rng.Int64N(r.size/log.BlockSize)*log.BlockSize)
	r.took = append(r.took, time.Since(begin))
	return err
}

// wait waits until all blocks were read.
func (r *reader) wait() error { return <-r.done }

// end has no more blocks read.
func (r *reader) end() error {
	r.stop.Store(true)
	return r.wait()
}

// p99 returns the time that one of a hundred reads exceeds, in ns.
func (r *reader) p99() int64 {
	if len(r.took) == 0 {
		return 0
	}
	slices.Sort(r.took)
	return int64(r.took[(len(r.took)-1)*99/100])
}
