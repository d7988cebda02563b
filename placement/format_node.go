package placement

import (
	"encoding/binary"
	"fmt"

	"unblend/log"
)

// NodeRecord is what the catalogue holds about one node: 256 bytes, 16 to a page, in slot id%16 of
// page id/16. The checksum is that of the page.
//
//	 0  id u32 | parent u32 | birth epoch u32 | frozen epoch u32
//	16  ownership floor u32 | merged into u32 | flags u16 | queue depth u16 | device i32
//	32  root page of the map (Entry)
//	48  size in bytes u64 | mapped blocks u64 | created i64
//	72  last sequence u64 | walker cursor u64
//	88  levels u8 | length of the name u8 | 0 (6 bytes)
//	96  name, up to 127 bytes | 0
//	224 own blocks i64 | blocks of the parent's that it does not share i64 | zeros to 256
type NodeRecord struct {
	ID         uint32 // 1 to MaxNode, never reused; 0 in an empty slot
	Parent     uint32 // 0: none
	Birth      uint32 // epoch at which the node was created
	Frozen     uint32 // epoch at which it was frozen; 0: it is writable
	Floor      uint32 // entries with an epoch above it belong to the node
	Merged     uint32 // id of the node that took over a gone node's data; 0: none
	Flags      NodeFlags
	QueueDepth uint16
	Device     int32 // number of the ublk device, kept over restarts; -1: none
	Root       Entry
	Levels     uint8  // of the map; 0: no page
	Size       uint64 // bytes
	Mapped     uint64 // blocks
	Created    int64  // Unix time in seconds
	LastSeq    uint64 // sequence of the last record with data of a gone node
	Cursor     uint64 // block up to which the walker has come
	Owned      int64  // mapped blocks that are the node's own
	Over       int64  // blocks that are its parent's own and that it does not share
	Name       string // "volume" or "volume@snapshot"
}

// NodeFlags is a set of properties of a node.
type NodeFlags uint16

// The properties of a node.
const (
	NodeExists    NodeFlags = 1 << iota // the slot is taken
	NodeHidden                          // removed or rolled back, but children need it
	NodeGone                            // removed; kept until no record in the log names it
	NodeAttached                        // its device comes back after a restart
	NodeCut                             // not a volume: a subtree that a discard cut off
	NodeReadOnly                        // the guest may not write
	NodeAsParent                        // has no map yet: reads its nearest ancestor's
	NodeUncounted                       // what its children do not share of it has to be counted anew

	nodeFlags = NodeUncounted<<1 - 1
)

const (
	// MaxNode is the highest node id.
	MaxNode = 1<<28 - 1
	// MaxQueueDepth is the kernel's limit for a ublk queue.
	MaxQueueDepth = 4096

	nodeSize     = 256
	nodesPerPage = log.BlockSize / nodeSize
	nodeName     = 96  // offset of the name
	nodeCounts   = 224 // of the counts
)

const _ = uint(nodeCounts - nodeName - maxNodeName) // the name fits

// nodeSlot returns the part of a catalogue page that holds the record of a node.
func nodeSlot(page []byte, id uint32) []byte {
	at := int(id%nodesPerPage) * nodeSize
	return page[at : at+nodeSize : at+nodeSize]
}

// encode writes the record into its slot b. An invalid record panics. It allocates nothing.
func (n *NodeRecord) encode(b []byte) {
	if err := n.validate(); err != nil {
		panic("placement: " + err.Error())
	}
	le := binary.LittleEndian
	clear(b[:nodeSize])
	for i, v := range n.words() {
		le.PutUint32(b[4*i:], *v)
	}
	le.PutUint16(b[24:], uint16(n.Flags))
	le.PutUint16(b[26:], n.QueueDepth)
	le.PutUint32(b[28:], uint32(n.Device))
	putEntry(b[32:], 0, n.Root)
	le.PutUint64(b[48:], n.Size)
	le.PutUint64(b[56:], n.Mapped)
	le.PutUint64(b[64:], uint64(n.Created))
	le.PutUint64(b[72:], n.LastSeq)
	le.PutUint64(b[80:], n.Cursor)
	le.PutUint64(b[nodeCounts:], uint64(n.Owned))
	le.PutUint64(b[nodeCounts+8:], uint64(n.Over))
	b[88], b[89] = n.Levels, byte(len(n.Name))
	copy(b[nodeName:], n.Name)
}

