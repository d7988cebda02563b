package faultdisk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// store holds what is durable on one disk, by page number. A page never written reads as zeros.
type store interface {
	has(n int64) bool // false: the page is certainly all zeros
	get(n int64, dst *page) error
	// put stores the slots of mask from src, where nil stands for zeros. It keeps no reference.
	put(n int64, mask uint8, src *page) error
	close() error
}

// memStore keeps the base in memory, charged to the arena.
type memStore struct {
	pages map[int64]*page
	arena *arena
}

func (m *memStore) has(n int64) bool { return m.pages[n] != nil }

func (m *memStore) get(n int64, dst *page) error {
	copySlots(dst, m.pages[n], fullMask)
	return nil
}

func (m *memStore) put(n int64, mask uint8, src *page) error {
	p := m.pages[n]
	switch {
	case src == nil && p == nil:
		return nil
	case src == nil && mask == fullMask:
		m.arena.put(p)
		delete(m.pages, n)
		return nil
	case p == nil:
		p = m.arena.get()
		copySlots(p, nil, ^mask)
		m.pages[n] = p
	}
	copySlots(p, src, mask)
	return nil
}

func (m *memStore) close() error { return nil }

// fileStore keeps the base in a sparse file, whose contents are those of the disk right after a cut
// and after Close. present has a bit for every page that may hold something else than zeros.
type fileStore struct {
	f       *os.File
	present []uint64
}

// openFileStore opens or creates path with the given size in bytes. An existing file keeps its
// contents and must have that size already.
func openFileStore(path string, size int64) (*fileStore, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &fileStore{f: f, present: make([]uint64, (size/pageSize+63)/64)}
	if err := s.prepare(size); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *fileStore) prepare(size int64) error {
	fi, err := s.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() == 0 {
		return s.f.Truncate(size)
	}
	if fi.Size() != size {
		return fmt.Errorf("size: want %d bytes, got %d", size, fi.Size())
	}
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(s.f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("seek data: %w", err)
		}
		if at, err = unix.Seek(int(s.f.Fd()), from, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("seek hole: %w", err)
		}
		for n := from / pageSize; n < (at+pageSize-1)/pageSize; n++ {
			s.mark(n, true)
		}
	}
	return nil
}

func (s *fileStore) mark(n int64, present bool) {
	if bit := uint64(1) << (n % 64); present {
		s.present[n/64] |= bit
	} else {
		s.present[n/64] &^= bit
	}
}

func (s *fileStore) has(n int64) bool { return s.present[n/64]>>(n%64)&1 != 0 }

func (s *fileStore) get(n int64, dst *page) error {
	if !s.has(n) {
		*dst = page{}
		return nil
	}
	_, err := s.f.ReadAt(dst[:], n*pageSize)
	return err
}

func (s *fileStore) put(n int64, mask uint8, src *page) error {
	switch {
	case src == nil && !s.has(n):
		return nil
	case src == nil && mask == fullMask:
		const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		if err := unix.Fallocate(int(s.f.Fd()), punch, n*pageSize, pageSize); err != nil {
			return fmt.Errorf("punch hole: %w", err)
		}
		s.mark(n, false)
		return nil
	}
	var p page
	if mask != fullMask {
		if err := s.get(n, &p); err != nil {
			return err
		}
	}
	copySlots(&p, src, mask)
	s.mark(n, true)
	_, err := s.f.WriteAt(p[:], n*pageSize)
	return err
}

func (s *fileStore) close() error { return s.f.Close() }
