package daemon

import "sync"

// devicesAtOnce is how many devices are attached or taken away at a time: each waits for the kernel
// most of its time.
const devicesAtOnce = 32

// atOnce does something with all elements of a list, many at a time, and returns when all of it has
// ended.
func atOnce[T any](list []T, do func(T)) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, devicesAtOnce)
	for _, v := range list {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			do(v)
		})
	}
	wg.Wait()
}
