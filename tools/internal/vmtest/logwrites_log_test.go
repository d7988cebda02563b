package vmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
)

// What the kernel's dm-log-writes puts down, in numbers that are little-endian:
//
//	sector 0     magic (8 bytes), version (8), number of entries (8), bytes of a sector (4)
//	then, again and again:
//	one sector   sector of the device (8), sectors (8), flags (8), bytes behind this (8); a mark's text
//	data         as many sectors; none of a discard or a mark
//
// A write without FUA appears when a flush has made it durable, behind all that was before.
const (
	logWritesMagic   = 0x6a736677736872
	logWritesVersion = 1
	logWritesHeader  = 32 // bytes of an entry, without a mark's text
)

// logFlags say what an entry was.
type logFlags uint64

const (
	logFlush logFlags = 1 << iota
	logFUA
	logDiscard
	logMark
	logMeta
)

// logEntry is one entry. What is in it by sectors is in bytes here.
type logEntry struct {
	flags logFlags
	off   int64 // on the device
	n     int64
	data  int64  // where in the log its bytes are; 0: it has none
	mark  string // text of a mark
}

// durable reports whether a power cut behind the entry keeps all that is before it.
func (e logEntry) durable() bool { return e.flags&(logFlush|logFUA) != 0 }

var errNotLogWrites = errors.New("not a log of dm-log-writes")

// readLogWrites returns all entries of a log.
func readLogWrites(r io.ReaderAt) ([]logEntry, error) {
	var super struct {
		Magic, Version, Entries uint64
		Sector                  uint32
	}
	err := binary.Read(io.NewSectionReader(r, 0, 28), binary.LittleEndian, &super)
	if err != nil {
		return nil, err
	}
	if super.Magic != logWritesMagic || super.Version != logWritesVersion || super.Sector%512 != 0 ||
		super.Sector == 0 {
		return nil, fmt.Errorf("%+v: %w", super, errNotLogWrites)
	}
	size := int64(super.Sector)
	var entries []logEntry
	head := make([]byte, size)
	for at := size; uint64(len(entries)) < super.Entries; {
		if _, err := r.ReadAt(head, at); err != nil {
			return nil, fmt.Errorf("entry %d at %d: %w", len(entries), at, err)
		}
		e, next, err := parseLogEntry(head, at+size)
		if err != nil {
			return nil, fmt.Errorf("entry %d at %d: %w", len(entries), at, err)
		}
		entries, at = append(entries, e), next
	}
	return entries, nil
}

// parseLogEntry parses an entry whose data, if it has any, are at data. It returns where the next
// one is.
func parseLogEntry(head []byte, data int64) (e logEntry, next int64, err error) {
	le, size := binary.LittleEndian, int64(len(head))
	e.off, e.n = int64(le.Uint64(head))*size, int64(le.Uint64(head[8:]))*size
	e.flags = logFlags(le.Uint64(head[16:]))
	text := le.Uint64(head[24:])
	switch {
	case e.off < 0 || e.n < 0 || e.flags >= logMeta<<1 || text > uint64(size-logWritesHeader):
		return e, 0, fmt.Errorf("% x: %w", head[:logWritesHeader], errNotLogWrites)
	case e.flags&logMark != 0:
		e.mark = string(bytes.TrimRight(head[logWritesHeader:logWritesHeader+text], "\x00"))
	case e.flags&logDiscard == 0 && e.n > 0:
		e.data, data = data, data+e.n
	}
	return e, data, nil
}

// apply does to an image what an entry did to the device, as far as keep, if not nil, says of each
// sector of 512 bytes of it.
func (e logEntry) apply(image []byte, log io.ReaderAt, keep func() bool) error {
	if e.n == 0 || e.flags&logMark != 0 {
		return nil
	}
	if e.off+e.n > int64(len(image)) {
		return fmt.Errorf("%d bytes at %d of a device of %d", e.n, e.off, len(image))
	}
	to := image[e.off : e.off+e.n]
	if e.data == 0 {
		clear(to)
		return nil
	}
	from := make([]byte, e.n)
	if _, err := log.ReadAt(from, e.data); err != nil {
		return err
	}
	for i := 0; i < len(to); i += 512 {
		if keep == nil || keep() {
			copy(to[i:i+512], from[i:])
		}
	}
	return nil
}

// TestReadLogWrites reads a log that is put down here: a write, a discard, a mark, a flush.
func TestReadLogWrites(t *testing.T) {
	log := make([]byte, 7*512)
	le := binary.LittleEndian
	put := func(sector int, words ...uint64) {
		for i, w := range words {
			le.PutUint64(log[sector*512+8*i:], w)
		}
	}
	put(0, logWritesMagic, logWritesVersion, 4, 512)
	put(1, 3, 2, uint64(logFUA), 0)
	copy(log[2*512:], bytes.Repeat([]byte{7}, 1024))
	put(4, 3, 1, uint64(logDiscard), 0)
	put(5, 0, 0, uint64(logMark), 5)
	copy(log[5*512+logWritesHeader:], "here\x00")
	put(6, 0, 0, uint64(logFlush), 0)
	entries, err := readLogWrites(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	image := make([]byte, 6*512)
	for _, e := range entries {
		if err := e.apply(image, bytes.NewReader(log), nil); err != nil {
			t.Fatal(err)
		}
	}
	want := make([]byte, 6*512)
	copy(want[4*512:], bytes.Repeat([]byte{7}, 512))
	if len(entries) != 4 || !entries[0].durable() || entries[1].durable() ||
		entries[2].mark != "here" || !entries[3].durable() || !bytes.Equal(image, want) {
		t.Errorf("%+v", entries)
	}
	le.PutUint64(log[5*512+24:], 512)
	if _, err := readLogWrites(bytes.NewReader(log)); !errors.Is(err, errNotLogWrites) {
		t.Errorf("a mark longer than its sector: %v", err)
	}
	log[0]++
	if _, err := readLogWrites(bytes.NewReader(log)); !errors.Is(err, errNotLogWrites) {
		t.Errorf("a wrong magic: %v", err)
	}
}
