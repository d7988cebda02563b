package shard

import (
	"runtime"
	"sync"
	"testing"
)

// TestLock: threads that hold it now short, now for long, never do so together, and all get on, also
// while garbage is collected all the time.
func TestLock(t *testing.T) {
	var l lock
	var wg sync.WaitGroup
	sum, inside := 0, 0
	for i := range 6 {
		wg.Go(func() {
			runtime.LockOSThread()
			for j := range 3000 {
				l.lock()
				if inside++; inside != 1 {
					t.Errorf("%d threads hold it", inside)
				}
				for range (i + j) % 7 * 50 {
					sum++
					sum--
				}
				sum++
				inside--
				l.unlock()
			}
		})
	}
	end := make(chan struct{})
	go func() {
		defer close(end)
		wg.Wait()
	}()
	for collected := false; !collected; {
		runtime.GC()
		select {
		case <-end:
			collected = true
		default:
		}
	}
	if sum != 18000 {
		t.Errorf("%d turns, want 18000", sum)
	}
}
