package log

import (
	"errors"
	"fmt"
)

// maxFindings bounds what Verify returns.
const maxFindings = 1000

// Finding is one thing that Verify found wrong.
type Finding struct {
	Off int64 // bytes from the start of the fast device
	Err error // a CorruptError where bytes are wrong
}

// Verify reads everything live in the log, payload included, and returns what is wrong; at most
// 1000 findings. It writes nothing. A header that is wrong ends it: nobody knows what follows.
func Verify(d Disk, geo Geometry, p RecoverParams) ([]Finding, Report) {
	v := &verifier{geo: geo}
	r := &recovery{d: d, geo: geo, par: p, deep: true, replay: v}
	if _, err := r.run(); err != nil {
		var c *CorruptError
		off := geo.AreaOff
		if errors.As(err, &c) {
			off = c.Off
		}
		v.findings = append(v.findings, Finding{off, err})
	}
	return v.findings, r.rep
}

// verifier is told of damaged blocks.
type verifier struct {
	geo      Geometry
	findings []Finding
}

func (*verifier) Wrote(uint64, int, uint32, uint64, uint32, []uint32) {}
func (*verifier) Zeroed(uint64, int, uint32, uint64, uint64, uint32)  {}
func (*verifier) Marked(uint64, int, uint16, []byte, uint32)          {}

func (v *verifier) Lost(seq uint64, _ int, node uint32, block uint64, loc uint32, crcs []uint32) {
	count := uint64(len(crcs))
	if len(v.findings) == maxFindings {
		return
	}
	off := v.geo.Offset(loc)
	v.findings = append(v.findings, Finding{off, &CorruptError{
		Dev: Fast, Off: off, What: "record payload",
		Want: fmt.Sprintf("blocks %d to %d of node %d", block, block+count-1, node),
		Got:  fmt.Sprintf("wrong checksums in the record with sequence number %d", seq),
	}})
}
