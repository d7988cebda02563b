package daemon

import (
	"context"
	"sync"
)

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
