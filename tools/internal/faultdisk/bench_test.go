package faultdisk

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// BenchmarkRequests measures requests through a unix socket: one at a time and 32 at a time.
func BenchmarkRequests(b *testing.B) {
	for _, bc := range []struct {
		what       string
		cmd, flags uint16
		size       int
	}{
		{"write-fua", nbdWrite, nbdFUA, 4096},
		{"write-fua", nbdWrite, nbdFUA, 1 << 20},
		{"read", nbdRead, 0, 4096},
		{"read", nbdRead, 0, 1 << 20},
	} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s-%dk-qd%d", bc.what, bc.size/1024, depth), func(b *testing.B) {
				b.SetBytes(int64(bc.size))
				benchRequests(b, bc.cmd, bc.flags, bc.size, depth)
			})
		}
	}
}

func benchRequests(b *testing.B, cmd, flags uint16, size, depth int) {
	const span = 64 << 20
	s, err := New(Config{Disks: []DiskConfig{mem("d0", span)}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	addr, err := s.Listen("unix", filepath.Join(b.TempDir(), "nbd"))
	if err != nil {
		b.Fatal(err)
	}
	nc, err := net.Dial("unix", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	c := &client{t: b, nc: nc}
	c.get(18)
	c.put([]byte(goBytes))
	c.get(20 + 12 + 20 + 14 + 20) // export, block size, ack
	reply := 16
	var payload []byte
	if cmd == nbdWrite {
		payload = make([]byte, size)
	} else {
		reply += size
	}
	buf := make([]byte, reply)
	for i, sent := 0, 0; i < b.N; i++ {
		for sent < b.N && sent < i+depth {
			c.send(cmd, flags, uint64(sent*size%span), uint32(size), payload)
			sent++
		}
		if _, err := io.ReadFull(nc, buf); err != nil {
			b.Fatal(err)
		}
	}
}
