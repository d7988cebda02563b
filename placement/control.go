package placement

import (
	"fmt"

	"unblend/log"
)

// ControlOp is what an operator asks of the pool.
type ControlOp uint8

// The control operations.
const (
	CreateVolume   ControlOp = iota // Name, Size, QueueDepth; Attach, Device
	RemoveVolume                    // Name, or Names: volumes and snapshots
	AttachVolume                    // Name, Device, QueueDepth (0: as it was); a snapshot: ReadOnly
	DetachVolume                    // Name
	SnapshotVolume                  // Names, all at one moment; To: what follows the "@"
	CloneVolume                     // Name: the snapshot, To; with Count: see there
	RollbackVolume                  // Name: "volume@snapshot"; the volume is not attached, or Attach
	RenameVolume                    // Name, To: a volume, with its snapshots, or one snapshot
	ResizeVolume                    // Name, Size: not below what it is
	GrowPool                        // Sizes: use what the devices have more than before
	LayoutVolume                    // Name: a volume or snapshot; Layout; again until that is Done
	StartScrub                      // Rate: verify all that the pool holds, in the background
	StopScrub                       // end that
	Checkpoint                      // make what is known durable in the maps
	Drain                           // destage everything, then checkpoint
	Shutdown                        // checkpoint, marked as an orderly end; nothing may follow
)

// Control is one control operation. The caller lends it to the pool between Pool.Control and the
// NextControl that returns it. What it changes is durable then.
type Control struct {
	Op         ControlOp
	Name       string
	Names      []string
	To         string
	Size       int64           // bytes
	Sizes      [log.Devs]int64 // of the devices, in bytes; of one device the same twice
	Count      uint32          // clones, atomically; To and a number from First on, of Width digits or more
	First      uint32
	Width      uint8
	QueueDepth int
	Device     int32 // number of the ublk device; -1: none
	Attach     bool  // of CreateVolume; of RollbackVolume: attached without a device, and stays so
	ReadOnly   bool  // of AttachVolume
	Time       int64 // Unix time in seconds
	Layout     *VolumeLayout
	Rate       int64 // bytes a second that StartScrub may read; 0: the default

	Err error // the outcome
	Vol *Volume

	marks   []Mark // to be made, one after the other
	body    [MaxMark]byte
	item    log.Item
	seq     uint64    // of the mark's record
	holds   []*Volume // of which no write is admitted until the mark has taken effect
	logging bool      // marks are to be made
	waiting bool      // the next one waits for a checkpoint or the writes of holds
	applied bool
	pages   int // of the catalogue that its first mark may change; 0: not yet known
	next    *Control

	walk          waiter // of a LayoutVolume
	leaves, loads int
	more          bool // it goes on at once
}

type controlQueue struct{ head, tail *Control }

func (q *controlQueue) add(c *Control) {
	c.next = nil
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
}

func (q *controlQueue) take() *Control {
	c := q.head
	if c != nil {
		if q.head = c.next; q.head == nil {
			q.tail = nil
		}
	}
	return c
}

// Control hands c to the pool. Operations are done one after the other.
func (p *Pool) Control(c *Control) {
	c.pages = 0
	p.controls.add(c)
}

// NextControl returns a finished operation, or nil.
func (p *Pool) NextControl() *Control { return p.controlsDone.take() }

// runControls begins the next operation when none is under way, and ends the one that is. It
// reports whether it began one, since the back end has to look at what that wants, or whether the
// one under way goes on at once.
func (p *Pool) runControls() bool {
	if c := p.control; c != nil {
		if c.waiting {
			p.pushMark(c)
		}
		if c.more = false; !p.controlOver(c) {
			return c.more
		}
		p.control = nil
		p.controlsDone.add(c)
	}
	if p.controlsWait() {
		return false
	}
	c := p.controls.take()
	if c == nil {
		return false
	}
	p.control = c
	if c.Err = p.beginControl(c); c.Err != nil {
		c.applied = true
	}
	return true
}

// controlsWait reports whether so many nodes have been changed that a checkpoint has to come before
// the next operation, and sees to it that it comes.
func (p *Pool) controlsWait() bool {
	c := p.controls.head
	if c == nil || p.readOnly != nil || p.back.over {
		return false
	}
	if c.pages == 0 {
		c.pages = p.changes(c)
	}
	need := p.cutNeeds() + c.pages
	switch {
	case need <= p.cache.cutLimit()/4 && uint64(need) <= p.opt.reservePages/4:
		return false
	case len(p.stale) == 0:
		return p.cutBlocked(c.pages)
	}
	p.back.tight = true
	return true
}

