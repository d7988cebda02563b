package placement

import (
	"encoding/binary"
	"fmt"
)

// Mark is one change of the catalogue, as the log carries it: what was decided, ids and epoch
// included, so that a replay comes to the same catalogue.
//
//	 0  kind u16 | version u8 | flags u8 | node u32 | parent u32 | old u32
//	16  epoch u32 | count u32 | time i64
//	32  size u64 | device i32 | queue depth u16 | width u8 | length of the name u8
//	48  first u32 | members u16 | 0 u16
//	56  name | members: up to 112 times node u32, child u32
//
// All kinds have this layout; the fields that a kind does not use are zero. A body has at most
// MaxMark bytes. The record around it has the checksum.
type Mark struct {
	Kind       MarkKind
	Flags      MarkFlags
	Node       uint32 // the node that is created or changed; of a range of clones the first
	Parent     uint32 // the frozen node that the new one continues
	Old        uint32 // the writable node that a rollback replaces
	Epoch      uint32 // the pool's, from this mark on; the birth of what is created
	Count      uint32 // clones of a range, or nodes removed; their ids are consecutive
	Time       int64  // Unix time in seconds
	Size       uint64 // of the volume, in bytes
	Device     int32  // number of the ublk device; -1: none yet
	QueueDepth uint16
	Width      uint8    // least digits of the number in the names of a range of clones
	First      uint32   // number in the name of the first of them
	Name       string   // snapshots: the part behind the "@"; a range: what comes before the number
	Members    []Member // of a snapshot, at least one
}

// Member is one volume of a snapshot.
type Member struct {
	Node  uint32 // is frozen and becomes the snapshot
	Child uint32 // the new writable node of the volume
}

// MarkKind says what a mark does. The numbers are part of the format.
type MarkKind uint16

// The kinds of mark.
const (
	MarkCreate MarkKind = iota + 1
	MarkDelete
	MarkAttach
	MarkDetach
	MarkRename
	MarkResize
	MarkSnapshot
	MarkClone
	MarkCloneRange
	MarkRollback

	markKinds
)

func (k MarkKind) String() string {
	if k == 0 || k >= markKinds {
		return fmt.Sprintf("mark %d", uint16(k))
	}
	return [...]string{
		"create", "delete", "attach", "detach", "rename", "resize", "snapshot", "clone",
		"clone-range", "rollback",
	}[k-1]
}

// MarkFlags is a set of properties of what a mark creates or attaches.
type MarkFlags uint8

// The properties.
const (
	MarkAttached MarkFlags = 1 << iota // its device is wanted
	MarkReadOnly                       // the guest may not write

	markFlags = MarkAttached | MarkReadOnly
)

const (
	// MaxMark is the largest encoded mark, in bytes.
	MaxMark = 1024
	// MaxMembers is how many volumes one snapshot mark can name.
	MaxMembers = 112

	markVersion = 1
	markHead    = 56
	memberSize  = 8
)

const _ = uint(MaxMark - markHead - MaxName - MaxMembers*memberSize) // everything fits

// The fields that a kind of mark may use.
const (
	useFlags = 1 << iota
	useNode
	useParent
	useOld
	useEpoch
	useCount
	useRange // first, width
	useTime
	useSize
	useDevice
	useDepth
	useName
	useMembers

	useCreated = useNode | useEpoch | useTime
	useVolume  = useCreated | useFlags | useDevice | useDepth | useName
)

var markUses = [markKinds]uint16{
	MarkCreate:     useVolume | useSize,
	MarkDelete:     useNode | useCount,
	MarkAttach:     useNode | useFlags | useDevice | useDepth,
	MarkDetach:     useNode,
	MarkRename:     useNode | useName,
	MarkResize:     useNode | useSize,
	MarkSnapshot:   useEpoch | useTime | useName | useMembers,
	MarkClone:      useVolume | useParent,
	MarkCloneRange: useVolume | useParent | useCount | useRange,
	MarkRollback:   useCreated | useParent | useOld,
}

// Append appends the encoded mark to b. An invalid mark panics: whoever accepts an operation
// checks first what the operator asked for.
func (m *Mark) Append(b []byte) []byte {
	if err := m.validate(); err != nil {
		panic("placement: " + err.Error())
	}
	le := binary.LittleEndian
	b = le.AppendUint16(b, uint16(m.Kind))
	b = append(b, markVersion, byte(m.Flags))
	for _, v := range [...]uint32{m.Node, m.Parent, m.Old, m.Epoch, m.Count} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, uint64(m.Time))
	b = le.AppendUint64(b, m.Size)
	b = le.AppendUint32(b, uint32(m.Device))
	b = le.AppendUint16(b, m.QueueDepth)
	b = append(b, m.Width, byte(len(m.Name)))
	b = le.AppendUint32(b, m.First)
	b = le.AppendUint16(b, uint16(len(m.Members)))
	b = append(b, 0, 0)
	b = append(b, m.Name...)
	for _, v := range m.Members {
		b = le.AppendUint32(b, v.Node)
		b = le.AppendUint32(b, v.Child)
	}
	return b
}

