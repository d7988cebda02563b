package placement

// task is something that had to wait: a guest request or a step of the background work. It never
// resumes where it stopped: resume looks everything up again from the root.
type task interface{ resume() }

// waiter is the link by which a task stands in one waitList; it is embedded in the task.
type waiter struct {
	next    *waiter
	task    task
	waiting bool
}

// waitList is a first-in first-out queue of tasks.
type waitList struct{ head, tail *waiter }

func (l *waitList) empty() bool { return l.head == nil }

// add puts w at the end. A waiter stands in at most one list.
func (l *waitList) add(w *waiter) {
	if w.waiting {
		panic("placement: a task waits twice")
	}
	w.waiting, w.next = true, nil
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

// take removes and returns the first waiter, or nil.
func (l *waitList) take() *waiter {
	w := l.head
	if w == nil {
		return nil
	}
	l.head = w.next
	if l.head == nil {
		l.tail = nil
	}
	w.next, w.waiting = nil, false
	return w
}

// remove takes w, which stands in l, out of it.
func (l *waitList) remove(w *waiter) {
	var before *waiter
	for at := &l.head; *at != w; at = &before.next {
		before = *at
	}
	if before == nil {
		l.head = w.next
	} else {
		before.next = w.next
	}
	if l.tail == w {
		l.tail = before
	}
	w.next, w.waiting = nil, false
}

// wake moves every task of l to the run queue; they run in the order in which they waited.
func (p *Pool) wake(l *waitList) {
	for w := l.take(); w != nil; w = l.take() {
		p.runq.add(w)
	}
}

// runTasks resumes what became ready, including what that makes ready.
func (p *Pool) runTasks() {
	for w := p.runq.take(); w != nil; w = p.runq.take() {
		w.task.resume()
	}
}
