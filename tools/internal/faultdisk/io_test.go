package faultdisk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
)

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// TestReadsReturnWhatWasWritten performs random requests and compares with a flat buffer, on both
// kinds of base and both sector sizes.
func TestReadsReturnWhatWasWritten(t *testing.T) {
	const size = 64 << 10
	for _, cfg := range []DiskConfig{
		{Name: "memory", Size: size},
		{Name: "memory4k", Size: size, Sector: 4096},
		{Name: "file", Size: size, File: t.TempDir() + "/a"},
		{Name: "file4k", Size: size, Sector: 4096, File: t.TempDir() + "/b"},
	} {
		t.Run(cfg.Name, func(t *testing.T) {
			s := newServer(t, cfg)
			c := connect(t, s, "")
			rng := rand.New(rand.NewPCG(1, 2))
			model := make([]byte, size)
			for i := range 4000 {
				randomRequest(t, c, rng, model, byte(i))
				off := rng.IntN(size/512) * 512
				n := min(size-off, (1+rng.IntN(40))*512)
				got, err := c.read(off, n)
				if err != nil || !bytes.Equal(got, model[off:off+n]) {
					t.Fatalf("step %d: read %d+%d: %v, or other contents", i, off, n, err)
				}
			}
			if st := s.Stats(); st.Error != "" || st.Disks[0].Reads != 4000 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func randomRequest(t *testing.T, c *client, rng *rand.Rand, model []byte, v byte) {
	t.Helper()
	off := rng.IntN(len(model)/512) * 512
	n := min(len(model)-off, (1+rng.IntN(24))*512)
	fua := uint16(rng.IntN(2))
	var err error
	switch rng.IntN(5) {
	case 0:
		err = c.flush()
	case 1:
		err = c.do(nbdTrim, fua, uint64(off), uint32(n), nil)
		clear(model[off : off+n])
	case 2:
		err = c.do(nbdZeroes, fua|nbdNoHole, uint64(off), uint32(n), nil)
		clear(model[off : off+n])
	default:
		err = c.write(off, fill(v, n), fua)
		copy(model[off:], fill(v, n))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestInvalidRequestsAreAnswered(t *testing.T) {
	c := connect(t, newServer(t, mem("d0", 1<<20)), "")
	block := fill(1, 512)
	for _, tc := range []struct {
		what       string
		cmd, flags uint16
		off        uint64
		length     uint32
		data       []byte
		want       error
	}{
		{"read beyond the end", nbdRead, 0, 1 << 20, 512, nil, syscall.EINVAL},
		{"read across the end", nbdRead, 0, 1<<20 - 512, 1024, nil, syscall.EINVAL},
		{"read at 2^64-512", nbdRead, 0, 1<<64 - 512, 1024, nil, syscall.EINVAL},
		{"read over 32 MiB", nbdRead, 0, 0, 33 << 20, nil, syscall.EINVAL},
		{"read of nothing", nbdRead, 0, 0, 0, nil, syscall.EINVAL},
		{"write beyond the end", nbdWrite, 0, 1 << 20, 512, block, syscall.ENOSPC},
		{"write at 2^64-512", nbdWrite, 0, 1<<64 - 512, 512, block, syscall.ENOSPC},
		{"unaligned offset", nbdWrite, 0, 100, 512, block, syscall.EINVAL},
		{"unaligned length", nbdWrite, 0, 0, 100, fill(1, 100), syscall.EINVAL},
		{"unknown flag on a write", nbdWrite, 1 << 9, 0, 512, block, syscall.EINVAL},
		{"unknown command", 77, 0, 0, 512, nil, syscall.EINVAL},
		{"no-hole on a trim", nbdTrim, nbdNoHole, 0, 512, nil, syscall.EINVAL},
		{"trim beyond the end", nbdTrim, 0, 1 << 19, 1 << 31, nil, syscall.ENOSPC},
	} {
		if err := c.do(tc.cmd, tc.flags, tc.off, tc.length, tc.data); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.what, err, tc.want)
		}
	}
	if got, err := c.read(0, 1<<20); err != nil || !bytes.Equal(got, make([]byte, 1<<20)) {
		t.Errorf("afterwards: %v, or contents changed", err)
	}
}

func TestManyRequestsOnOneConnection(t *testing.T) {
	c := connect(t, newServer(t, mem("d0", 16<<20)), "")
	const n = 1000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			c.send(nbdWrite, 0, uint64(i)*4096, 4096, fill(byte(i), 4096))
		}
	})
	seen := make(map[uint64]bool)
	for range n {
		cookie, err := c.recv()
		if err != nil || seen[cookie] {
			t.Fatalf("cookie %d: %v, seen %v", cookie, err, seen[cookie])
		}
		seen[cookie] = true
	}
	wg.Wait()
	for i := range n {
		if got, err := c.read(i*4096, 4096); err != nil || got[17] != byte(i) {
			t.Fatalf("block %d: %v, got %d", i, err, got[17])
		}
	}
}

func TestLargeWriteArrivesWhole(t *testing.T) {
	c := connect(t, newServer(t, mem("d0", 16<<20)), "")
	want := make([]byte, 9<<20)
	rng := rand.NewChaCha8([32]byte{})
	rng.Read(want)
	if err := c.write(512, want, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := c.read(512, len(want)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read: %v, or other contents", err)
	}
}
