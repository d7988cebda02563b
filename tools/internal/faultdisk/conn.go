package faultdisk

import (
	"bufio"
	"io"
	"sync"
	"time"
)

// delayedMax bounds the delayed requests of one connection; at the limit no more are read from it.
const delayedMax = 256

// conn is one client's connection.
type conn struct {
	srv  *Server
	nc   io.ReadWriteCloser
	gone chan struct{} // Server.gone when the connection was made: which time between two cuts

	br    *bufio.Reader
	wmu   sync.Mutex // guards bw
	bw    *bufio.Writer
	disk  *disk         // after the negotiation, or from the start without one
	slots chan struct{} // one element per delayed request
	buf   []byte        // payload of the request being handled
}

func newConn(s *Server, nc io.ReadWriteCloser) *conn {
	c := &conn{srv: s, nc: nc, gone: s.gone, slots: make(chan struct{}, delayedMax)}
	c.br = bufio.NewReaderSize(flushingReader{c}, 64<<10)
	c.bw = bufio.NewWriterSize(nc, 64<<10)
	return c
}

// flushingReader sends what was answered before it waits for more requests, so that answers to
// requests that came together leave together.
type flushingReader struct{ c *conn }

func (f flushingReader) Read(p []byte) (int, error) {
	if err := f.c.flush(); err != nil {
		return 0, err
	}
	return f.c.nc.Read(p)
}

func (c *conn) flush() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.bw.Flush()
}

// serve negotiates and handles requests until the client leaves, breaks the protocol or is cut off.
func (c *conn) serve() error {
	if c.disk == nil {
		if err := c.negotiate(); err != nil {
			return err
		}
	}
	for c.disk != nil {
		h, err := readHeader(c.br)
		if err != nil {
			return err
		}
		if h.cmd == cmdDisc {
			return nil
		}
		if err := c.handle(h); err != nil {
			return err
		}
	}
	return c.flush()
}

// handle reads the rest of a request and performs it, or arranges that it is performed later.
func (c *conn) handle(h header) error {
	r := &request{conn: c, disk: c.disk, cookie: h.cookie}
	r.errno = r.decode(h)
	if h.cmd == cmdWrite {
		if h.length > payloadMax {
			return protocolError("write of %d bytes, at most %d", h.length, payloadMax)
		}
		if err := c.receive(r, int(h.length)); err != nil {
			return err
		}
	}
	if r.errno != errnoOK {
		return c.reply(r)
	}
	if r.op == Read {
		r.data = c.buffer(int(r.length))
	}
	if err := c.srv.begin(r); err != nil {
		return err
	}
	if r.wait == 0 {
		return c.reply(r)
	}
	c.buf = nil // the request's own from here on
	select {
	case c.slots <- struct{}{}:
	case <-c.gone:
		return errCut
	}
	c.srv.wg.Go(func() { c.later(r) })
	return nil
}

// later performs a request after its delay.
func (c *conn) later(r *request) {
	defer func() { <-c.slots }()
	t := time.NewTimer(r.wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.gone:
		return
	}
	if c.srv.end(r) == nil && c.reply(r) == nil {
		c.flush() // an error means that the client is gone, which the reading side sees too
	}
}

// buffer returns the connection's buffer with n bytes.
func (c *conn) buffer(n int) []byte {
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	return c.buf[:n]
}

// receiveStep is how much of a payload is received into new memory at a time, in bytes, so that a
// client that announces much and sends little costs little.
const receiveStep = 1 << 20

// receive reads a payload of n bytes.
func (c *conn) receive(r *request, n int) error {
	for got := 0; got < n; {
		step := min(n-got, max(cap(c.buf)-got, receiveStep))
		if cap(c.buf) < got+step {
			grown := make([]byte, min(n, max(2*cap(c.buf), got+step)))
			copy(grown, c.buf[:got])
			c.buf = grown
		}
		if _, err := io.ReadFull(c.br, c.buf[got:got+step]); err != nil {
			return err
		}
		got += step
	}
	r.data = c.buf[:n]
	return nil
}

// reply answers a request. The answer leaves with the next flush.
func (c *conn) reply(r *request) error {
	head := encodeReply(r.errno, r.cookie)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if _, err := c.bw.Write(head[:]); err != nil {
		return err
	}
	if r.op == Read && r.errno == errnoOK {
		_, err := c.bw.Write(r.data)
		return err
	}
	return nil
}

// decode fills the request from its header and returns the errno of an invalid one.
func (r *request) decode(h header) uint32 {
	op, ok := opOf(h.cmd)
	known := uint16(cmdFlagFUA)
	if op == Zeroes {
		known |= cmdFlagNoHole
	}
	if !ok || h.flags&^known != 0 {
		return errnoInval
	}
	r.op, r.fua = op, h.flags&cmdFlagFUA != 0
	if op == Flush {
		return errnoOK // offset and length mean nothing
	}
	size := uint64(r.disk.cfg.Size)
	switch {
	case h.length == 0 || h.off%blockMin != 0 || h.length%blockMin != 0:
		return errnoInval
	case op == Read && h.length > payloadMax:
		return errnoInval
	case h.off > size || uint64(h.length) > size-h.off:
		if op == Read {
			return errnoInval
		}
		return errnoNoSpc
	}
	r.off, r.length = int64(h.off), int64(h.length)
	return errnoOK
}
