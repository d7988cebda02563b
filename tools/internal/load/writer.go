package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Writer keeps a number of writes under way on a disk.
type Writer struct {
	disk  *Disk
	depth int
	next  Pattern
	seed  uint64

	mu    sync.Mutex // guards what follows
	stats Stats
	first error
	since time.Time // of the last write that ended, or the start
}

// Stats is what a writer has done.
type Stats struct {
	Writes uint64
	Bytes  uint64
	Errors int
	// Pause is the longest time in which no write ended although some were under way.
	Pause time.Duration
}

// NewWriter returns a writer that is not yet running. The same seed draws the same numbers.
func NewWriter(d *Disk, depth int, next Pattern, seed uint64) *Writer {
	return &Writer{disk: d, depth: depth, next: next, seed: seed}
}

// Run writes until ctx ends or limit writes were begun (0: no limit), then waits for those under
// way. A write that fails ends the run.
func (w *Writer) Run(ctx context.Context, limit int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w.mu.Lock()
	w.since = time.Now()
	w.mu.Unlock()
	left := make(chan struct{}, max(limit, 1))
	for range limit {
		left <- struct{}{}
	}
	close(left)
	more := func() bool {
		if ctx.Err() != nil || limit == 0 {
			return ctx.Err() == nil
		}
		_, ok := <-left
		return ok
	}
	var wg sync.WaitGroup
	for i := range w.depth {
		wg.Go(func() {
			if err := w.work(uint64(i), more); err != nil {
				w.failed(err)
				stop()
			}
		})
	}
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first
}

// work is one of the writer's goroutines.
func (w *Writer) work(i uint64, more func() bool) (err error) {
	buf, free, err := newBuffer(MaxWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, free()) }()
	rng := rand.New(rand.NewPCG(w.seed, i))
	for more() {
		r, number := w.disk.begin(rng, w.next)
		if err := w.disk.write(buf, r, number); err != nil {
			return err
		}
		w.ended(r.Len)
	}
	return nil
}

func (w *Writer) ended(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.stats.Pause = max(w.stats.Pause, now.Sub(w.since))
	w.since = now
	w.stats.Writes++
	w.stats.Bytes += uint64(n)
}

func (w *Writer) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Errors++
	if w.first == nil {
		w.first = err
	}
}

// Stats returns what was done so far.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// ResetPause forgets the longest pause, so that the next one is told by itself.
func (w *Writer) ResetPause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Pause, w.since = 0, time.Now()
}
