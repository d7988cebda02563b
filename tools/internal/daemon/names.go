package daemon

import (
	"context"
	"slices"
	"sync"

	"unblend/tools/internal/control"
)

// lock waits for its turn at volumes. A volume and its snapshots are one: names of snapshots stand for
// their volume. The caller calls the returned function when it is done.
func (d *daemon) lock(ctx context.Context, names ...string) (unlock func(), err error) {
	volumes := make([]string, len(names))
	for i, name := range names {
		volumes[i] = control.VolumeOf(name)
	}
	slices.Sort(volumes) // everybody takes them in the same order
	var held []func()
	unlock = func() {
		for _, f := range held {
			f()
		}
	}
	for _, v := range slices.Compact(volumes) {
		f, err := d.names.lock(ctx, v)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, f)
	}
	return unlock, nil
}

// nameLocks makes changes of one volume wait for each other.
type nameLocks struct {
	mu sync.Mutex
	m  map[string]*nameLock // guarded by mu
}

type nameLock struct {
	users int           // guarded by nameLocks.mu: who has it or waits for it
	turn  chan struct{} // holds one element while somebody has it
}

// lock waits for its turn at a name. The caller calls the returned function when it is done.
func (l *nameLocks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.m == nil {
		l.m = map[string]*nameLock{}
	}
	n := l.m[name]
	if n == nil {
		n = &nameLock{turn: make(chan struct{}, 1)}
		l.m[name] = n
	}
	n.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.users--; n.users == 0 {
			delete(l.m, name)
		}
	}
	select {
	case n.turn <- struct{}{}:
		return func() { <-n.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
