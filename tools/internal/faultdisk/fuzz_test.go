package faultdisk

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"testing"
)

// stream is a client that has sent everything it ever will and throws answers away.
type stream struct {
	io.Reader
	answered int
}

func (s *stream) Write(p []byte) (int, error) {
	s.answered += len(p)
	return len(p), nil
}

func (s *stream) Close() error { return nil }

// FuzzServe gives arbitrary bytes to a connection from its first byte on. It must end, without a
// panic, without memory out of proportion to what came in, and leave the disks usable.
func FuzzServe(f *testing.F) {
	req := func(cmd, flags uint16, off uint64, length uint32, data int) string {
		b := binary.BigEndian.AppendUint32(nil, 0x25609513)
		b = binary.BigEndian.AppendUint16(b, flags)
		b = binary.BigEndian.AppendUint16(b, cmd)
		b = binary.BigEndian.AppendUint64(b, 1)
		b = binary.BigEndian.AppendUint64(b, off)
		b = binary.BigEndian.AppendUint32(b, length)
		return string(append(b, make([]byte, data)...))
	}
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x01IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00" +
		req(nbdRead, 0, 0, 512, 0)))
	f.Add([]byte(goBytes + req(nbdWrite, nbdFUA, 512, 1024, 1024) + req(nbdFlush, 0, 0, 0, 0)))
	f.Add([]byte(goBytes + req(nbdTrim, 0, 0, 1<<20, 0) + req(nbdZeroes, nbdNoHole, 0, 4096, 0)))
	f.Add([]byte(goBytes + req(nbdWrite, 0, 0, 32<<20, 100)))
	f.Add([]byte(goBytes + req(nbdDisc, 0, 0, 0, 0)))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := New(Config{Disks: []DiskConfig{mem("d0", 1<<20)}, MemoryLimit: 2 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out := &stream{Reader: bytes.NewReader(in)}
		c := newConn(s, out)
		if c.serve() == nil && c.disk == nil && out.answered < 18+20 {
			t.Errorf("negotiation ended well after %d bytes of answers", out.answered)
		}
		runtime.ReadMemStats(&after)
		// The buffers of a connection, a read buffer of the disk's size, one step of a payload.
		if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20+64*uint64(len(in)) {
			t.Errorf("%d bytes allocated for %d bytes of input", got, len(in))
		}
		if err := s.ReadAt("d0", make([]byte, 4096), 0); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if st := s.Stats(); st.Disks[0].InFlight != 0 {
			t.Errorf("in flight: %+v", st)
		}
	})
}

// FuzzControl gives arbitrary lines to the control protocol.
func FuzzControl(f *testing.F) {
	for _, line := range []string{
		`{"verb":"cut","seed":7,"mode":"random"}`, `{"verb":"off"}`, `{"verb":"on"}`,
		`{"verb":"stats"}`,
		`{"verb":"fail","fault":{"disk":"d0","op":"write","nth":3,"count":-1,"torn":true}}`,
		`{"verb":"delay","disk":"d0","op":"write","delay":"5ms"}`, `{"verb":"heal"}`, `{`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := New(Config{Disks: []DiskConfig{mem("d0", 4096)}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if a, err := s.command(line); a.OK && err != nil {
			t.Errorf("%+v with %v", a, err)
		}
		if _, err := s.Cut(1, Random); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
