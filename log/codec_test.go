package log

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenFile = "testdata/segments-v1.golden"

var (
	testPool  = uuid{0: 0xaa, 15: 0x55}
	testNonce = nonce{0: 1, 15: 2}
)

func TestSegmentHeaderRoundTrip(t *testing.T) {
	want := segmentHeader{
		lane: 3, pool: testPool, nonce: testNonce, index: 9, planned: 10, opening: 77,
		first: 1000, base: 5000, generation: 12,
		pred: predecessor{nonce: nonce{7}, index: 8, end: 4000, lastSeq: 4999},
	}
	p := bytes.Repeat([]byte{0xff}, BlockSize)
	want.encode(p)
	var got segmentHeader
	if reason, err := got.decode(p, testPool, 9); reason != "" || err != nil {
		t.Fatal(reason, err)
	}
	if got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for name, bad := range map[string]func() (string, error){
		"another segment": func() (string, error) { return got.decode(p, testPool, 8) },
		"another pool":    func() (string, error) { return got.decode(p, uuid{1}, 9) },
	} {
		if reason, err := bad(); reason == "" || err != nil {
			t.Errorf("%s: accepted, or %v", name, err)
		}
	}
	for i := range segmentHeaderSize {
		p[i] ^= 1
		if reason, err := got.decode(p, testPool, 9); reason == "" && err == nil {
			t.Errorf("accepted with a flipped bit in byte %d", i)
		}
		p[i] ^= 1
	}
}

func TestRecordRoundTrip(t *testing.T) {
	items := []Item{
		{Kind: ItemZero, Node: 1, Block: 1 << 36, Count: 1 << 40},
		{Kind: ItemMark, MarkKind: 300, Body: []byte("a body")},
		{
			Kind: ItemWrite, Node: 1 << 27, Block: 5, Count: 4, Data: NewBlocks(4),
			CRCs: []uint32{1, 2, 3, 4}, Zeros: []uint64{0b0100},
		},
		{Kind: ItemMark},
	}
	want := recordHeader{
		lane: 2, pool: testPool, nonce: testNonce, number: 8, durable: 40, seq: 41, loc: 1234,
	}
	geo := smallGeometry
	p := bytes.Repeat([]byte{0xff}, 2*BlockSize)
	rest := p[recordHeaderSize:]
	for i := range items {
		items[i].measure(&geo)
		want.entries += items[i].entries
		want.bytes += items[i].bytes
		want.payload += items[i].payload
		rest = appendItem(rest, &items[i])
	}
	if n := len(p) - recordHeaderSize - len(rest); n != int(want.bytes) {
		t.Fatalf("%d bytes of entries, measured %d", n, want.bytes)
	}
	want.seal(p)
	var got recordHeader
	if reason := got.decode(p, testPool, 1234); reason != "" || got != want {
		t.Fatalf("%q: got %+v, want %+v", reason, got, want)
	}
	if want.headBlocks() != 1 || want.blocks() != 4 ||
		!isZero(p[recordHeaderSize+want.bytes:BlockSize]) {
		t.Fatalf("%+v", want)
	}
	wantEntries := []string{
		"zero 1 68719476736+1099511627776", "mark 300 a body", "write 134217728 5+2 0100000002000000",
		"zero 134217728 7+1", "write 134217728 8+1 04000000", "mark 0 ",
	}
	entries := entriesOf(t, p[recordHeaderSize:recordHeaderSize+want.bytes])
	if !slices.Equal(entries, wantEntries) {
		t.Fatalf("entries %q", entries)
	}
	for i := range recordHeaderSize + want.bytes {
		p[i] ^= 1
		if got.decode(p, testPool, 1234) == "" {
			t.Errorf("accepted with a flipped bit in byte %d", i)
		}
		p[i] ^= 1
	}
	if got.decode(p, testPool, 1233) == "" || got.decode(p, uuid{}, 1234) == "" {
		t.Error("accepted elsewhere")
	}
}

func isZero(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }

// entriesOf decodes entries into words.
func entriesOf(t *testing.T, p []byte) (s []string) {
	t.Helper()
	for len(p) > 0 {
		var e entry
		var err error
		if p, err = e.decode(p); err != nil {
			t.Fatal(err)
		}
		switch e.kind {
		case entryMark:
			s = append(s, fmt.Sprintf("mark %d %s", e.markKind, e.body))
		case entryZero:
			s = append(s, fmt.Sprintf("zero %d %d+%d", e.node, e.block, e.count))
		default:
			s = append(s, fmt.Sprintf("write %d %d+%d %x", e.node, e.block, e.count, e.crcs))
		}
	}
	return s
}

func TestEntriesThatCannotBe(t *testing.T) {
	mark := func(n uint32) []byte {
		p := make([]byte, markEntrySize+MaxMark+1)
		p[0] = byte(entryMark)
		le.PutUint32(p[4:], n)
		return p
	}
	zero := func(block, count uint64) []byte {
		p := make([]byte, zeroEntrySize)
		appendZero(p, 1, block, count)
		return p
	}
	for name, p := range map[string][]byte{
		"short":        {1, 0, 0},
		"type 0":       make([]byte, 64),
		"lost":         {byte(entryLost), 63: 0},
		"cut write":    {byte(entryWrite), 0, 2, 0, 22: 0},
		"empty write":  {byte(entryWrite), 63: 0},
		"cut zero":     zero(1, 1)[:20],
		"empty zero":   zero(1, 0),
		"zero too far": zero(1, ^uint64(0)),
		"long mark":    mark(MaxMark + 1),
		"cut mark":     mark(MaxMark)[:MaxMark],
	} {
		var e entry
		if _, err := e.decode(p); err == nil {
			t.Errorf("%s: accepted as %+v", name, e)
		}
	}
}