// words lists the 32-bit fields in their order on the device.
func (n *NodeRecord) words() [6]*uint32 {
	return [...]*uint32{&n.ID, &n.Parent, &n.Birth, &n.Frozen, &n.Floor, &n.Merged}
}

// decodeNode returns the record in slot b of its page; the zero record when the slot is empty.
// Errors are ErrDamaged: the page had the right checksum, so a program wrote it wrong.
func decodeNode(b []byte) (NodeRecord, error) {
	le := binary.LittleEndian
	var n NodeRecord
	if isZero(b[:nodeSize]) {
		return n, nil
	}
	for i, v := range n.words() {
		*v = le.Uint32(b[4*i:])
	}
	n.Flags = NodeFlags(le.Uint16(b[24:]))
	n.QueueDepth = le.Uint16(b[26:])
	n.Device = int32(le.Uint32(b[28:]))
	n.Root = entryAt(b[32:], 0)
	n.Size = le.Uint64(b[48:])
	n.Mapped = le.Uint64(b[56:])
	n.Created = int64(le.Uint64(b[64:]))
	n.LastSeq = le.Uint64(b[72:])
	n.Cursor = le.Uint64(b[80:])
	n.Owned = int64(le.Uint64(b[nodeCounts:]))
	n.Over = int64(le.Uint64(b[nodeCounts+8:]))
	n.Levels = b[88]
	if b[89] > maxNodeName {
		return n, fmt.Errorf("node %d: name of %d bytes: %w", n.ID, b[89], ErrDamaged)
	}
	n.Name = string(b[nodeName : nodeName+int(b[89])])
	if err := n.validate(); err != nil {
		return n, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return n, nil
}

// validate checks every field of a record that is not empty.
func (n *NodeRecord) validate() error {
	bad := ""
	volume := n.Flags&(NodeGone|NodeCut) == 0
	switch {
	case n.Flags&NodeExists == 0 || n.Flags&^nodeFlags != 0:
		bad = "flags"
	case n.ID == 0 || n.ID > MaxNode:
		bad = "id"
	case n.Parent > MaxNode || n.Parent == n.ID:
		bad = "parent"
	case n.Frozen != 0 && n.Frozen < n.Birth:
		bad = "frozen epoch"
	case n.Merged > MaxNode || n.Merged == n.ID || n.Merged != 0 && n.Flags&NodeGone == 0:
		bad = "node it was merged into"
	case n.QueueDepth > MaxQueueDepth:
		bad = "queue depth"
	case n.Device < -1:
		bad = "device"
	case n.Levels > maxLevels || (n.Levels > 0) != (n.Root.Flags == FlagMapped):
		bad = "levels"
	case n.Root.validate(addrMax+1) != nil:
		bad = "root page"
	case n.Flags&NodeAsParent != 0 && (n.Levels != 0 || n.Parent == 0):
		bad = "map of its own"
	case volume && ValidSize(int64(n.Size)) != nil:
		bad = "size"
	case volume && n.Mapped > n.Size/log.BlockSize:
		bad = "count of mapped blocks"
	case n.Name == "" && volume && n.Flags&NodeHidden == 0,
		n.Name != "" && ValidNodeName(n.Name) != nil:
		bad = "name"
	default:
		return nil
	}
	return fmt.Errorf("node %d: wrong %s in %+v", n.ID, bad, *n)
}
