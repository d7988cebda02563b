package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"unblend/tools/internal/control"
	"unblend/ublk"
)

// linksClaim holds the directory of links against other daemons: one serves a host.
type linksClaim struct {
	dir  string
	file *os.File
}

// claimLinks makes the directory and claims it.
func claimLinks(dir string) (*linksClaim, error) {
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("links to devices: %w", err)
		}
		f, err := os.Open(dir)
		if err != nil {
			return nil, fmt.Errorf("links to devices: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = &control.Error{
				Code: control.CodeInUse, Next: "stop it first",
				Message: fmt.Sprintf("%s: another daemon serves this host", dir),
			}
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if isAt(f, dir) {
			return &linksClaim{dir, f}, nil
		}
		_ = f.Close() // a daemon that ended has just removed it
	}
}

// isAt reports whether f is still what path names.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// release gives the directory up, and removes it if nothing is in it.
func (c *linksClaim) release() {
	_ = os.Remove(c.dir)
	_ = c.file.Close()
}

// linkPath returns the path under which guests find a volume or snapshot.
func (d *daemon) linkPath(name string) string { return filepath.Join(d.cfg.LinkDir, name) }

// link makes a name point at a device. No name begins with a dot. What writes to a path creates a file
// where there is no device yet, and the kernel then makes none: guests would write into memory.
func (d *daemon) link(name string, id uint32) error {
	info, err := os.Stat(ublk.BlockPath(id))
	if err == nil && info.Mode()&os.ModeDevice == 0 {
		return &control.Error{
			Code: control.CodeInUse, Next: "rm " + ublk.BlockPath(id),
			Message: fmt.Sprintf("%s: %s is a file, not a device", control.Object(name), ublk.BlockPath(id)),
		}
	}
	tmp := filepath.Join(d.cfg.LinkDir, "."+name)
	_ = os.Remove(tmp) // of a daemon that was killed here
	if err := os.Symlink(ublk.BlockPath(id), tmp); err != nil {
		return fmt.Errorf("%s: %w", control.Object(name), err)
	}
	if err := os.Rename(tmp, d.linkPath(name)); err != nil {
		return fmt.Errorf("%s: %w", control.Object(name), err)
	}
	return nil
}

// unlink removes a name.
func (d *daemon) unlink(name string) { _ = os.Remove(d.linkPath(name)) }

// sweepLinks removes the links that lead to ublk devices and are nobody's.
func (d *daemon) sweepLinks() {
	entries, err := os.ReadDir(d.cfg.LinkDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(d.cfg.LinkDir, e.Name())
		target, err := os.Readlink(path)
		if err == nil && strings.HasPrefix(target, "/dev/ublkb") && d.servedVolume(e.Name()) == nil {
			_ = os.Remove(path)
		}
	}
}
