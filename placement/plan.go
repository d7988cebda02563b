package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// planMarks checks what an operator asks for and decides which marks it takes.
func (p *Pool) planMarks(c *Control) error {
	switch c.Op {
	case CreateVolume:
		return p.planCreate(c)
	case RemoveVolume:
		return p.planRemove(c)
	case SnapshotVolume:
		return p.planSnapshot(c)
	case CloneVolume:
		return p.planClone(c)
	}
	n := p.names[c.Name]
	if n == nil {
		return fmt.Errorf("%s: %w", Object(c.Name), ErrNoVolume)
	}
	switch c.Op {
	case AttachVolume:
		return p.planAttach(c, n)
	case DetachVolume:
		return p.planDetach(c, n)
	case RollbackVolume:
		return p.planRollback(c, n)
	case RenameVolume:
		return p.planRename(c, n)
	case ResizeVolume:
		return p.planResize(c, n)
	}
	return fmt.Errorf("operation %d: %w", c.Op, ErrConfig)
}

// mayAdd checks that the catalogue has room for more nodes.
func (p *Pool) mayAdd(more int) error {
	if uint64(p.nextNode)+uint64(more) > MaxNode+1 || len(p.order)+more > p.opt.MaxNodes {
		return fmt.Errorf("volumes and snapshots: %d, and %d more: %w", len(p.order), more, ErrTooMany)
	}
	pages := uint64(more/nodesPerPage + more/(nodesPerPage*fanout) + catalogueLevels)
	if p.pageNeed+p.opt.reservePages+pages > p.pages.available() {
		return fmt.Errorf("metadata area: %w", ErrFull)
	}
	return nil
}

// mayName checks that a name may be given.
func (p *Pool) mayName(name string) error {
	if p.names[name] != nil {
		return fmt.Errorf("%s: %w", Object(name), ErrExists)
	}
	return nil
}

func (p *Pool) planCreate(c *Control) error {
	if err := ValidName(c.Name); err != nil {
		return err
	}
	if err := ValidSize(c.Size); err != nil {
		return err
	}
	if err := p.mayName(c.Name); err != nil {
		return err
	}
	if err := p.mayAdd(1); err != nil {
		return err
	}
	m := Mark{
		Kind: MarkCreate, Node: p.nextNode, Epoch: p.epoch, Time: c.Time, Size: uint64(c.Size),
		Device: -1, QueueDepth: uint16(c.QueueDepth), Name: c.Name,
	}
	if c.Attach {
		m.Flags, m.Device = MarkAttached, c.Device
	}
	c.marks = append(c.marks, m)
	return nil
}

func (p *Pool) planAttach(c *Control, n *node) error {
	depth := c.QueueDepth
	if depth == 0 {
		depth = int(n.rec.QueueDepth)
	}
	m := Mark{
		Kind: MarkAttach, Node: n.rec.ID, Device: c.Device,
		QueueDepth: uint16(depth), Flags: MarkAttached,
	}
	if c.ReadOnly || n.frozen() {
		m.Flags |= MarkReadOnly
	}
	c.marks = append(c.marks, m)
	return nil
}

func (p *Pool) planDetach(c *Control, n *node) error {
	if n.rec.Flags&NodeAttached == 0 {
		return fmt.Errorf("%s: %w", Object(c.Name), ErrNotAttached)
	}
	if err := n.quiet(); err != nil {
		return err
	}
	c.marks = append(c.marks, Mark{Kind: MarkDetach, Node: n.rec.ID})
	return nil
}

// detached checks that nobody uses a volume or snapshot.
func (n *node) detached() error {
	if n.rec.Flags&NodeAttached != 0 {
		return fmt.Errorf("%s: %w", Object(n.rec.Name), ErrAttached)
	}
	return n.quiet()
}

