package faultdisk

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// client is a small NBD client, written from the protocol and not from the server's constants, so
// that a wrong number there is found here.
type client struct {
	t      testing.TB
	nc     net.Conn
	cookie uint64
	size   uint64
	flags  uint16
	block  [3]uint32 // minimum, preferred, maximum
}

// newServer returns a server that ends with the test.
func newServer(t *testing.T, disks ...DiskConfig) *Server {
	t.Helper()
	s, err := New(Config{Disks: disks, MemoryLimit: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mem(name string, size int64) DiskConfig { return DiskConfig{Name: name, Size: size} }

// greet connects through a real socket pair and reads the greeting.
func greet(t *testing.T, s *Server, flags uint32) *client {
	t.Helper()
	near, far := connPair(t)
	s.Serve(far)
	c := &client{t: t, nc: near}
	if got := string(c.get(16)); got != "NBDMAGICIHAVEOPT" {
		t.Fatalf("greeting %q", got)
	}
	if got := binary.BigEndian.Uint16(c.get(2)); got != 3 {
		t.Fatalf("handshake flags %#x, want fixed newstyle and no zeroes", got)
	}
	c.put(binary.BigEndian.AppendUint32(nil, flags))
	return c
}

func connPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// connect opens an export with NBD_OPT_GO.
func connect(t *testing.T, s *Server, export string) *client {
	t.Helper()
	c := greet(t, s, 3)
	c.option(7, infoRequest(export))
	for {
		kind, data := c.optionReply(7)
		if kind == 1 {
			return c
		}
		if kind != 3 {
			t.Fatalf("NBD_OPT_GO %q: reply %#x", export, kind)
		}
		switch binary.BigEndian.Uint16(data) {
		case 0:
			c.size, c.flags = binary.BigEndian.Uint64(data[2:]), binary.BigEndian.Uint16(data[10:])
		case 3:
			for i := range c.block {
				c.block[i] = binary.BigEndian.Uint32(data[2+4*i:])
			}
		}
	}
}

func infoRequest(export string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(export)))
	return append(append(b, export...), 0, 1, 0, 3) // one wanted kind: block size
}

func (c *client) get(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c.nc, b); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return b
}

func (c *client) put(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) option(opt uint32, data []byte) {
	c.t.Helper()
	b := append([]byte("IHAVEOPT"), 0, 0, 0, byte(opt))
	c.put(append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...))
}

func (c *client) optionReply(opt uint32) (kind uint32, data []byte) {
	c.t.Helper()
	h := c.get(20)
	if m := binary.BigEndian.Uint64(h); m != 0x3e889045565a9 {
		c.t.Fatalf("option reply magic %#x", m)
	}
	if got := binary.BigEndian.Uint32(h[8:]); got != opt {
		c.t.Fatalf("reply to option %d, want %d", got, opt)
	}
	return binary.BigEndian.Uint32(h[12:]), c.get(int(binary.BigEndian.Uint32(h[16:])))
}

// Commands and flags of the protocol.
const (
	nbdRead, nbdWrite, nbdDisc, nbdFlush, nbdTrim, nbdZeroes = 0, 1, 2, 3, 4, 6
	nbdFUA, nbdNoHole                                        = 1, 2
)

// send sends a request and returns its cookie.
func (c *client) send(cmd, flags uint16, off uint64, length uint32, data []byte) uint64 {
	c.t.Helper()
	c.cookie++
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, cmd)
	b = binary.BigEndian.AppendUint64(b, c.cookie)
	b = binary.BigEndian.AppendUint64(b, off)
	c.put(append(binary.BigEndian.AppendUint32(b, length), data...))
	return c.cookie
}

// recv receives the head of a simple reply.
func (c *client) recv() (cookie uint64, err error) {
	c.t.Helper()
	h := c.get(16)
	if m := binary.BigEndian.Uint32(h); m != 0x67446698 {
		c.t.Fatalf("reply magic %#x", m)
	}
	if e := binary.BigEndian.Uint32(h[4:]); e != 0 {
		err = syscall.Errno(e)
	}
	return binary.BigEndian.Uint64(h[8:]), err
}

// do performs one request and waits for it.
func (c *client) do(cmd, flags uint16, off uint64, length uint32, data []byte) error {
	c.t.Helper()
	want := c.send(cmd, flags, off, length, data)
	got, err := c.recv()
	if got != want {
		c.t.Fatalf("reply to request %d, want %d", got, want)
	}
	return err
}

func (c *client) write(off int, data []byte, flags uint16) error {
	c.t.Helper()
	return c.do(nbdWrite, flags, uint64(off), uint32(len(data)), data)
}

func (c *client) read(off, n int) ([]byte, error) {
	c.t.Helper()
	if err := c.do(nbdRead, 0, uint64(off), uint32(n), nil); err != nil {
		return nil, err
	}
	return c.get(n), nil
}

func (c *client) flush() error {
	c.t.Helper()
	return c.do(nbdFlush, 0, 0, 0, nil)
}

// closed reports whether the server has closed the connection, after at most a few seconds.
func (c *client) closed() bool {
	c.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.ReadFull(c.nc, make([]byte, 1))
	ne, ok := err.(net.Error)
	return err != nil && !(ok && ne.Timeout())
}

// waitInFlight waits until a disk has n requests in flight.
func waitInFlight(t *testing.T, s *Server, disk, n int) {
	t.Helper()
	for range 2000 {
		if s.Stats().Disks[disk].InFlight == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("in flight: %+v, want %d", s.Stats().Disks[disk], n)
}

// fill returns n bytes of one value.
func fill(v byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = v
	}
	return b
}

// contents reads a whole disk and gives the value of each sector, which must be uniform.
func contents(t *testing.T, s *Server, name string, size, sector int) []byte {
	t.Helper()
	b := make([]byte, size)
	if err := s.ReadAt(name, b, 0); err != nil {
		t.Fatal(err)
	}
	vals, err := sectors(b, sector)
	if err != nil {
		t.Fatal(err)
	}
	return vals
}

func sectors(b []byte, sector int) ([]byte, error) {
	var vals []byte
	for at := 0; at < len(b); at += sector {
		for i := range sector {
			if b[at+i] != b[at] {
				return nil, fmt.Errorf("sector at %d is torn inside: byte %d", at, i)
			}
		}
		vals = append(vals, b[at])
	}
	return vals, nil
}
