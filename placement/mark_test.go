package placement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// testMarks returns one mark of each kind, in the order of the kinds.
func testMarks() []Mark {
	members := make([]Member, MaxMembers)
	for i := range members {
		members[i] = Member{Node: uint32(i + 1), Child: MaxNode - uint32(i)}
	}
	return []Mark{
		{
			Kind: MarkCreate, Flags: MarkAttached, Node: 1, Epoch: 1, Time: 1_800_000_000,
			Size: 20 << 30, Device: 7, QueueDepth: 128, Name: "web1",
		},
		{Kind: MarkDelete, Node: 0x0102_0304},
		{Kind: MarkAttach, Flags: MarkReadOnly, Node: 2, Device: -1, QueueDepth: 64},
		{Kind: MarkDetach, Node: 2},
		{Kind: MarkRename, Node: 2, Name: "web2@monday"},
		{Kind: MarkResize, Node: 2, Size: MaxSize},
		{
			Kind: MarkSnapshot, Epoch: 2, Time: 5, Name: strings.Repeat("s", MaxName),
			Members: members,
		},
		{
			Kind: MarkClone, Node: 9, Parent: 2, Epoch: 3, Time: 6, Device: -1, QueueDepth: 64,
			Name: "copy",
		},
		{
			Kind: MarkCloneRange, Flags: MarkAttached | MarkReadOnly, Node: 10, Parent: 2,
			Epoch: 3, Count: 10_000, Time: 6, Device: -1, Width: 5, First: 1, Name: "vm-",
		},
		{Kind: MarkRollback, Node: 20_000, Parent: 2, Old: 9, Epoch: 4, Time: 7},
	}
}

func TestMarkGolden(t *testing.T) {
	var all []byte
	for _, m := range testMarks() {
		body := m.Append(nil)
		if len(body) > MaxMark {
			t.Errorf("%s: %d bytes", m.Kind, len(body))
		}
		all = binary.LittleEndian.AppendUint16(all, uint16(len(body)))
		all = append(all, body...)
	}
	all = golden(t, "marks-v1.bin", all)
	for _, want := range testMarks() {
		n := int(binary.LittleEndian.Uint16(all))
		got, err := DecodeMark(all[2 : 2+n])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		all = all[2+n:]
	}
}

func TestMarkKinds(t *testing.T) {
	marks := testMarks()
	if len(marks) != int(markKinds)-1 {
		t.Fatalf("%d marks for %d kinds", len(marks), markKinds-1)
	}
	for i, m := range marks {
		if m.Kind != MarkKind(i+1) || markUses[m.Kind] == 0 ||
			strings.HasPrefix(m.Kind.String(), "mark ") {
			t.Errorf("mark %d: kind %d, %s", i, m.Kind, m.Kind)
		}
	}
	if got := markKinds.String(); got != fmt.Sprint("mark ", int(markKinds)) {
		t.Errorf("unknown kind: %s", got)
	}
}

// TestMarkForeignFields gives every kind the fields of all others: only its own are accepted.
func TestMarkForeignFields(t *testing.T) {
	fields := map[uint16]func(m *Mark){
		useFlags:   func(m *Mark) { m.Flags = MarkReadOnly },
		useNode:    func(m *Mark) { m.Node = 30_000 },
		useParent:  func(m *Mark) { m.Parent = 30_001 },
		useOld:     func(m *Mark) { m.Old = 30_002 },
		useEpoch:   func(m *Mark) { m.Epoch = 5 },
		useCount:   func(m *Mark) { m.Count = 3 },
		useRange:   func(m *Mark) { m.First = 3 },
		useTime:    func(m *Mark) { m.Time = -4 },
		useSize:    func(m *Mark) { m.Size = MinSize },
		useDevice:  func(m *Mark) { m.Device = 2 },
		useDepth:   func(m *Mark) { m.QueueDepth = 1 },
		useName:    func(m *Mark) { m.Name = "other" },
		useMembers: func(m *Mark) { m.Members = []Member{{Node: 1, Child: 2}} },
	}
	for field, set := range fields {
		for _, m := range testMarks() {
			set(&m)
			if err := m.validate(); (err == nil) != (markUses[m.Kind]&field != 0) {
				t.Errorf("%s with field %#x: %v", m.Kind, field, err)
			}
		}
	}
}

