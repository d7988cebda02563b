package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// DefaultSocket is where the daemon listens unless it is told otherwise.
const DefaultSocket = "/run/unblend/unblend.sock"

const (
	socketDirMode = 0o750
	socketMode    = 0o660
	maxSocketPath = 107 // sockaddr_un, without the final zero
	maxConns      = 64  // open at once; more wait to be accepted
)

// Listener is the daemon's socket. While it exists no other daemon gets the same path: it holds a
// lock on PATH.lock, which unlike the socket itself vanishes with the process.
type Listener struct {
	unix  *net.UnixListener
	lock  *os.File
	path  string
	group int
	slots chan struct{} // one for each connection that may be open
}

// Listen makes the socket. group is the name or number of a group that is let in, or "". Whoever
// connects before Serve is called waits. Errors: an Error with CodeInUse if a daemon has the path.
func Listen(path, group string) (*Listener, error) {
	if err := CheckSocket(path); err != nil {
		return nil, err
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := socketDir(dir, gid, dir == filepath.Dir(DefaultSocket)); err != nil {
		return nil, err
	}
	lock, err := lockPath(path)
	if err != nil {
		return nil, err
	}
	u, err := bind(path, gid)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Listener{
		unix: u, lock: lock, path: path, group: gid, slots: make(chan struct{}, maxConns),
	}, nil
}

// CheckSocket checks a socket's path without a look at the file system.
func CheckSocket(path string) error {
	switch {
	case path == "":
		return &Error{Code: CodeBadRequest, Message: "control socket: empty path"}
	case len(path) > maxSocketPath:
		return &Error{
			Code: CodeBadRequest,
			Message: fmt.Sprintf("control socket: a path of %d bytes, at most %d fit", len(path),
				maxSocketPath),
		}
	case path[0] == '@':
		return &Error{
			Code: CodeBadRequest, Message: "control socket: abstract sockets have no permissions",
		}
	}
	return nil
}

// bind replaces what an earlier daemon left and gives the socket its owner before anybody can
// connect: that needs write permission, which the mask withholds until the end. The mask is the
// whole process's, which at this time, early in its start, makes no other files.
func bind(path string, gid int) (*net.UnixListener, error) {
	if st, err := os.Lstat(path); err == nil {
		if st.Mode().Type() != fs.ModeSocket {
			return nil, &Error{
				Code:    CodeInUse,
				Message: fmt.Sprintf("control socket %s: there is a file of another kind", path),
			}
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	mask := unix.Umask(0o777)
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if gid >= 0 {
		err = os.Lchown(path, -1, gid)
	}
	if err == nil {
		err = os.Chmod(path, socketMode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), u.Close())
	}
	return u, nil
}

// socketDir makes the directory if it is missing. One that is there is left as it is, unless it is
// our own: systemd makes that one, and does not know of the group.
func socketDir(dir string, gid int, own bool) error {
	err := os.Mkdir(dir, socketDirMode)
	if errors.Is(err, fs.ErrExist) {
		if !own {
			return nil
		}
		err = nil
	}
	if err == nil && gid >= 0 {
		err = os.Chown(dir, -1, gid)
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// lockPath claims the socket's path against other daemons.
func lockPath(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &Error{
			Code:    CodeInUse,
			Message: fmt.Sprintf("control socket %s: another daemon serves there", path),
			Next:    "stop it, or use another --socket",
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// groupID returns the number of a group, -1 for "".
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, &Error{
			Code: CodeBadRequest, Err: err,
			Message: fmt.Sprintf("group %q: there is none", clip(group)),
		}
	}
	return strconv.Atoi(g.Gid)
}

// Path returns where the socket is.
func (l *Listener) Path() string { return l.path }

// Addr makes the Listener a net.Listener.
func (l *Listener) Addr() net.Addr { return l.unix.Addr() }

// Accept returns the next connection once fewer than the most that may be open are.
func (l *Listener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.unix.AcceptUnix()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return c, nil
}

// released is told when a connection has been closed.
func (l *Listener) released() { <-l.slots }

// Close removes the socket and gives the path up.
func (l *Listener) Close() error { return errors.Join(l.unix.Close(), l.lock.Close()) }