// quiet checks that no requests are under way.
func (n *node) quiet() error {
	if n.vol != nil && n.vol.open > 0 {
		return fmt.Errorf("%s: %d requests under way: %w", Object(n.rec.Name), n.vol.open, ErrInUse)
	}
	return nil
}

// planRemove plans the removal of volumes and snapshots: one mark for each run of consecutive ids,
// which is what a range of clones has, or several for a long one. A volume goes only with all its snapshots.
func (p *Pool) planRemove(c *Control) error {
	names := c.Names
	if c.Name != "" {
		names = []string{c.Name}
	}
	nodes := make([]*node, 0, len(names))
	going := map[*node]bool{}
	for _, name := range names {
		n := p.names[name]
		if n == nil {
			return fmt.Errorf("%s: %w", Object(name), ErrNoVolume)
		}
		if err := n.detached(); err != nil {
			return err
		}
		if !going[n] {
			going[n] = true
			nodes = append(nodes, n)
		}
	}
	if s := p.snapshotLeft(going); s != nil {
		volume, _, _ := strings.Cut(s.rec.Name, "@")
		return fmt.Errorf("volume %q: snapshot %q: %w", volume, s.rec.Name, ErrSnapshots)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.rec.ID, b.rec.ID) })
	most := uint32(p.removeMost())
	for _, n := range nodes {
		if k := len(c.marks) - 1; k >= 0 && c.marks[k].Node+c.marks[k].Count == n.rec.ID &&
			c.marks[k].Count < most {
			c.marks[k].Count++
			continue
		}
		c.marks = append(c.marks, Mark{Kind: MarkDelete, Node: n.rec.ID, Count: 1})
	}
	return nil
}

// snapshotLeft returns a snapshot that does not go although its volume does, or nil.
func (p *Pool) snapshotLeft(going map[*node]bool) *node {
	if p.snapshots == 0 {
		return nil
	}
	for _, s := range p.order {
		if !s.frozen() || s.hidden() || going[s] {
			continue
		}
		volume, _, _ := strings.Cut(s.rec.Name, "@")
		if going[p.names[volume]] {
			return s
		}
	}
	return nil
}

// planSnapshot plans one mark that freezes all volumes that are named.
func (p *Pool) planSnapshot(c *Control) error {
	if err := ValidName(c.To); err != nil {
		return err
	}
	if len(c.Names) == 0 || len(c.Names) > MaxMembers {
		return fmt.Errorf("%d volumes in a snapshot, 1 to %d: %w", len(c.Names), MaxMembers, ErrConfig)
	}
	if err := p.mayAdd(len(c.Names)); err != nil {
		return err
	}
	m := Mark{Kind: MarkSnapshot, Epoch: p.epoch + 1, Time: c.Time, Name: c.To}
	for i, name := range c.Names {
		n := p.names[name]
		switch {
		case n == nil:
			return fmt.Errorf("%s: %w", Object(name), ErrNoVolume)
		case n.frozen():
			return fmt.Errorf("snapshot %q: %w", name, ErrSnapshot)
		case slices.Contains(c.Names[:i], name):
			return fmt.Errorf("%s: named twice: %w", Object(name), ErrConfig)
		}
		if err := p.mayName(name + "@" + c.To); err != nil {
			return err
		}
		m.Members = append(m.Members, Member{n.rec.ID, p.nextNode + uint32(i)})
		c.holds = append(c.holds, p.open(n))
	}
	if planted("group-cut-at-two-times") && len(m.Members) > 1 {
		first := m
		first.Members, m.Members, m.Epoch = m.Members[:1], m.Members[1:], m.Epoch+1
		c.marks = append(c.marks, first)
	}
	c.marks = append(c.marks, m)
	return nil
}

