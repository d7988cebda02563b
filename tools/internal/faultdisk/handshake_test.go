package faultdisk

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
)

func TestGoAnnouncesTheDisk(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20),
		DiskConfig{Name: "d1", Size: 2 << 20, NoFUA: true, Rotational: true})
	c := connect(t, s, "d0")
	if c.size != 1<<20 || c.block != [3]uint32{512, 4096, 32 << 20} {
		t.Errorf("size %d, blocks %d", c.size, c.block)
	}
	// Flags present, flush, FUA, trim, write-zeroes, several connections.
	if want := uint16(1 | 4 | 8 | 32 | 64 | 256); c.flags != want {
		t.Errorf("flags %#x, want %#x", c.flags, want)
	}
	if c := connect(t, s, "d1"); c.size != 2<<20 || c.flags != 1|4|16|32|64|256 {
		t.Errorf("d1: size %d, flags %#x: want no FUA, rotational", c.size, c.flags)
	}
}

func TestExportName(t *testing.T) {
	for _, flags := range []uint32{1, 3} {
		s := newServer(t, mem("disk", 1<<20))
		c := greet(t, s, flags)
		c.option(1, []byte("disk"))
		if got := binary.BigEndian.Uint64(c.get(8)); got != 1<<20 {
			t.Fatalf("size %d", got)
		}
		c.get(2)
		if flags == 1 {
			if !bytes.Equal(c.get(124), make([]byte, 124)) {
				t.Fatal("padding is not zero")
			}
		}
		if err := c.write(0, fill(1, 512), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmptyNameMeansTheOnlyDisk(t *testing.T) {
	if c := connect(t, newServer(t, mem("disk", 1<<20)), ""); c.size != 1<<20 {
		t.Errorf("size %d", c.size)
	}
	c := greet(t, newServer(t, mem("d0", 1<<20), mem("d1", 1<<20)), 3)
	c.option(7, infoRequest(""))
	if kind, _ := c.optionReply(7); kind != 1<<31+6 {
		t.Errorf("with two disks: reply %#x, want unknown export", kind)
	}
}

func TestListInfoAndAbort(t *testing.T) {
	c := greet(t, newServer(t, mem("first", 1<<20), mem("second", 1<<20)), 3)
	c.option(3, nil)
	for _, want := range []string{"first", "second"} {
		kind, data := c.optionReply(3)
		length := int(binary.BigEndian.Uint32(data))
		if kind != 2 || length != len(want) || string(data[4:]) != want {
			t.Fatalf("list: kind %d, data %q, want %q", kind, data, want)
		}
	}
	if kind, _ := c.optionReply(3); kind != 1 {
		t.Fatalf("list ends with %#x", kind)
	}
	c.option(6, infoRequest("second"))
	for _, want := range []uint32{3, 3, 1} {
		if kind, _ := c.optionReply(6); kind != want {
			t.Fatalf("info: reply %#x, want %#x", kind, want)
		}
	}
	c.option(2, nil)
	if kind, _ := c.optionReply(2); kind != 1 || !c.closed() {
		t.Fatalf("abort: reply %#x, or the connection stays open", kind)
	}
}

func TestOptionErrorsKeepTheNegotiation(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20))
	c := greet(t, s, 3)
	for _, tc := range []struct {
		what string
		opt  uint32
		data []byte
		want uint32
	}{
		{"TLS", 5, nil, 1<<31 + 1},
		{"structured replies", 8, nil, 1<<31 + 1},
		{"unknown option", 99, []byte("x"), 1<<31 + 1},
		{"list with data", 3, []byte("x"), 1<<31 + 3},
		{"unknown export", 7, infoRequest("none"), 1<<31 + 6},
		{"go without data", 7, nil, 1<<31 + 3},
		{"name longer than the data", 7, []byte{0, 0, 1, 0, 'x', 0, 0}, 1<<31 + 3},
		{"name of 4 GiB", 7, []byte{255, 255, 255, 255, 'x', 0, 0}, 1<<31 + 3},
		{"kinds missing", 7, []byte{0, 0, 0, 0, 0, 9, 0, 3}, 1<<31 + 3},
	} {
		c.option(tc.opt, tc.data)
		if kind, _ := c.optionReply(tc.opt); kind != tc.want {
			t.Errorf("%s: reply %#x, want %#x", tc.what, kind, tc.want)
		}
	}
	c.option(7, infoRequest("d0"))
	if kind, _ := c.optionReply(7); kind != 3 {
		t.Errorf("afterwards: reply %#x", kind)
	}
}

func TestBrokenNegotiationEndsTheConnection(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20))
	const flags, zeros16 = "\x00\x00\x00\x03", "\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00"
	startTLS := "IHAVEOPT\x00\x00\x00\x05\x00\x00\x00\x00"
	request := goBytes + "\x25\x60\x95\x13\x00\x00\x00"
	for what, bytes := range map[string]string{
		"unknown client flags":  "\x00\x00\x01\x00",
		"option magic":          flags + "IHAVEOPX\x00\x00\x00\x03\x00\x00\x00\x00",
		"option too long":       flags + "IHAVEOPT\x00\x00\x00\x07\xff\xff\xff\xff",
		"unknown export name":   flags + "IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x01x",
		"endless options":       flags + strings.Repeat(startTLS, 1100),
		"request magic":         goBytes + strings.Repeat("\x01", 28),
		"write over 32 MiB":     request + "\x01" + zeros16 + "\x10\x00\x00\x00",
		"orderly disconnection": request + "\x02" + zeros16 + "\x00\x00\x00\x00",
	} {
		near, far := connPair(t)
		s.Serve(far)
		go near.Write([]byte(bytes)) // the server may close before it has read all
		c := &client{t: t, nc: near}
		for !c.closed() {
			if t.Failed() {
				t.Fatal(what)
			}
		}
		near.Close()
	}
}

// goBytes opens the only export.
const goBytes = "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"

func TestListenOnUnixAndTCP(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20))
	path := filepath.Join(t.TempDir(), "nbd")
	for _, on := range [][2]string{{"unix", path}, {"tcp", "127.0.0.1:0"}} {
		addr, err := s.Listen(on[0], on[1])
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, nc: dial(t, on[0], addr.String())}
		if got := string(c.get(8)); got != "NBDMAGIC" {
			t.Errorf("%s: greeting %q", on[0], got)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("Listen after Close succeeds")
	}
}

func TestListenReplacesAStaleSocketOnly(t *testing.T) {
	s := newServer(t, mem("d0", 1<<20))
	path := filepath.Join(t.TempDir(), "nbd")
	for range 2 { // the second finds the first one's socket
		if _, err := s.Listen("unix", path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Listen("unix", filepath.Dir(path)); err == nil {
		t.Error("Listen replaces a directory")
	}
}
