package placement

import (
	"fmt"
	"strings"
)

func (p *Pool) applyBody(seq uint64, body []byte) {
	m, err := DecodeMark(body)
	if err != nil {
		p.replayErr = fmt.Errorf("mark %d: %w", seq, err)
		return
	}
	p.apply(seq, &m)
}

// apply changes the catalogue as a mark says.
func (p *Pool) apply(seq uint64, m *Mark) {
	p.lastMark, p.back.changed = seq, true
	var err error
	switch m.Kind {
	case MarkCreate:
		p.create(m, m.Node, m.Name, 0)
	case MarkSnapshot:
		err = p.applySnapshot(m)
	case MarkClone, MarkCloneRange:
		err = p.applyClones(m)
	case MarkRollback:
		err = p.applyRollback(seq, m)
	case MarkDelete:
		err = p.applyDelete(seq, m)
	default:
		n := p.nodes[m.Node]
		if n == nil {
			err = fmt.Errorf("node %d is unknown", m.Node)
			break
		}
		p.touch(n)
		p.applyChange(n, m)
	}
	if err != nil {
		p.replayErr = fmt.Errorf("mark %d, %s: %w: %w", seq, m.Kind, err, ErrDamaged)
	}
}

// applyChange applies a mark that changes one node.
func (p *Pool) applyChange(n *node, m *Mark) {
	switch m.Kind {
	case MarkAttach:
		n.rec.QueueDepth = m.QueueDepth
		n.attach(m)
	case MarkDetach:
		n.rec.Flags &^= NodeAttached | NodeReadOnly
		n.rec.Device = -1
	case MarkRename:
		p.rename(n, m.Name)
	case MarkResize:
		p.resize(n, m.Size)
	}
}

// create adds a node that a mark describes: a new volume, or one that continues the snapshot parent.
func (p *Pool) create(m *Mark, id uint32, name string, parent uint32) *node {
	rec := NodeRecord{
		ID: id, Parent: parent, Birth: m.Epoch, Flags: NodeExists, QueueDepth: m.QueueDepth,
		Device: -1, Size: m.Size, Created: m.Time, Name: name,
	}
	if h := p.nodes[parent]; h != nil {
		rec.Flags |= NodeAsParent
		rec.Size, rec.Floor, rec.Mapped = h.rec.Size, h.rec.Frozen, p.mapOf(h).rec.Mapped
	}
	n := p.addNode(&rec, m.Kind == MarkSnapshot)
	n.attach(m)
	p.touch(n)
	p.nextNode = max(p.nextNode, id+1)
	return n
}

// snapshotOf returns the frozen node that a mark continues.
func (p *Pool) snapshotOf(id uint32) (*node, error) {
	h := p.nodes[id]
	if h == nil || !h.frozen() || h.gone() {
		return nil, fmt.Errorf("node %d is no snapshot", id)
	}
	return h, nil
}

// applySnapshot freezes all members at once and gives each volume a new node.
func (p *Pool) applySnapshot(m *Mark) error {
	for _, v := range m.Members {
		if n := p.nodes[v.Node]; n == nil || n.frozen() || n.hidden() {
			return fmt.Errorf("node %d is no volume", v.Node)
		}
	}
	for _, v := range m.Members {
		n := p.nodes[v.Node]
		n.rec.Frozen = m.Epoch - 1
		mark := *m
		mark.QueueDepth = n.rec.QueueDepth
		c := p.create(&mark, v.Child, n.rec.Name, n.rec.ID)
		p.replace(n, c)
		n.rec.Name += "@" + m.Name
		p.names[n.rec.Name] = n
		n.rec.Created = m.Time
		p.snapshots++
	}
	p.epoch = max(p.epoch, m.Epoch)
	return nil
}

// replace makes the node c what a volume is from now on, in place of n.
func (p *Pool) replace(n, c *node) {
	const moves = NodeAttached | NodeReadOnly
	c.rec.Flags |= n.rec.Flags & moves
	c.rec.Device, c.rec.Created = n.rec.Device, n.rec.Created
	n.rec.Flags &^= moves
	n.rec.Device = -1
	if c.vol = n.vol; c.vol != nil {
		c.vol.node = c
		c.line.beginFlow()
	}
	n.vol = nil
	p.touch(n)
	p.touch(c)
}

// applyClones adds clones of a snapshot.
func (p *Pool) applyClones(m *Mark) error {
	h, err := p.snapshotOf(m.Parent)
	if err != nil {
		return err
	}
	if m.Kind == MarkClone {
		p.create(m, m.Node, m.Name, h.rec.ID)
		return nil
	}
	for i := range m.Count {
		p.create(m, m.Node+i, m.CloneName(i), h.rec.ID)
	}
	return nil
}

// applyRollback gives a volume a new node that continues an older snapshot; the present one goes.
func (p *Pool) applyRollback(seq uint64, m *Mark) error {
	h, err := p.snapshotOf(m.Parent)
	old := p.nodes[m.Old]
	if err != nil || old == nil || old.frozen() || old.hidden() {
		return fmt.Errorf("node %d cannot become what node %d was: %w", m.Old, m.Parent, err)
	}
	name := old.rec.Name
	mark := *m
	mark.QueueDepth = old.rec.QueueDepth
	c := p.create(&mark, m.Node, "", h.rec.ID)
	p.replace(old, c)
	p.hide(old, seq)
	c.rec.Name = name
	p.names[name] = c
	return nil
}

// applyDelete removes the volumes and snapshots with the ids of the mark's range.
func (p *Pool) applyDelete(seq uint64, m *Mark) error {
	for i := range max(m.Count, 1) {
		n := p.nodes[m.Node+i]
		if n == nil || n.hidden() {
			return fmt.Errorf("node %d is unknown", m.Node+i)
		}
		if n.frozen() {
			p.snapshots--
		}
		p.hide(n, seq)
	}
	return nil
}

// rename renames a volume, and its snapshots with it, or a snapshot.
func (p *Pool) rename(n *node, to string) {
	was := n.rec.Name
	if !n.frozen() && p.snapshots > 0 {
		for _, s := range p.order {
			if rest, ok := strings.CutPrefix(s.rec.Name, was+"@"); ok {
				p.giveName(s, to+"@"+rest)
			}
		}
	}
	p.giveName(n, to)
}

func (p *Pool) giveName(n *node, name string) {
	delete(p.names, n.rec.Name)
	n.rec.Name = name
	p.names[name] = n
	p.touch(n)
}

// resize makes a volume larger. What its blocks may need in pages is counted anew.
func (p *Pool) resize(n *node, size uint64) {
	n.rec.Size = max(n.rec.Size, size)
	p.promise(n)
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
