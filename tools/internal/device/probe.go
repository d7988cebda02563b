package device

import (
	"fmt"
	"io"
	"strings"

	"unblend/tools/internal/units"
)

// Signature is something on a device that makes it somebody's: a file system, a partition table, a
// member of an array, a pool.
type Signature struct {
	Name  string // with its article: "an ext4 file system"
	Label string // what its owner called it; may be empty
	Off   int64  // of the bytes that give it away
	Len   int    // how many
}

func (s Signature) String() string {
	if s.Label == "" {
		return fmt.Sprintf("%s (offset %d)", s.Name, s.Off)
	}
	return fmt.Sprintf("%s %q (offset %d)", s.Name, s.Label, s.Off)
}

// Probe lists what r, size bytes long, holds, in the order of the formats in this package. It knows
// the formats that lay claim to whole devices on Linux. Errors are those of reading.
func Probe(r io.ReaderAt, size int64) ([]Signature, error) {
	v := &view{r: r, size: size, chunks: map[int64][]byte{}}
	var found []Signature
	for _, m := range magics {
		if s, ok := m.match(v); ok && !named(found, s.Name) {
			found = append(found, s)
		}
	}
	for _, probe := range probers {
		if s, ok := probe(v); ok {
			found = append(found, s)
		}
	}
	return found, v.err
}

// named reports whether one of the signatures has the name: copies of a superblock count once.
func named(found []Signature, name string) bool {
	for _, s := range found {
		if s.Name == name {
			return true
		}
	}
	return false
}

// view reads small pieces anywhere in a device, through chunks that it keeps: the formats crowd at
// the beginning and at the end.
type view struct {
	r      io.ReaderAt
	size   int64
	chunks map[int64][]byte // by number; each chunkSize long, but the last of the device
	err    error            // the first error of reading; nothing is read after it
}

const chunkSize = 64 << 10

// at returns n bytes at off, or nil where the device does not have them. Offsets below zero count
// from its end.
func (v *view) at(off int64, n int) []byte {
	if off < 0 {
		off += v.size
	}
	if off < 0 || off+int64(n) > v.size || v.err != nil {
		return nil
	}
	chunk := v.chunk(off / chunkSize)
	if start := int(off % chunkSize); start+n <= len(chunk) {
		return chunk[start : start+n]
	}
	b := make([]byte, 0, n) // across a chunk's end
	for at := off; len(b) < n; {
		chunk := v.chunk(at / chunkSize)
		if int(at%chunkSize) >= len(chunk) {
			return nil // shrunk under us
		}
		part := chunk[at%chunkSize:]
		part = part[:min(len(part), n-len(b))]
		b, at = append(b, part...), at+int64(len(part))
	}
	return b
}

func (v *view) chunk(i int64) []byte {
	if c, ok := v.chunks[i]; ok {
		return c
	}
	c := alignedBytes(chunkSize)
	n, err := v.r.ReadAt(c, i*chunkSize)
	if err != nil && err != io.EOF && v.err == nil {
		v.err = err
	}
	v.chunks[i] = c[:n]
	return c[:n]
}

// text returns a fixed field of a superblock as one printable line.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.TrimSpace(units.Printable(s))
}
