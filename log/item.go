package log

import "fmt"

// ItemKind is what an item asks the log to keep.
type ItemKind uint8

// The kinds of item.
const (
	ItemWrite ItemKind = iota // blocks with content
	ItemZero                  // a range that reads as zeros from now on
	ItemMark                  // a change of the catalogue, opaque to the log
	ItemFlush                 // no entry: ends when all that was published before it is durable
)

func (k ItemKind) String() string { return [...]string{"write", "zero", "mark", "flush"}[k] }

// Item is one thing for the log to keep: whole in one record, or not at all. It is embedded in the
// caller's request; the caller fills the exported fields and lends it, with everything it points
// to, from Lane.Push until Sink.ItemDone.
type Item struct {
	Kind     ItemKind
	MarkKind uint16 // of a mark, for the caller
	Node     uint32
	Block    uint64 // first block of the range, within the node
	Count    uint64 // blocks; of a write at most Geometry.MaxRecordBlocks

	// Data is a write's content, Count blocks, aligned to BlockSize; CRCs has the CRC-32C of each.
	// A set bit i in Zeros (bit i%64 of word i/64; nil: none) says that block i is all zero: it
	// becomes a ZERO entry without payload, and its checksum is not looked at.
	Data  []byte
	CRCs  []uint32
	Zeros []uint64

	Body []byte // of a mark, at most MaxMark bytes

	Seq uint64 // of the record it became part of; set when it is published
	Ref any    // for the caller; holds a pointer

	next    *Item
	entries uint32 // entries in a record
	bytes   uint32 // bytes of these entries
	payload uint32 // payload blocks
	target  uint64 // of a flush: the sequence number that has to be durable
}

// zero reports whether block i of a write is all zero.
func (it *Item) zero(i uint64) bool {
	return it.Zeros != nil && it.Zeros[i/64]&(1<<(i%64)) != 0
}

// run returns the end of the run of blocks from i on that are all zero, or all not, and which.
func (it *Item) run(i uint64) (end uint64, zero bool) {
	zero = it.zero(i)
	for end = i + 1; end < it.Count && it.zero(end) == zero; end++ {
	}
	return end, zero
}

// measure checks the item and computes what it takes in a record. An item that no record could
// hold is a bug of the caller and panics.
func (it *Item) measure(g *Geometry) {
	it.next, it.Seq = nil, 0
	it.entries, it.bytes, it.payload = 1, 0, 0
	switch it.Kind {
	case ItemZero:
		it.bytes = zeroEntrySize
		it.check(it.Count > 0 && it.Block+it.Count > it.Block)
	case ItemMark:
		it.bytes = markEntrySize + uint32(len(it.Body))
		it.check(len(it.Body) <= MaxMark)
	case ItemFlush:
		it.entries = 0
	default:
		it.check(it.Count > 0 && it.Count <= uint64(g.MaxRecordBlocks) &&
			uint64(len(it.Data)) == it.Count*BlockSize && uint64(len(it.CRCs)) >= it.Count &&
			(it.Zeros == nil || uint64(len(it.Zeros)) >= (it.Count+63)/64))
		it.measureWrite()
	}
}

func (it *Item) measureWrite() {
	it.entries = 0
	for i := uint64(0); i < it.Count; it.entries++ {
		end, zero := it.run(i)
		if zero {
			it.bytes += zeroEntrySize
		} else {
			it.bytes += writeEntrySize + 4*uint32(end-i)
			it.payload += uint32(end - i)
		}
		i = end
	}
}

func (it *Item) check(ok bool) {
	if !ok {
		panic(fmt.Sprintf("log: invalid %s item: block %d, %d blocks, %d bytes, %d checksums",
			it.Kind, it.Block, it.Count, len(it.Data)+len(it.Body), len(it.CRCs)))
	}
}

// itemQueue is an intrusive first-in first-out queue.
type itemQueue struct {
	head, tail *Item
	n          int
}

func (q *itemQueue) push(it *Item) {
	it.next = nil
	if q.tail == nil {
		q.head = it
	} else {
		q.tail.next = it
	}
	q.tail = it
	q.n++
}

func (q *itemQueue) pop() *Item {
	it := q.head
	if q.head = it.next; q.head == nil {
		q.tail = nil
	}
	it.next = nil
	q.n--
	return it
}

// prepend moves all of front before what is in q, and leaves front empty.
func (q *itemQueue) prepend(front *itemQueue) {
	if front.head == nil {
		return
	}
	front.tail.next = q.head
	if q.tail == nil {
		q.tail = front.tail
	}
	q.head = front.head
	q.n += front.n
	*front = itemQueue{}
}
