package blocktrace

import (
	"strconv"
	"strings"
	"time"
)

// SectorSize is the unit of Sector and Sectors, in bytes, whatever the device's own.
const SectorSize = 512

// Op is what a request does.
type Op byte

// The operations.
const (
	Read    Op = 'R'
	Write   Op = 'W'
	Discard Op = 'D'
	Flush   Op = 'F'
	Other   Op = 'N'
)

// Event is a request that is issued to its driver, or one that completes.
type Event struct {
	At       time.Duration // of CLOCK_MONOTONIC, to the microsecond
	Complete bool
	Dev      Device
	Op       Op
	FUA      bool
	Sector   uint64 // from the start of the whole disk
	Sectors  uint64 // 0: the request carries no data
	Err      int    // of a completion: 0 or negative
}

// End returns the sector behind the last one.
func (e Event) End() uint64 { return e.Sector + e.Sectors }

const (
	issueMark    = ": block_rq_issue: "
	completeMark = ": block_rq_complete: "
)

// parseEvent reads a line of trace_pipe, such as
//
//	dd-201     [000] .....    21.707969: block_rq_issue: 259,0 WFS 4096 () 0 + 8 be,0,4 [dd]
//	<idle>-0   [000] d.h1.    21.710586: block_rq_complete: 259,0 WFS () 0 + 8 be,0,4 [0]
//
// and returns false for what is neither. Older kernels print no priority.
func parseEvent(line string) (e Event, ok bool) {
	head, tail, ok := strings.Cut(line, issueMark)
	if !ok {
		head, tail, ok = strings.Cut(line, completeMark)
		e.Complete = true
	}
	if !ok {
		return Event{}, false
	}
	f := strings.Fields(tail)
	if !e.Complete && len(f) > 2 { // the number of bytes, which a completion has not
		f = append(f[:2:2], f[3:]...)
	}
	// device, flags, (command), sector, +, sectors, ...
	if len(f) < 6 || f[4] != "+" {
		return Event{}, false
	}
	var at, dev, status bool
	var err1, err2 error
	e.At, at = parseTime(head[strings.LastIndexByte(head, ' ')+1:])
	e.Dev, dev = parseDevice(f[0])
	e.Op, e.FUA = parseFlags(f[1])
	e.Sector, err1 = strconv.ParseUint(f[3], 10, 64)
	e.Sectors, err2 = strconv.ParseUint(f[5], 10, 64)
	if e.Err, status = parseStatus(f[len(f)-1]); !e.Complete {
		e.Err, status = 0, true
	}
	if !at || !dev || !status || err1 != nil || err2 != nil {
		return Event{}, false
	}
	return e, true
}

// parseTime reads seconds with six decimals.
func parseTime(s string) (time.Duration, bool) {
	whole, fraction, ok := strings.Cut(s, ".")
	a, err1 := strconv.ParseInt(whole, 10, 64)
	b, err2 := strconv.ParseInt(fraction, 10, 64)
	return time.Duration(a)*time.Second + time.Duration(b)*time.Microsecond,
		ok && len(fraction) == 6 && err1 == nil && err2 == nil
}

// parseFlags reads what blk_fill_rwbs (Linux 6.12) writes: F for a flush before the operation, the
// operation, F for FUA, and more. A flush alone is "F" or, since it flushes before nothing, "FF".
func parseFlags(s string) (op Op, fua bool) {
	if len(s) > 1 && s[0] == 'F' {
		s = s[1:]
	}
	if s == "" {
		return Other, false
	}
	switch op = Op(s[0]); op {
	case Read, Write, Discard, Flush:
	default:
		op = Other
	}
	return op, strings.HasPrefix(strings.TrimLeft(s[1:], "E"), "F")
}

// parseStatus reads "[-5]".
func parseStatus(s string) (int, bool) {
	n, err := strconv.Atoi(strings.Trim(s, "[]"))
	return n, err == nil
}
