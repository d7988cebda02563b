package placement

import (
	"fmt"

	"unblend/log"
)

// ControlOp is what an operator asks of the pool.
type ControlOp uint8

// The control operations.
const (
	CreateVolume ControlOp = iota // Name, Size, QueueDepth; Attach, Device
	RemoveVolume                  // Name
	AttachVolume                  // Name, Device, QueueDepth (0: as it was)
	DetachVolume                  // Name
	Checkpoint                    // make what is known durable in the maps
	Drain                         // destage everything, then checkpoint
	Shutdown                      // checkpoint, marked as an orderly end; nothing may follow
)

// Control is one control operation. The caller lends it to the pool between Pool.Control and the
// NextControl that returns it. What it changes is durable then.
type Control struct {
	Op         ControlOp
	Name       string
	Size       int64 // bytes
	QueueDepth int
	Device     int32 // number of the ublk device; -1: none
	Attach     bool  // of CreateVolume
	ReadOnly   bool  // of AttachVolume
	Time       int64 // Unix time in seconds

	Err error // the outcome
	Vol *Volume

	mark    Mark
	body    [MaxMark]byte
	item    log.Item
	seq     uint64 // of the mark's record
	logging bool   // the mark is in the hands of the log
	applied bool
	next    *Control
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
func (p *Pool) Control(c *Control) { p.controls.add(c) }

// NextControl returns a finished operation, or nil.
func (p *Pool) NextControl() *Control { return p.controlsDone.take() }

// runControls begins the next operation when none is under way, and ends the one that is. It
// reports whether it began one: the back end has to look at what that wants.
func (p *Pool) runControls() bool {
	if c := p.control; c != nil {
		if !p.controlOver(c) {
			return false
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
	b := &p.back
	if p.controls.head == nil || p.readOnly != nil || b.over || p.stale == 0 {
		return false
	}
	need := p.cutNeeds()
	if need <= p.cache.cutLimit()/4 && uint64(need) <= p.opt.reservePages/4 {
		return false
	}
	b.tight = true
	return true
}

// controlOver reports whether the operation under way has ended.
func (p *Pool) controlOver(c *Control) bool {
	if c.applied {
		return true
	}
	if c.logging {
		return false
	}
	if p.readOnly != nil {
		p.markDue = false
		c.Err = fmt.Errorf("%w: %w", ErrReadOnly, p.readOnly)
		return true
	}
	b := &p.back
	switch c.Op {
	case Checkpoint, Shutdown:
		return !b.wanted
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
	if p.readOnly != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, p.readOnly)
	}
	var err error
	switch c.Op {
	case CreateVolume:
		err = p.planCreate(c)
	case Checkpoint, Drain, Shutdown:
		p.back.wanted, p.back.drain = true, c.Op == Drain
		p.back.drainTo = p.ring.LastPublished()
		for i := 0; c.Op == Drain && i < p.ring.Lanes(); i++ {
			p.ring.Lane(i).Seal() // what comes now is not waited for
		}
		p.back.clean = c.Op == Shutdown
		return nil
	default:
		err = p.planChange(c)
	}
	if err != nil {
		return err
	}
	if err = c.mark.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c.item = log.Item{
		Kind: log.ItemMark, MarkKind: uint16(c.mark.Kind), Body: c.mark.Append(c.body[:0]), Ref: c,
	}
	c.logging = true
	p.ring.Lane(p.laneOf(c.mark.Node)).Push(&c.item)
	return nil
}

func (p *Pool) planCreate(c *Control) error {
	if err := ValidName(c.Name); err != nil {
		return err
	}
	if err := ValidSize(c.Size); err != nil {
		return err
	}
	if p.names[c.Name] != nil {
		return fmt.Errorf("volume %q: %w", c.Name, ErrExists)
	}
	if p.nextNode > MaxNode || len(p.order) >= p.opt.MaxNodes {
		return fmt.Errorf("volumes: %d: %w", len(p.order), ErrTooMany)
	}
	if p.pageNeed+p.opt.reservePages+catalogueLevels > p.pages.available() {
		return fmt.Errorf("metadata area: %w", ErrFull)
	}
	c.mark = Mark{
		Kind: MarkCreate, Node: p.nextNode, Epoch: p.epoch, Time: c.Time, Size: uint64(c.Size),
		Device: -1, QueueDepth: uint16(c.QueueDepth), Name: c.Name,
	}
	if c.Attach {
		c.mark.Flags, c.mark.Device = MarkAttached, c.Device
	}
	return nil
}

func (p *Pool) planChange(c *Control) error {
	n := p.names[c.Name]
	if n == nil {
		return fmt.Errorf("volume %q: %w", c.Name, ErrNoVolume)
	}
	attached := n.rec.Flags&NodeAttached != 0
	switch c.Op {
	case RemoveVolume:
		if attached {
			return fmt.Errorf("volume %q: %w", c.Name, ErrAttached)
		}
		if n.vol != nil && n.vol.open > 0 {
			return fmt.Errorf("volume %q: %d requests under way: %w", c.Name, n.vol.open, ErrInUse)
		}
		c.mark = Mark{Kind: MarkDelete, Node: n.rec.ID}
	case AttachVolume:
		depth := c.QueueDepth
		if depth == 0 {
			depth = int(n.rec.QueueDepth)
		}
		c.mark = Mark{
			Kind: MarkAttach, Node: n.rec.ID, Device: c.Device,
			QueueDepth: uint16(depth), Flags: MarkAttached,
		}
		if c.ReadOnly {
			c.mark.Flags |= MarkReadOnly
		}
	case DetachVolume:
		if !attached {
			return fmt.Errorf("volume %q: %w", c.Name, ErrNotAttached)
		}
		if n.vol != nil && n.vol.open > 0 {
			return fmt.Errorf("volume %q: %d requests under way: %w", c.Name, n.vol.open, ErrInUse)
		}
		c.mark = Mark{Kind: MarkDetach, Node: n.rec.ID}
	default:
		return fmt.Errorf("operation %d: %w", c.Op, ErrConfig)
	}
	return nil
}

// controlLogged is called when the mark's record is durable in its lane, or has failed.
func (p *Pool) controlLogged(c *Control, err error) {
	c.logging = false
	if err != nil {
		c.Err, c.applied = err, true
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
	p.apply(c.seq, &c.mark)
	if n := p.nodes[c.mark.Node]; n != nil && c.Op != RemoveVolume {
		c.Vol = p.open(n)
	}
	c.applied = true
}

func (p *Pool) applyBody(seq uint64, body []byte) {
	m, err := DecodeMark(body)
	if err != nil {
		p.replayErr = fmt.Errorf("mark %d: %w", seq, err)
		return
	}
	p.apply(seq, &m)
}

// apply changes the catalogue.
func (p *Pool) apply(seq uint64, m *Mark) {
	p.lastMark, p.back.changed = seq, true
	if m.Kind == MarkCreate {
		n := p.addNode(&NodeRecord{
			ID: m.Node, Birth: m.Epoch, Flags: NodeExists, QueueDepth: m.QueueDepth,
			Device: m.Device, Size: m.Size, Created: m.Time, Name: m.Name,
		})
		p.touch(n)
		n.attach(m)
		p.nextNode = max(p.nextNode, m.Node+1)
		return
	}
	n := p.nodes[m.Node]
	if n == nil {
		p.replayErr = fmt.Errorf("mark %d: node %d is unknown: %w", seq, m.Node, ErrDamaged)
		return
	}
	p.touch(n)
	switch m.Kind {
	case MarkDelete:
		delete(p.names, n.rec.Name)
		n.rec.Name, n.rec.Flags, n.rec.LastSeq = "", NodeExists|NodeGone|NodeHidden, seq
		n.vol = nil
		p.zeros.removeNode(n.rec.ID)
		p.gone++
	case MarkAttach:
		n.rec.QueueDepth = m.QueueDepth
		n.attach(m)
	case MarkDetach:
		n.rec.Flags &^= NodeAttached | NodeReadOnly
		n.rec.Device = -1
	}
}

// attach notes that n's device is wanted, if the mark says so.
func (n *node) attach(m *Mark) {
	if m.Flags&MarkAttached == 0 {
		return
	}
	n.rec.Flags = n.rec.Flags&^NodeReadOnly | NodeAttached
	if m.Flags&MarkReadOnly != 0 {
		n.rec.Flags |= NodeReadOnly
	}
	n.rec.Device = m.Device
}
