package faultdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// errAbort ends a negotiation that the client gave up in the orderly way.
var errAbort = errors.New("client aborted the negotiation")

// negotiate performs the fixed newstyle handshake. On success conn.disk is set, except after an
// orderly abort.
func (c *conn) negotiate() error {
	var greeting [18]byte
	binary.BigEndian.PutUint64(greeting[0:], magicInit)
	binary.BigEndian.PutUint64(greeting[8:], magicOption)
	binary.BigEndian.PutUint16(greeting[16:], flagFixedNewstyle|flagNoZeroes)
	if err := c.send(greeting[:]); err != nil {
		return err
	}
	var b [4]byte
	if _, err := io.ReadFull(c.br, b[:]); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint32(b[:])
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return protocolError("unknown client flags %#x", flags)
	}
	for range optionsMax {
		err := c.option(flags)
		if errors.Is(err, errAbort) {
			return nil
		}
		if err != nil || c.disk != nil {
			return err
		}
	}
	return protocolError("more than %d options", optionsMax)
}

// option reads one option and answers it.
func (c *conn) option(flags uint32) error {
	var head [16]byte
	if _, err := io.ReadFull(c.br, head[:]); err != nil {
		return err
	}
	if m := binary.BigEndian.Uint64(head[0:]); m != magicOption {
		return protocolError("option magic %#x, want %#x", m, uint64(magicOption))
	}
	opt := binary.BigEndian.Uint32(head[8:])
	length := binary.BigEndian.Uint32(head[12:])
	if length > optionMax {
		return protocolError("option %d with %d bytes, at most %d", opt, length, optionMax)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(c.br, data); err != nil {
		return err
	}
	switch opt {
	case optExportName:
		return c.exportName(string(data), flags)
	case optAbort:
		if err := c.answer(opt, repAck, nil); err != nil {
			return err
		}
		return errAbort
	case optList:
		return c.list(data)
	case optInfo, optGo:
		return c.info(opt, data)
	}
	return c.answer(opt, repErrUnsup, nil)
}

// exportName answers the one option that has no error reply.
func (c *conn) exportName(name string, flags uint32) error {
	d := c.find(name)
	if d == nil {
		return protocolError("unknown export %q", name)
	}
	var b [10 + exportPadding]byte
	binary.BigEndian.PutUint64(b[0:], uint64(d.cfg.Size))
	binary.BigEndian.PutUint16(b[8:], d.cfg.flags())
	c.disk = d
	if flags&flagNoZeroes != 0 {
		return c.send(b[:10])
	}
	return c.send(b[:])
}

// list names every export, each as u32 length and the name.
func (c *conn) list(data []byte) error {
	if len(data) != 0 {
		return c.answer(optList, repErrInvalid, nil)
	}
	for _, d := range c.srv.disks {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(d.cfg.Name)))
		if err := c.answer(optList, repServer, append(b, d.cfg.Name...)); err != nil {
			return err
		}
	}
	return c.answer(optList, repAck, nil)
}

// info answers optInfo and optGo, whose data are the export's name behind its u32 length, then the
// wanted kinds of information behind their u16 number. All of it is sent, wanted or not.
func (c *conn) info(opt uint32, data []byte) error {
	name, ok := parseInfo(data)
	if !ok {
		return c.answer(opt, repErrInvalid, nil)
	}
	d := c.find(name)
	if d == nil {
		return c.answer(opt, repErrUnknown, nil)
	}
	export := binary.BigEndian.AppendUint16(nil, infoExport)
	export = binary.BigEndian.AppendUint64(export, uint64(d.cfg.Size))
	export = binary.BigEndian.AppendUint16(export, d.cfg.flags())
	block := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, size := range []uint32{blockMin, blockPref, payloadMax} {
		block = binary.BigEndian.AppendUint32(block, size)
	}
	for _, b := range [][]byte{export, block} {
		if err := c.answer(opt, repInfo, b); err != nil {
			return err
		}
	}
	if opt == optGo {
		c.disk = d
	}
	return c.answer(opt, repAck, nil)
}

func parseInfo(data []byte) (name string, ok bool) {
	if len(data) < 4 {
		return "", false
	}
	n := binary.BigEndian.Uint32(data)
	data = data[4:]
	if n > nameMax || int(n)+2 > len(data) {
		return "", false
	}
	name, data = string(data[:n]), data[n:]
	wanted := int(binary.BigEndian.Uint16(data))
	return name, len(data) == 2+2*wanted
}

// find returns the disk of an export's name. The set of disks never changes.
func (c *conn) find(name string) *disk { return c.srv.disk(name) }

// answer sends an option reply: magic u64, option u32, type u32, length u32, data.
func (c *conn) answer(opt, kind uint32, data []byte) error {
	var b bytes.Buffer
	for _, v := range []any{uint64(magicOptionReply), opt, kind, uint32(len(data))} {
		binary.Write(&b, binary.BigEndian, v) // to memory: cannot fail
	}
	b.Write(data)
	return c.send(b.Bytes())
}

func (c *conn) send(b []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.bw.Write(b)
	return err
}