// controlOver reports whether the operation under way has ended.
func (p *Pool) controlOver(c *Control) bool {
	if c.applied {
		return true
	}
	if c.Op == LayoutVolume {
		return p.layOut(c)
	}
	if c.logging && !(p.markDue && p.readOnly != nil) {
		return false
	}
	if p.readOnly != nil { // a mark that is due and could not take effect never will
		p.markDue = false
		p.endMarks(c, fmt.Errorf("%w: %w", ErrReadOnly, p.readOnly))
		return true
	}
	b := &p.back
	switch c.Op {
	case Checkpoint, Shutdown:
		return !b.wanted
	case GrowPool:
		return !b.growing()
	case StartScrub:
		if b.inScrub() && !b.scrub.Running {
			return false // the last step of the one before
		}
		c.Err = p.startScrub(c)
		return true
	case Drain:
		if b.wanted || b.undrained() {
			return false
		}
		b.drain = false
		return true
	}
	return false
}

// beginControl checks an operation and begins it.
func (p *Pool) beginControl(c *Control) error {
	c.applied, c.logging = false, false
	if c.Op == LayoutVolume { // of a pool that is read-only too
		return p.beginLayout(c)
	}
	if p.readOnly != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, p.readOnly)
	}
	switch c.Op {
	case StartScrub:
		return nil
	case StopScrub:
		c.applied = true
		return p.stopScrub()
	case Checkpoint, Drain, Shutdown:
		if c.Op == Shutdown {
			p.endScrub(ErrStopped)
		}
		p.back.wanted, p.back.drain = true, c.Op == Drain
		p.back.drainTo = p.ring.LastPublished()
		for i := 0; c.Op == Drain && i < p.ring.Lanes(); i++ {
			p.ring.Lane(i).Seal() // what comes now is not waited for
		}
		p.back.clean = c.Op == Shutdown
		return nil
	}
	if c.Op == GrowPool {
		return p.planGrowth(c)
	}
	c.marks, c.holds = c.marks[:0], c.holds[:0]
	if err := p.planMarks(c); err != nil {
		return err
	}
	for i := range c.marks {
		if err := c.marks[i].validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	for _, v := range c.holds {
		v.held = true
	}
	c.logging, p.coming = true, c.pages
	p.pushMark(c)
	return nil
}

// pushMark gives the next mark of an operation to the log, when the next cut can hold what it
// changes. A mark that replaces the node of a volume waits until the log has ended all writes to the
// old one; no others are admitted meanwhile, so what comes behind the mark in the log belongs to the
// new one.
func (p *Pool) pushMark(c *Control) {
	c.waiting = p.cutBlocked(0)
	for _, v := range c.holds {
		c.waiting = c.waiting || v.logging > 0
	}
	if c.waiting {
		return
	}
	m := &c.marks[0]
	c.item = log.Item{
		Kind: log.ItemMark, MarkKind: uint16(m.Kind), Body: m.Append(c.body[:0]), Ref: c,
	}
	p.ring.Lane(p.laneOf(m.Node)).Push(&c.item)
	if planted("mark-before-durable") {
		p.apply(p.ring.NextSeq(), m)
	}
}

// endMarks ends an operation whose marks have all taken effect, or one of which has failed.
func (p *Pool) endMarks(c *Control, err error) {
	for _, v := range c.holds {
		v.held, p.released = false, true
	}
	c.Err, c.applied, c.logging = err, true, false
	p.coming = 0
}

// controlLogged is called when the mark's record is durable in its lane, or has failed.
func (p *Pool) controlLogged(c *Control, err error) {
	if err != nil {
		p.endMarks(c, err)
	}
}

// Marked takes a mark that is durable in its lane. It takes effect when every record with a lower
// sequence number in all lanes is durable too; until then it waits. One mark is under way at a
// time.
func (p *Pool) Marked(seq uint64, _ int, _ uint16, body []byte, _ uint32) {
	if p.replaying {
		if seq > p.lastMark {
			p.applyBody(seq, body)
		}
		return
	}
	p.control.seq = seq
	p.markDue = true
}

// applyMarks applies the mark that waits, when it may take effect.
func (p *Pool) applyMarks() {
	if !p.markDue || !p.ring.DurableTo(p.control.seq) || p.ring.MinUndurable() <= p.control.seq {
		return
	}
	c := p.control
	p.markDue = false
	if !planted("mark-before-durable") {
		p.apply(c.seq, &c.marks[0])
	}
	if c.marks = c.marks[1:]; len(c.marks) > 0 {
		p.coming = recordPages(int(c.marks[0].Count))
		if planted("group-cut-at-two-times") {
			for _, v := range c.holds {
				v.held = false
			}
			p.admitWaiting()
		}
		p.pushMark(c)
		return
	}
	if n := p.names[c.resultName()]; n != nil {
		c.Vol = p.open(n)
	}
	p.endMarks(c, nil)
}

// resultName returns the name of the volume that the operation returns, if any.
func (c *Control) resultName() string {
	switch {
	case c.Op == CreateVolume, c.Op == AttachVolume, c.Op == DetachVolume, c.Op == ResizeVolume:
		return c.Name
	case c.Op == CloneVolume && c.Count == 0:
		return c.To
	}
	return ""
}