func TestSummaryRoundTrip(t *testing.T) {
	s := &summary{mem: NewBlocks(2)}
	s.reset()
	first := recordHeader{seq: 10, entries: 1, bytes: 3, payload: 7}
	second := recordHeader{seq: 12, entries: 2, bytes: 4100}
	s.add(&first, 1, []byte("abc"))
	size, records := s.size, s.records
	s.add(&second, 9, []byte("gone"))
	s.truncate(size, records)
	s.add(&second, 9, bytes.Repeat([]byte{'x'}, 4100))
	want := summaryHeader{lane: 1, pool: testPool, nonce: testNonce, loc: 600, last: 12}
	p := s.seal(&want)
	if len(p) != 2*BlockSize || want.records != 2 {
		t.Fatalf("%d bytes, %+v", len(p), want)
	}
	var got summaryHeader
	if reason := got.decode(p, testPool, 600); reason != "" || got != want {
		t.Fatalf("%q: got %+v, want %+v", reason, got, want)
	}
	rest := p[summaryHeaderSize : summaryHeaderSize+got.bytes]
	h, block, entries, rest, err := nextRecord(rest)
	if err != nil || h != first || block != 1 || string(entries) != "abc" {
		t.Fatalf("%+v at %d, %v", h, block, err)
	}
	h, block, entries, rest, err = nextRecord(rest)
	if err != nil || h != second || block != 9 || len(entries) != 4100 || len(rest) != 0 {
		t.Fatalf("%+v at %d, %v", h, block, err)
	}
	if _, _, _, _, err = nextRecord(rest); err == nil {
		t.Fatal("a third record")
	}
	if got.decode(p[:BlockSize], testPool, 600) == "" || got.decode(p, testPool, 601) == "" {
		t.Error("accepted when cut, or elsewhere")
	}
	for i := range s.size {
		p[i] ^= 1
		if got.decode(p, testPool, 600) == "" {
			t.Errorf("accepted with a flipped bit in byte %d", i)
		}
		p[i] ^= 1
	}
}

// goldenRig writes what the golden file holds: one closed segment with its summary, and an open
// one, of all kinds of entry.
func goldenRig(t testing.TB) *rig {
	geo := smallGeometry
	geo.AreaOff, geo.Segments = 0, 4
	r := newRig(t, geo, Settings{})
	r.push(r.newItem(0, ItemWrite, 2))
	r.push(r.newItem(0, ItemMark, 0))
	r.settle()
	r.push(r.newItem(0, ItemWrite, 3, 1))
	r.push(r.newItem(0, ItemZero, 500))
	r.settle()
	r.write(1)
	r.settle()
	return r
}

// The format on the device does not change without its version: what was written once still opens.
func TestGoldenSegments(t *testing.T) {
	r := goldenRig(t)
	image := r.d.now[:2*r.geo.SegmentBlocks*BlockSize]
	if *update {
		if err := os.WriteFile(goldenFile, image, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if i := firstDifference(golden, image); i >= 0 {
		t.Fatalf("byte %d differs from the golden file", i)
	}
	copy(r.d.now, golden)
	r.d.settle()
	r.restart(keepNone)
	r.wantOrder(ids(0, 5)...)
	if r.rep.Summaries != 1 || r.rep.Lanes != 1 {
		t.Fatalf("%+v", r.rep)
	}
}

func firstDifference(a, b []byte) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}

func TestInvalidItemsPanic(t *testing.T) {
	geo := smallGeometry
	data, crcs := NewBlocks(6), make([]uint32, 6)
	for name, it := range map[string]Item{
		"empty write":     {Kind: ItemWrite},
		"long write":      {Kind: ItemWrite, Count: 6, Data: data, CRCs: crcs},
		"short data":      {Kind: ItemWrite, Count: 2, Data: data[:BlockSize], CRCs: crcs},
		"short checksums": {Kind: ItemWrite, Count: 2, Data: data[:2*BlockSize], CRCs: crcs[:1]},
		"empty zero":      {Kind: ItemZero},
		"zero too far":    {Kind: ItemZero, Block: 1, Count: ^uint64(0)},
		"long mark":       {Kind: ItemMark, Body: make([]byte, MaxMark+1)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			it.measure(&geo)
		}()
	}
}

func TestItemQueue(t *testing.T) {
	var q, front itemQueue
	items := make([]Item, 5)
	q.prepend(&front)
	front.push(&items[0])
	front.push(&items[1])
	q.prepend(&front)
	q.push(&items[2])
	front.push(&items[3])
	front.push(&items[4])
	q.prepend(&front)
	var got []*Item
	for q.n > 0 {
		got = append(got, q.pop())
	}
	want := []*Item{&items[3], &items[4], &items[0], &items[1], &items[2]}
	if !reflect.DeepEqual(got, want) || q.tail != nil || front.head != nil {
		t.Fatal("order is wrong")
	}
}
