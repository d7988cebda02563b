package faultdisk

import (
	"encoding/binary"
	"io"
)

// The NBD protocol as doc/proto.md of the NBD reference implementation gives it: fixed newstyle
// negotiation and simple replies. All integers are big-endian.

const (
	magicInit        = 0x4e42444d41474943 // "NBDMAGIC", opens the greeting
	magicOption      = 0x49484156454f5054 // "IHAVEOPT", opens the options and each of them
	magicOptionReply = 0x0003e889045565a9
	magicRequest     = 0x25609513
	magicReply       = 0x67446698
)

// Handshake flags, the same bits from the server and from the client.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Options of the negotiation.
const (
	optExportName = 1
	optAbort      = 2
	optList       = 3
	optInfo       = 6
	optGo         = 7
)

// Replies to an option.
const (
	repAck        = 1
	repServer     = 2
	repInfo       = 3
	repErrUnsup   = 1<<31 + 1
	repErrInvalid = 1<<31 + 3
	repErrUnknown = 1<<31 + 6
	repErrTooBig  = 1<<31 + 9
)

// Kinds of information in a repInfo.
const (
	infoExport    = 0
	infoBlockSize = 3
)

// Transmission flags: what an export can do.
const (
	canFlags      = 1 << 0
	canFlush      = 1 << 2
	canFUA        = 1 << 3
	canRotational = 1 << 4
	canTrim       = 1 << 5
	canZeroes     = 1 << 6
	canMultiConn  = 1 << 8
)

// Commands.
const (
	cmdRead   = 0
	cmdWrite  = 1
	cmdDisc   = 2
	cmdFlush  = 3
	cmdTrim   = 4
	cmdZeroes = 6
)

// Command flags.
const (
	cmdFlagFUA    = 1 << 0
	cmdFlagNoHole = 1 << 1
)

// Errors on the wire. NBD fixes the numbers; they are those of Linux.
const (
	errnoOK    = 0
	errnoIO    = 5
	errnoInval = 22
	errnoNoSpc = 28
)

// Limits of what a client may send. An option's data holds an export name, at most 4096 bytes, and
// a list of information requests.
const (
	blockMin      = 512      // bytes, the granularity of every request
	blockPref     = 4096     // bytes
	payloadMax    = 32 << 20 // bytes in one READ or WRITE
	optionMax     = 8 << 10  // bytes of data in one option
	optionsMax    = 1024     // options in one negotiation
	nameMax       = 4096     // bytes of an export's name
	headerSize    = 28       // bytes of a request without its payload
	replySize     = 16       // bytes of a simple reply without its data
	exportPadding = 124      // zero bytes behind the answer to optExportName
)

// header is a request as it comes off the wire, without its payload.
//
//	+-----------+-----------+----------+------------+------------+------------+
//	| magic u32 | flags u16 | type u16 | cookie u64 | offset u64 | length u32 |
//	+-----------+-----------+----------+------------+------------+------------+
type header struct {
	flags  uint16
	cmd    uint16
	cookie uint64
	off    uint64
	length uint32
}

func readHeader(r io.Reader) (header, error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return header{}, err
	}
	if m := binary.BigEndian.Uint32(b[0:]); m != magicRequest {
		return header{}, protocolError("request magic %#x, want %#x", m, uint32(magicRequest))
	}
	return header{
		flags:  binary.BigEndian.Uint16(b[4:]),
		cmd:    binary.BigEndian.Uint16(b[6:]),
		cookie: binary.BigEndian.Uint64(b[8:]),
		off:    binary.BigEndian.Uint64(b[16:]),
		length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

// encodeReply returns a simple reply: magic u32, error u32, cookie u64. Data of a READ follows it.
func encodeReply(errno uint32, cookie uint64) [replySize]byte {
	var b [replySize]byte
	binary.BigEndian.PutUint32(b[0:], magicReply)
	binary.BigEndian.PutUint32(b[4:], errno)
	binary.BigEndian.PutUint64(b[8:], cookie)
	return b
}