// DecodeMark returns the mark in body. ErrVersion: a newer program wrote it; else ErrDamaged: the
// record had the right checksum, so a program wrote it wrong.
func DecodeMark(body []byte) (Mark, error) {
	le := binary.LittleEndian
	var m Mark
	if len(body) < markHead || len(body) > MaxMark {
		return m, fmt.Errorf("mark: %d bytes: %w", len(body), ErrDamaged)
	}
	m.Kind, m.Flags = MarkKind(le.Uint16(body)), MarkFlags(body[3])
	if body[2] > markVersion || m.Kind >= markKinds {
		return m, fmt.Errorf("%s, version %d: %w", m.Kind, body[2], ErrVersion)
	}
	if body[2] < markVersion {
		return m, fmt.Errorf("%s, version %d: %w", m.Kind, body[2], ErrDamaged)
	}
	for i, v := range [...]*uint32{&m.Node, &m.Parent, &m.Old, &m.Epoch, &m.Count} {
		*v = le.Uint32(body[4+4*i:])
	}
	m.Time = int64(le.Uint64(body[24:]))
	m.Size = le.Uint64(body[32:])
	m.Device = int32(le.Uint32(body[40:]))
	m.QueueDepth = le.Uint16(body[44:])
	m.Width = body[46]
	m.First = le.Uint32(body[48:])
	name, members := int(body[47]), int(le.Uint16(body[52:]))
	if want := markHead + name + members*memberSize; len(body) != want {
		return m, fmt.Errorf("%s: %d bytes, want %d: %w", m.Kind, len(body), want, ErrDamaged)
	}
	m.Name = string(body[markHead : markHead+name])
	for b := body[markHead+name:]; len(b) > 0; b = b[memberSize:] {
		m.Members = append(m.Members, Member{Node: le.Uint32(b), Child: le.Uint32(b[4:])})
	}
	if err := m.validate(); err != nil {
		return m, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return m, nil
}

// validate checks that the mark uses the fields of its kind, and only those, with values that can
// be true in some pool.
func (m *Mark) validate() error {
	if m.Kind == 0 || m.Kind >= markKinds {
		return fmt.Errorf("%s: unknown", m.Kind)
	}
	uses := func(field uint16) bool { return markUses[m.Kind]&field != 0 }
	nodeOK := func(field uint16, id uint32) bool { return uses(field) == (id != 0) && id <= MaxNode }
	bad := ""
	switch {
	case m.Flags&^markFlags != 0 || !uses(useFlags) && m.Flags != 0:
		bad = "flags"
	case !nodeOK(useNode, m.Node):
		bad = "node"
	case !nodeOK(useParent, m.Parent):
		bad = "parent"
	case !nodeOK(useOld, m.Old):
		bad = "old node"
	case uses(useEpoch) != (m.Epoch != 0):
		bad = "epoch"
	case !uses(useTime) && m.Time != 0:
		bad = "time"
	case uses(useSize) && ValidSize(int64(m.Size)) != nil || !uses(useSize) && m.Size != 0:
		bad = "size"
	case m.Device < -1 || !uses(useDevice) && m.Device != 0:
		bad = "device"
	case m.QueueDepth > MaxQueueDepth || !uses(useDepth) && m.QueueDepth != 0:
		bad = "queue depth"
	case !m.validCount(uses(useCount)) || !m.validRange(uses(useRange)):
		bad = "range"
	case !m.validName():
		bad = "name"
	case !m.validMembers(uses(useMembers)):
		bad = "members"
	default:
		return nil
	}
	return fmt.Errorf("%s: wrong %s in %+v", m.Kind, bad, *m)
}

// validName checks the name by what it stands for.
func (m *Mark) validName() bool {
	switch m.Kind {
	case MarkRename:
		return ValidNodeName(m.Name) == nil
	case MarkCreate, MarkClone, MarkSnapshot:
		return ValidName(m.Name) == nil
	case MarkCloneRange:
		return ValidName(m.CloneName(m.Count-1)) == nil
	}
	return m.Name == ""
}

// CloneName returns the name of clone i, from 0, of a range.
func (m *Mark) CloneName(i uint32) string {
	return fmt.Sprintf("%s%0*d", m.Name, int(m.Width), uint64(m.First)+uint64(i))
}

// validCount checks the number of nodes. A removal without one is of a single node.
func (m *Mark) validCount(used bool) bool {
	if !used {
		return m.Count == 0
	}
	return m.Count <= MaxNode+1-m.Node && (m.Count > 0 || m.Kind == MarkDelete)
}

func (m *Mark) validRange(used bool) bool {
	return used && m.Width <= MaxName || m.First == 0 && m.Width == 0
}

func (m *Mark) validMembers(used bool) bool {
	for _, v := range m.Members {
		if v.Node == 0 || v.Child == 0 || v.Node > MaxNode || v.Child > MaxNode {
			return false
		}
	}
	return used == (len(m.Members) > 0) && len(m.Members) <= MaxMembers
}
