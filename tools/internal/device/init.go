package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// InitOptions say how far OpenForInit may go.
type InitOptions struct {
	Force  bool  // wipe what the device holds; never helps against ErrInUse
	Create int64 // size in bytes of the file to create, or to make an empty one; 0: must be there
	Sparse bool  // do not reserve the file's space on its file system
}

// OpenForInit claims the device or file that is to become part of a pool. Unless opt.Force, it
// refuses what holds data (ErrHoldsData): a device with a known signature, a file with any byte
// that is not zero. A file that does not exist is created with opt.Create bytes, all reserved
// unless opt.Sparse. What exists is not changed before Prepare. Other errors: ErrNoDevice,
// ErrPermission, ErrInUse, ErrUnsuitable, ErrNoSpace.
func OpenForInit(path string, opt InitOptions) (*Device, error) {
	return machine.openForInit(path, opt)
}

func (h host) openForInit(path string, opt InitOptions) (*Device, error) {
	info, x, err := h.stat(path)
	switch {
	case errors.Is(err, ErrNoDevice) && opt.Create > 0:
		return h.create(path, opt)
	case err != nil:
		return nil, err
	case info.Kind == BlockDevice && opt.Create > 0:
		return nil, unsuitable(path, "a block device has its own size")
	case info.Kind == RegularFile:
		if err := refuseSymlink(path); err != nil {
			return nil, err
		}
	}
	if by := h.writers(x); len(by) > 0 {
		return nil, &InUseError{Path: path, By: by}
	}
	d, err := h.open(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	d.init = opt
	if d.holds, err = d.contents(); err == nil && len(d.holds) > 0 && !opt.Force {
		err = &DataError{Path: path, Found: d.holds}
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// writers names the processes that have the device open for writing without having claimed it,
// such as a virtual machine on a raw partition.
func (h host) writers(x id) []string {
	var by []string
	for _, o := range h.openers(x) {
		if o.Writes {
			by = append(by, "open for writing by "+o.String())
		}
	}
	return by
}

// refuseSymlink keeps init, which root runs, from writing to a file that somebody else pointed the
// path at. Links to block devices, as in /dev/disk/by-id, are the rule and are followed.
func refuseSymlink(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return pathError(path, err)
	}
	if st.Mode()&os.ModeSymlink == 0 {
		return nil
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return pathError(path, err)
	}
	return unsuitable(path, "a symbolic link to a file, name "+target+" itself")
}

// create makes a new file. O_EXCL fails on anything that has appeared there meanwhile, symbolic
// links included.
func (h host) create(path string, opt InitOptions) (*Device, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_DIRECT|unix.O_CLOEXEC,
		0o600)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%s: directory: %w", filepath.Dir(path), ErrNoDevice)
	} else if err != nil {
		if errors.Is(err, unix.EINVAL) { // the file is there all the same
			err = errors.Join(h.openError(path, id{}, err), os.Remove(path))
			return nil, err
		}
		return nil, h.openError(path, id{}, err)
	}
	d := &Device{info: Info{Path: path}, fd: fd, created: true}
	info, x, err := h.stat(path)
	if err == nil {
		d.info = info
		err = h.claim(d, x, unix.O_RDWR)
	}
	if err == nil {
		err = d.resize(opt.Create, opt.Sparse)
	}
	if err != nil {
		return nil, errors.Join(err, d.Discard())
	}
	return d, nil
}

// Holds lists what OpenForInit found on the device and was told to destroy.
func (d *Device) Holds() []Signature { return d.holds }

// Prepare destroys what the device holds and gives a file its size. Afterwards the device has
// nothing that could be taken for something else; nothing is durable yet.
func (d *Device) Prepare() error {
	switch {
	case d.created:
		return nil
	case d.info.Kind == BlockDevice:
		return d.wipe(d.holds)
	}
	size := d.init.Create
	if size == 0 {
		size = d.size
	}
	if len(d.holds) > 0 {
		if err := unix.Ftruncate(d.fd, 0); err != nil {
			return fmt.Errorf("%s: truncate: %w", d.info.Path, err)
		}
	}
	return d.resize(size, d.init.Sparse)
}

// contents lists what the device holds: signatures, and of a file any data at all.
func (d *Device) contents() ([]Signature, error) {
	found, err := Probe(reader{d}, d.info.Size)
	if err != nil || len(found) > 0 || d.info.Kind == BlockDevice {
		return found, err
	}
	off, err := d.firstData()
	if err != nil || off < 0 {
		return nil, err
	}
	return []Signature{{Name: "data of an unknown kind", Off: off, Len: 1}}, nil
}

// resize gives the file n bytes, a multiple of 4 KiB, and reserves them on its file system unless
// sparse: a pool that was promised its space must not find the file system full.
func (d *Device) resize(n int64, sparse bool) error {
	if err := d.truncate(n); err != nil {
		return err
	}
	d.setSize(n)
	if sparse || n == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return fmt.Errorf("%s: size: %w", d.info.Path, err)
	}
	return d.reserve(0, n, st.Blocks*512)
}
