package faultdisk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// memoryDefault is the limit of a Config without one, in bytes.
const memoryDefault = 1 << 30

// connsMax bounds the open connections. A kernel uses one to a few per disk.
const connsMax = 64

// Config describes a server.
type Config struct {
	Disks       []DiskConfig
	MemoryLimit int64 // bytes for contents in memory, caches and delayed requests; 0: 1 GiB
}

// Server is a set of disks that lose power together.
type Server struct {
	wg sync.WaitGroup // every goroutine

	mu        sync.Mutex // guards everything below
	disks     []*disk
	arena     arena
	seq       uint64 // of the last completed write
	faults    []*armed
	inflight  []*request // delayed, in order of arrival
	conns     map[*conn]struct{}
	gone      chan struct{} // closed by the next cut, and by Close
	cuts      int
	off       bool
	closed    bool
	err       error // the first one
	listeners []io.Closer
	attached  map[string]*attachment // by block device
}

// New returns a server of the given disks. Nothing listens yet.
func New(cfg Config) (*Server, error) {
	if cfg.MemoryLimit <= 0 {
		cfg.MemoryLimit = memoryDefault
	}
	s := &Server{conns: make(map[*conn]struct{}), gone: make(chan struct{})}
	s.attached = make(map[string]*attachment)
	s.arena.limit = cfg.MemoryLimit
	for _, dc := range cfg.Disks {
		if s.disk(dc.Name) != nil {
			return nil, errors.Join(fmt.Errorf("disk %s: name is used twice", dc.Name), s.Close())
		}
		d, err := newDisk(dc, &s.arena)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("disk %s: %w", dc.Name, err), s.Close())
		}
		s.disks = append(s.disks, d)
	}
	if len(s.disks) == 0 {
		return nil, errors.New("config: no disks")
	}
	return s, nil
}

// Listen serves NBD on a socket: network "unix" with a path, whose stale socket it replaces, or
// "tcp" with a loopback address. It returns the address in use.
func (s *Server) Listen(network, address string) (net.Addr, error) {
	l, err := s.listen(network, address)
	if err != nil {
		return nil, err
	}
	s.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return // the listener is closed
			}
			s.Serve(nc)
		}
	})
	return l.Addr(), nil
}

// listen opens a listener that Close closes.
func (s *Server) listen(network, address string) (net.Listener, error) {
	if network == "unix" {
		if fi, err := os.Lstat(address); err == nil && fi.Mode().Type() == os.ModeSocket {
			if err := os.Remove(address); err != nil {
				return nil, err
			}
		}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return nil, ErrClosed
	}
	s.listeners = append(s.listeners, l)
	return l, nil
}

// Serve serves one client in the background, on a connection that the caller made. It closes nc
// when the client goes away or is cut off, at once while the power is off.
func (s *Server) Serve(nc io.ReadWriteCloser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serve(nc, nil) != nil {
		nc.Close()
	}
}

// serve starts a connection, with a disk as if it had been negotiated.
func (s *Server) serve(nc io.ReadWriteCloser, d *disk) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.off:
		return ErrOff
	case len(s.conns) >= connsMax:
		return fmt.Errorf("%d connections are open already", len(s.conns))
	}
	c := newConn(s, nc)
	c.disk = d
	s.conns[c] = struct{}{}
	s.wg.Go(func() {
		c.serve() // its error concerns the client alone, who sees the end of the connection
		c.nc.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	})
	return nil
}

// ReadAt fills p from a disk as a client's READ would, without a connection.
func (s *Server) ReadAt(disk string, p []byte, off int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.disk(disk)
	if d == nil {
		return fmt.Errorf("%w: %q", ErrNoDisk, disk)
	}
	if off < 0 || int64(len(p)) > d.cfg.Size-off {
		return fmt.Errorf("disk %s: read of %d bytes at %d: beyond the end", disk, len(p), off)
	}
	return d.read(p, off)
}

// Err returns the first error of the server itself, as opposed to those injected: that the memory
// limit was reached, or that a base file failed. After one, results of the test mean nothing.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends all connections without a cut: what was completed is in the base, and in its file, and
// what was in flight is not. It returns Err or the error of closing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	for _, l := range s.listeners {
		l.Close()
	}
	s.inflight = nil
	s.dropConnections()
	everything := newChooser(0, All, nil)
	for _, d := range s.disks {
		s.keep(d.cut(everything, new(DiskCut)))
		s.keep(d.base.close())
	}
	err := s.err
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// disk returns the disk of a name, or nil. An empty name means the only disk, if there is only one.
func (s *Server) disk(name string) *disk {
	if name == "" && len(s.disks) == 1 {
		return s.disks[0]
	}
	for _, d := range s.disks {
		if d.cfg.Name == name {
			return d
		}
	}
	return nil
}

// named returns the disk of a name, or all for an empty one.
func (s *Server) named(name string) ([]*disk, error) {
	if name == "" {
		return s.disks, nil
	}
	if d := s.disk(name); d != nil {
		return []*disk{d}, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoDisk, name)
}

// keep remembers the first error of the server itself.
func (s *Server) keep(err error) {
	if s.err == nil && err != nil {
		s.err = err
	}
}
