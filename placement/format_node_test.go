package placement

import (
	"errors"
	"strings"
	"testing"

	"unblend/log"
)

// testNodes returns a node of every sort.
func testNodes() []NodeRecord {
	root := Entry{Addr: 1 << 47, Flags: FlagMapped, Epoch: 3, CRC: 0xdeadbeef}
	longest := strings.Repeat("v", MaxName) + "@" + strings.Repeat("s", MaxName)
	return []NodeRecord{
		{
			ID: 1, Birth: 1, Flags: NodeExists | NodeAttached, QueueDepth: 64, Device: 3,
			Root: root, Levels: 3, Size: 20 << 30, Mapped: 1000, Created: 1_800_000_000,
			Name: "web1",
		},
		{
			ID: 2, Parent: 7, Birth: 2, Frozen: 5, Floor: 1, Flags: NodeExists | NodeReadOnly,
			Device: -1, Root: root, Levels: 5, Size: MaxSize, Mapped: MaxSize / log.BlockSize,
			Name: longest,
		},
		{
			ID: 19, Parent: 2, Birth: 6, Floor: 5, Flags: NodeExists | NodeAsParent, Device: -1,
			Size: MinSize, Name: "a+b.c_d-e",
		},
		{ID: 4, Birth: 1, Flags: NodeExists | NodeHidden, Size: MinSize, Cursor: 1 << 35},
		{ID: 5, Birth: 1, Flags: NodeExists | NodeGone | NodeHidden, Merged: 4, LastSeq: 1 << 50},
		{
			ID: MaxNode, Parent: 1, Birth: 1, Floor: 1, Flags: NodeExists | NodeCut, Root: root,
			Levels: 2,
		},
	}
}

func TestNodeGolden(t *testing.T) {
	page := make([]byte, log.BlockSize)
	for _, n := range testNodes() {
		n.encode(nodeSlot(page, n.ID))
	}
	page = golden(t, "nodes-v1.bin", page)
	for _, want := range testNodes() {
		if got, err := decodeNode(nodeSlot(page, want.ID)); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if got, err := decodeNode(nodeSlot(page, 6)); err != nil || got != (NodeRecord{}) {
		t.Errorf("empty slot: %+v, %v", got, err)
	}
}

func TestNodeValidate(t *testing.T) {
	for _, c := range []struct {
		what  string
		node  int // of testNodes
		spoil func(n *NodeRecord)
	}{
		{"flags", 0, func(n *NodeRecord) { n.Flags &^= NodeExists }},
		{"flags", 0, func(n *NodeRecord) { n.Flags |= NodeUncounted << 1 }},
		{"id", 0, func(n *NodeRecord) { n.ID = 0 }},
		{"id", 0, func(n *NodeRecord) { n.ID = MaxNode + 1 }},
		{"parent", 0, func(n *NodeRecord) { n.Parent = n.ID }},
		{"parent", 0, func(n *NodeRecord) { n.Parent = MaxNode + 1 }},
		{"frozen epoch", 1, func(n *NodeRecord) { n.Frozen = n.Birth - 1 }},
		{"merged into", 0, func(n *NodeRecord) { n.Merged = 2 }},
		{"merged into", 4, func(n *NodeRecord) { n.Merged = n.ID }},
		{"merged into", 4, func(n *NodeRecord) { n.Merged = MaxNode + 1 }},
		{"queue depth", 0, func(n *NodeRecord) { n.QueueDepth = MaxQueueDepth + 1 }},
		{"device", 0, func(n *NodeRecord) { n.Device = -2 }},
		{"levels", 0, func(n *NodeRecord) { n.Levels = 6 }},
		{"levels", 0, func(n *NodeRecord) { n.Levels = 0 }},
		{"levels", 0, func(n *NodeRecord) { n.Root = Entry{} }},
		{"root page", 2, func(n *NodeRecord) { n.Root.CRC = 1 }},
		{"map of its own", 2, func(n *NodeRecord) { n.Parent = 0 }},
		{"map of its own", 1, func(n *NodeRecord) { n.Flags |= NodeAsParent }},
		{"size", 0, func(n *NodeRecord) { n.Size++ }},
		{"size", 3, func(n *NodeRecord) { n.Size = 0 }},
		{"mapped blocks", 1, func(n *NodeRecord) { n.Mapped++ }},
		{"name", 0, func(n *NodeRecord) { n.Name = "" }},
		{"name", 0, func(n *NodeRecord) { n.Name = "a/b" }},
		{"name", 3, func(n *NodeRecord) { n.Name = "a@b@c" }},
	} {
		n := testNodes()[c.node]
		if err := n.validate(); err != nil {
			t.Fatal(err)
		}
		c.spoil(&n)
		if err := n.validate(); err == nil || !strings.Contains(err.Error(), "wrong "+c.what) &&
			!strings.Contains(err.Error(), c.what+" in") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestNodeNameTooLong(t *testing.T) {
	slot := make([]byte, nodeSize)
	n := testNodes()[0]
	n.encode(slot)
	slot[89] = maxNodeName + 1
	if _, err := decodeNode(slot); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func TestNodeEncodeDoesNotAllocate(t *testing.T) {
	slot := make([]byte, nodeSize)
	n := testNodes()[1]
	if k := testing.AllocsPerRun(100, func() { n.encode(slot) }); k != 0 {
		t.Errorf("%v allocations", k)
	}
}

func FuzzNode(f *testing.F) {
	slot := make([]byte, nodeSize)
	for _, n := range testNodes() {
		n.encode(slot)
		f.Add(slot)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		slot := make([]byte, nodeSize)
		copy(slot, in)
		n, err := decodeNode(slot)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if n == (NodeRecord{}) {
			return // an empty slot
		}
		again := make([]byte, nodeSize)
		n.encode(again)
		if m, err := decodeNode(again); err != nil || m != n {
			t.Fatalf("%+v became %+v, %v", n, m, err)
		}
	})
}