func TestMarkValidate(t *testing.T) {
	for _, c := range []struct {
		what  string
		kind  MarkKind
		spoil func(m *Mark)
	}{
		{"unknown", MarkCreate, func(m *Mark) { m.Kind = 0 }},
		{"unknown", MarkCreate, func(m *Mark) { m.Kind = markKinds }},
		{"wrong flags", MarkCreate, func(m *Mark) { m.Flags = 4 }},
		{"wrong node", MarkCreate, func(m *Mark) { m.Node = 0 }},
		{"wrong node", MarkDelete, func(m *Mark) { m.Node = MaxNode + 1 }},
		{"wrong parent", MarkClone, func(m *Mark) { m.Parent = 0 }},
		{"wrong old", MarkRollback, func(m *Mark) { m.Old = 0 }},
		{"wrong epoch", MarkSnapshot, func(m *Mark) { m.Epoch = 0 }},
		{"wrong size", MarkResize, func(m *Mark) { m.Size = MaxSize + 4096 }},
		{"wrong device", MarkAttach, func(m *Mark) { m.Device = -2 }},
		{"wrong queue", MarkAttach, func(m *Mark) { m.QueueDepth = MaxQueueDepth + 1 }},
		{"wrong range", MarkCloneRange, func(m *Mark) { m.Count = 0 }},
		{"wrong range", MarkCloneRange, func(m *Mark) { m.Node, m.Count = MaxNode, 2 }},
		{"wrong range", MarkCloneRange, func(m *Mark) { m.Width = MaxName + 1 }},
		{"wrong range", MarkClone, func(m *Mark) { m.First = 1 }},
		{"wrong name", MarkCreate, func(m *Mark) { m.Name = "a@b" }},
		{"wrong name", MarkRename, func(m *Mark) { m.Name = "" }},
		{"wrong name", MarkCloneRange, func(m *Mark) { m.Name = strings.Repeat("v", 59) }},
		{"wrong members", MarkSnapshot, func(m *Mark) { m.Members = nil }},
		{"wrong members", MarkSnapshot, func(m *Mark) { m.Members = make([]Member, 1) }},
		{"wrong members", MarkSnapshot, func(m *Mark) {
			m.Members = append(m.Members, m.Members[0])
		}},
	} {
		m := testMarks()[c.kind-1]
		c.spoil(&m)
		if err := m.validate(); err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestMarkDecode(t *testing.T) {
	good := testMarks()[0]
	for _, c := range []struct {
		what  string
		spoil func(b []byte) []byte
		want  error
	}{
		{"newer version", func(b []byte) []byte { b[2]++; return b }, ErrVersion},
		{"newer kind", func(b []byte) []byte { b[0] = byte(markKinds); return b }, ErrVersion},
		{"version 0", func(b []byte) []byte { b[2] = 0; return b }, ErrDamaged},
		{"kind 0", func(b []byte) []byte { b[0] = 0; return b }, ErrDamaged},
		{"short", func(b []byte) []byte { return b[:markHead-1] }, ErrDamaged},
		{"one byte less", func(b []byte) []byte { return b[:len(b)-1] }, ErrDamaged},
		{"one byte more", func(b []byte) []byte { return append(b, 0) }, ErrDamaged},
		{"too long", func([]byte) []byte { return make([]byte, MaxMark+1) }, ErrDamaged},
		{"bad name", func(b []byte) []byte { b[markHead] = '/'; return b }, ErrDamaged},
	} {
		if _, err := DecodeMark(c.spoil(good.Append(nil))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestCloneName(t *testing.T) {
	m := Mark{Name: "vm-", Width: 3, First: 99}
	if a, b := m.CloneName(0), m.CloneName(901); a != "vm-099" || b != "vm-1000" {
		t.Errorf("got %s, %s", a, b)
	}
}

func FuzzMark(f *testing.F) {
	for _, m := range testMarks() {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := DecodeMark(in)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if again, err := DecodeMark(m.Append(nil)); err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