// planClone plans one clone of a snapshot, or a range of them, all with one mark.
func (p *Pool) planClone(c *Control) error {
	n := p.names[c.Name]
	switch {
	case n == nil:
		return fmt.Errorf("snapshot %q: %w", c.Name, ErrNoVolume)
	case !n.frozen():
		return fmt.Errorf("%s: %w", Object(c.Name), ErrNotSnapshot)
	}
	m := Mark{
		Kind: MarkClone, Node: p.nextNode, Parent: n.rec.ID, Epoch: p.epoch, Time: c.Time,
		Device: -1, QueueDepth: uint16(c.QueueDepth), Name: c.To,
	}
	if c.QueueDepth == 0 {
		m.QueueDepth = n.rec.QueueDepth
	}
	count := max(int(c.Count), 1)
	if c.Count > 0 {
		m.Kind, m.Count, m.First, m.Width = MarkCloneRange, c.Count, c.First, c.Width
		if err := p.mayCut(count); err != nil {
			return err
		}
	} else if c.Attach {
		m.Flags, m.Device = MarkAttached, c.Device
	}
	if err := p.mayAdd(count); err != nil {
		return err
	}
	for i := range count {
		name := c.To
		if c.Count > 0 {
			name = m.CloneName(uint32(i))
		}
		if err := ValidName(name); err != nil {
			return err
		}
		if err := p.mayName(name); err != nil {
			return err
		}
	}
	c.marks = append(c.marks, m)
	return nil
}

// mayCut checks that one checkpoint can write the records of so many new nodes.
func (p *Pool) mayCut(count int) error {
	most := (p.cache.cutLimit()*3/4 - p.cutNeeds()) * nodesPerPage
	if count > most {
		return fmt.Errorf("%d clones at once, at most %d: %w", count, max(most, 0), ErrTooMany)
	}
	return nil
}

// planRollback plans that a volume goes on from an older snapshot of its own.
func (p *Pool) planRollback(c *Control, n *node) error {
	name, _, has := strings.Cut(c.Name, "@")
	v := p.names[name]
	switch {
	case !has || !n.frozen():
		return fmt.Errorf("%s: %w", Object(c.Name), ErrNotSnapshot)
	case v == nil:
		return fmt.Errorf("%s: %w", Object(name), ErrNoVolume)
	}
	unused := v.detached
	if c.Attach {
		unused = v.quiet
	}
	if err := unused(); err != nil {
		return err
	}
	if err := p.mayAdd(1); err != nil {
		return err
	}
	c.holds = append(c.holds, p.open(v))
	c.marks = append(c.marks, Mark{
		Kind: MarkRollback, Node: p.nextNode, Parent: n.rec.ID, Old: v.rec.ID, Epoch: p.epoch,
		Time: c.Time,
	})
	return nil
}

// planRename plans a new name for a volume, whose snapshots follow, or for one snapshot.
func (p *Pool) planRename(c *Control, n *node) error {
	if err := ValidNodeName(c.To); err != nil {
		return err
	}
	if err := p.mayName(c.To); err != nil {
		return err
	}
	volume, _, has := strings.Cut(c.To, "@")
	was, _, _ := strings.Cut(n.rec.Name, "@")
	if has != n.frozen() || has && volume != was {
		return fmt.Errorf("%s cannot be named %q: %w", Object(c.Name), c.To, ErrName)
	}
	if err := p.mayRename(n); err != nil {
		return err
	}
	c.marks = append(c.marks, Mark{Kind: MarkRename, Node: n.rec.ID, Name: c.To})
	return nil
}

func (p *Pool) planResize(c *Control, n *node) error {
	if err := ValidSize(c.Size); err != nil {
		return err
	}
	switch {
	case n.frozen():
		return fmt.Errorf("snapshot %q: %w", c.Name, ErrSnapshot)
	case uint64(c.Size) < n.rec.Size:
		return fmt.Errorf("volume %q: from %d to %d bytes, and volumes do not shrink: %w",
			c.Name, n.rec.Size, c.Size, ErrSize)
	}
	c.marks = append(c.marks, Mark{Kind: MarkResize, Node: n.rec.ID, Size: uint64(c.Size)})
	return nil
}
