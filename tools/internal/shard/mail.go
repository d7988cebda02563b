package shard

import (
	"sync"

	"unblend/uring"
)

// mailbox is how other threads have something done on a loop's.
type mailbox struct {
	waker  *uring.Waker
	mu     sync.Mutex
	list   []letter // guarded by mu
	closed bool     // guarded by mu
	spare  []letter // the loop's own
}

// letter is a function to be run by a loop, which holds the pool meanwhile if that is asked for.
type letter struct {
	f    func()
	pool bool
}

// send has a function run on the loop's thread soon.
func (m *mailbox) send(l letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrStopped
	}
	m.list = append(m.list, l)
	return m.waker.Wake()
}

// wake has the loop take a turn, if there will be any.
func (m *mailbox) wake() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	return m.waker.Wake()
}

// take returns what was sent. It is used up when the loop asks again.
func (m *mailbox) take() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	clear(m.spare)
	m.list, m.spare = m.spare[:0], list
	return list
}

// close accepts nothing more, and returns what is left.
func (m *mailbox) close() []letter {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	return m.take()
}
