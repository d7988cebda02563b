package faultdisk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The ioctls of the kernel's NBD client (include/uapi/linux/nbd.h).
const (
	nbdSetSock       = 0xab00
	nbdSetBlockSize  = 0xab01
	nbdDoIt          = 0xab03
	nbdClearSock     = 0xab04
	nbdSetSizeBlocks = 0xab07
	nbdDisconnect    = 0xab08
	nbdSetFlags      = 0xab0a
)

// attachBuffer is how many bytes the kernel's end of a connection takes without waiting for us.
// Before 6.13 a signal to the thread that sends, as Go's runtime sends them, in the middle of a
// request that had to wait led to "Double reply" and the end of the connection; no real disk fails
// like that.
const attachBuffer = 64 << 20

// attachWait bounds how long Attach waits for the kernel.
const attachWait = 5 * time.Second

// attachment is a kernel block device that is a client of this process.
type attachment struct {
	dev   *os.File
	inUse string        // the file in /sys that exists while the kernel has a client for the device
	setUp chan error    // gets one value: whether the kernel took the socket
	done  chan struct{} // closed when the kernel has let go of the device
}

// Attach makes a disk the running kernel's block device, /dev/nbd0 or another one, without any
// program's help. It needs root and the module nbd. The device works when Attach returns, and until
// the next cut: then its requests fail with EIO until it is attached again. The kernel gives a
// device up only when no program has it open any more, and Attach waits some time for that.
func (s *Server) Attach(disk, device string) error {
	s.mu.Lock()
	d := s.disk(disk)
	s.mu.Unlock()
	if d == nil {
		return fmt.Errorf("%w: %q", ErrNoDisk, disk)
	}
	sys := filepath.Join("/sys/block", filepath.Base(device))
	a := &attachment{inUse: sys + "/pid", setUp: make(chan error, 1), done: make(chan struct{})}
	if _, err := os.Stat(sys); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	if !within(attachWait, func() bool { return !a.exists() }) {
		return fmt.Errorf("%s: attached, or open in a program: %w", device, unix.EBUSY)
	}
	// Read-only, or the device would count as in use by somebody who writes to it.
	var err error
	if a.dev, err = os.Open(device); err != nil {
		return err
	}
	if err := s.startAttached(device, a, d); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	return nil
}

// startAttached serves one end of a new connection and gives the other to the kernel.
func (s *Server) startAttached(device string, a *attachment, d *disk) error {
	near, far, err := socketPair()
	if err != nil {
		return errors.Join(err, a.dev.Close())
	}
	s.mu.Lock()
	if err := s.serve(far, d); err != nil {
		s.mu.Unlock()
		return errors.Join(err, a.dev.Close(), near.Close(), far.Close())
	}
	s.attached[device] = a
	s.wg.Go(func() { a.run(d, near) })
	s.mu.Unlock()
	if err := <-a.setUp; err != nil {
		return errors.Join(err, far.Close())
	}
	if !within(attachWait, func() bool { return a.exists() && a.size() == d.cfg.Size }) {
		return errors.Join(fmt.Errorf("no device after %s", attachWait), far.Close())
	}
	return nil
}

// Detach ends an attachment in the orderly way and waits until the kernel has let go of the device.
// It is no error if a cut has ended it already.
func (s *Server) Detach(device string) error {
	s.mu.Lock()
	a := s.attached[device]
	s.mu.Unlock()
	if a == nil {
		return fmt.Errorf("%s: not attached", device)
	}
	// An error means that the connection has ended: the device is closed or without a socket.
	ioctl(a.dev, nbdDisconnect, 0)
	select {
	case <-a.done:
		return nil
	case <-time.After(attachWait):
		return fmt.Errorf("%s: still attached after %s", device, attachWait)
	}
}

// run is the life of an attachment. The kernel wants all its calls from one thread, and takes a
// signal to that thread, as Go's runtime sends them, for the wish to end the connection. So the
// thread takes no signals; it ends with this goroutine, which never unlocks it.
func (a *attachment) run(d *disk, near *os.File) {
	runtime.LockOSThread()
	defer close(a.done)
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil)
	if err == nil {
		err = a.prepare(d, near)
	}
	a.setUp <- err
	if err == nil {
		// Both report how the connection ended, which is no news to either side.
		ioctl(a.dev, nbdDoIt, 0)
		ioctl(a.dev, nbdClearSock, 0)
	}
	a.dev.Close()
	near.Close()
}

// prepare tells the kernel what it is to serve.
func (a *attachment) prepare(d *disk, near *os.File) error {
	for _, c := range []struct {
		what     string
		req, arg uintptr
	}{
		{"block size", nbdSetBlockSize, blockMin},
		{"size", nbdSetSizeBlocks, uintptr(d.cfg.Size / blockMin)},
		{"flags", nbdSetFlags, uintptr(d.cfg.flags())},
		{"socket", nbdSetSock, near.Fd()},
	} {
		if err := ioctl(a.dev, c.req, c.arg); err != nil {
			return fmt.Errorf("set %s: %w", c.what, err)
		}
	}
	return nil
}

// exists reports whether the kernel has a client for the device.
func (a *attachment) exists() bool {
	_, err := os.Stat(a.inUse)
	return err == nil
}

// size returns the size of the device in bytes, 0 once it is closed.
func (a *attachment) size() int64 {
	size, err := a.dev.Seek(0, io.SeekEnd)
	if err != nil {
		return 0
	}
	return size
}

// within waits until a condition holds and reports whether it came to that.
func within(limit time.Duration, holds func() bool) bool {
	for start := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(start) > limit {
			return false
		}
	}
	return true
}

// ioctl calls the kernel on a file that may be closed at the same time.
func ioctl(f *os.File, req, arg uintptr) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, req, arg)
	}); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// socketPair returns a connected pair: one end for the kernel, one for a connection.
func socketPair() (near *os.File, far net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	// Without privileges, as in a test of the pair alone, the buffer stays as it is.
	_ = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, attachBuffer)
	near = os.NewFile(uintptr(fds[0]), "near")
	other := os.NewFile(uintptr(fds[1]), "far")
	far, err = net.FileConn(other) // a duplicate
	if err := errors.Join(err, other.Close()); err != nil {
		return nil, nil, errors.Join(err, near.Close())
	}
	return near, far, nil
}
