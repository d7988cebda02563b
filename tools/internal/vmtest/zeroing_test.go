package vmtest

import (
	"bytes"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeroingSize is how much of its volume a zeroing uses, in bytes.
const zeroingSize = 8 << 20

const (
	zeroSector = 512
	zeroBlock  = 4096
	zeroMax    = 256 << 10 // of one operation
)

// zeroing writes, discards and zeroes parts of a volume that overlap, one operation at a time, and
// knows what every byte must be: a discard of whole blocks leaves zeros, and so does a write-zeroes
// of any sectors.
type zeroing struct {
	g     *guest
	fd    int
	rng   *rand.Rand
	model []byte
	buf   []byte // for direct I/O
}

// openZeroing opens a volume that holds zeros.
func (g *guest) openZeroing(path string) *zeroing {
	g.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		g.Fatal(err)
	}
	buf, err := unix.Mmap(-1, 0, zeroMax, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		g.Fatal(err)
	}
	return &zeroing{
		g: g, fd: fd, rng: rand.New(rand.NewPCG(3, 4)), model: make([]byte, zeroingSize), buf: buf,
	}
}

func (z *zeroing) close() {
	if err := unix.Close(z.fd); err != nil {
		z.g.Error(err)
	}
}

// step does one operation and looks at what is there then, and around it.
func (z *zeroing) step() {
	z.g.Helper()
	unit := int64(zeroSector)
	what := z.rng.IntN(4)
	if what == 0 {
		unit = zeroBlock // others are a discard's to ignore
	}
	n := unit * (1 + z.rng.Int64N(zeroMax/unit)>>z.rng.IntN(8))
	off := z.rng.Int64N((zeroingSize-n)/unit+1) * unit
	var err error
	switch what {
	case 0:
		err = z.blockIoctl(unix.BLKDISCARD, off, n)
		clear(z.model[off : off+n])
	case 1:
		err = z.blockIoctl(unix.BLKZEROOUT, off, n)
		clear(z.model[off : off+n])
	default:
		for i := range z.buf[:n] {
			z.buf[i] = byte(z.rng.Uint32())
		}
		_, err = unix.Pwrite(z.fd, z.buf[:n], off)
		copy(z.model[off:], z.buf[:n])
	}
	if err != nil {
		z.g.Fatalf("operation %d on %d bytes at %d: %v", what, n, off, err)
	}
	z.verify(max(0, off-zeroBlock), min(n+2*zeroBlock, zeroMax))
}

// verify compares n bytes from off on.
func (z *zeroing) verify(off, n int64) {
	z.g.Helper()
	for end := min(off+n, zeroingSize); off < end; {
		part := z.buf[:min(zeroMax, end-off)]
		if _, err := unix.Pread(z.fd, part, off); err != nil {
			z.g.Fatalf("read of %d bytes at %d: %v", len(part), off, err)
		}
		want := z.model[off : off+int64(len(part))]
		if !bytes.Equal(part, want) {
			i := 0
			for part[i] == want[i] {
				i++
			}
			z.g.Fatalf("byte %d is %#x, want %#x", off+int64(i), part[i], want[i])
		}
		off += int64(len(part))
	}
}

// blockIoctl calls the kernel with a range of bytes.
func (z *zeroing) blockIoctl(req uint, off, n int64) error {
	arg := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(z.fd), uintptr(req),
		uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
