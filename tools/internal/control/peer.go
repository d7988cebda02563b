package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is who opened a connection, as the kernel recorded it then.
type Peer struct {
	PID    int32
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
}

type peerKey struct{}

// withPeer remembers the peer of a connection for its requests.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	p, err := peerOf(c)
	if err != nil {
		return ctx // no peer: every verb refuses
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// PeerOf returns who sent the request that ctx belongs to.
func PeerOf(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// peerOf asks the kernel for the peer's credentials (SO_PEERCRED) and groups (SO_PEERGROUPS).
func peerOf(c net.Conn) (Peer, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("connection of type %T: no credentials", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var asked error
	err = raw.Control(func(fd uintptr) { p, asked = credentials(fd) })
	return p, errors.Join(err, asked)
}

func credentials(fd uintptr) (Peer, error) {
	cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, err
	}
	groups, err := peerGroups(fd)
	return Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid, Groups: groups}, err
}

// peerGroups returns the supplementary groups of the peer.
func peerGroups(fd uintptr) ([]uint32, error) {
	for buf := make([]byte, 4*64); ; {
		n := uint32(len(buf))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
		switch {
		case errno == unix.ERANGE && int(n) > len(buf): // n is what it takes
			buf = make([]byte, n)
		case errno != 0:
			return nil, errno
		default:
			groups := make([]uint32, 0, n/4)
			for i := 0; i+4 <= int(n); i += 4 {
				groups = append(groups, binary.NativeEndian.Uint32(buf[i:]))
			}
			return groups, nil
		}
	}
}

// audience is whom a verb serves.
type audience uint8

const (
	members audience = iota // root, the daemon's own user, and the group
	owners                  // root and the daemon's own user
)

// admit returns nil if the verb serves the peer. group is negative when no group is let in.
func admit(p Peer, known bool, a audience, group int) error {
	own := p.UID == 0 || p.UID == uint32(os.Geteuid())
	member := group >= 0 && (p.GID == uint32(group) || slices.Contains(p.Groups, uint32(group)))
	switch {
	case known && own, known && member && a == members:
		return nil
	case !known:
		return &Error{Code: CodeDenied, Message: "control socket: the peer is not known"}
	case member:
		return &Error{Code: CodeDenied, Message: "this is for root alone", Next: "use sudo"}
	}
	return &Error{
		Code:    CodeDenied,
		Message: fmt.Sprintf("user %d may not control the daemon", p.UID),
		Next:    "use sudo, or let the user's group in with: unblend serve --socket-group",
	}
}
