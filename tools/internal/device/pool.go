package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/units"
)

// Pool is the devices of one pool, claimed. On a pool of one device both entries are the same; with
// PoolOptions.WithoutLog the fast one is nil.
type Pool struct {
	Label   placement.Label // the newest that was found
	Devices [log.Devs]*Device
}

// PoolOptions say how OpenPool goes about it.
type PoolOptions struct {
	ReadOnly   bool          // for check: nobody else writes meanwhile either
	WithoutLog bool          // leave the fast device alone, which may be lost
	Unlabelled bool          // of two that are named, one may have no label: check looks whose it is
	Wait       time.Duration // how long to try again while a device is in use
	Waiting    func(error)   // called once before that
}

// OpenPool claims the devices of a pool. paths names one of them, or both in any order: labels say
// which is which. The other device of a pool of two is looked for among this machine's block
// devices. Nothing is written. Errors: those of opening; placement.ErrNotPool, ErrVersion and
// ErrDamaged of a label; ErrSwapped when the devices do not belong together; ErrMissingDevice when
// the second cannot be found.
func OpenPool(paths []string, opt PoolOptions) (*Pool, error) {
	return machine.openPool(paths, opt)
}

// Disks returns the devices as the engine takes them.
func (p *Pool) Disks() placement.Disks {
	var d placement.Disks
	for i, dev := range p.Devices {
		if dev != nil { // a nil *Device would be a Disk that is there
			d[i] = dev
		}
	}
	return d
}

// One reports whether one device is the whole pool.
func (p *Pool) One() bool { return p.Devices[log.Fast] == p.Devices[log.Capacity] }

// Close gives the devices up.
func (p *Pool) Close() error {
	var errs []error
	for i, d := range p.Devices {
		if d != nil && !slices.Contains(p.Devices[:i], d) {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

func (h host) openPool(paths []string, opt PoolOptions) (*Pool, error) {
	p := &Pool{}
	var stray *Device // its label is damaged
	var why error
	for _, path := range paths {
		d, err := p.add(path, opt)
		switch {
		case err == nil:
		case d != nil && stray == nil && len(paths) == len(p.Devices):
			stray, why = d, err
		case d != nil:
			return nil, errors.Join(err, d.Close(), stray.closeIfAny(), p.Close())
		default:
			return nil, errors.Join(err, stray.closeIfAny(), p.Close())
		}
	}
	if stray != nil && !p.adopt(stray) {
		return nil, errors.Join(why, stray.Close(), p.Close())
	}
	if err := h.complete(p, paths[0], opt); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (d *Device) closeIfAny() error {
	if d == nil {
		return nil
	}
	return d.Close()
}

// add claims one device and puts it where its label says. If the label is damaged, the device is
// returned with the error and is the caller's.
func (p *Pool) add(path string, opt PoolOptions) (*Device, error) {
	mode := unix.O_RDWR
	if opt.ReadOnly {
		mode = unix.O_RDONLY
	}
	d, err := openWaiting(path, mode, opt.Wait, opt.Waiting)
	if err != nil {
		return nil, err
	}
	l, err := ReadLabel(d)
	if err == nil {
		err = p.place(d, l)
	}
	switch {
	case errors.Is(err, placement.ErrDamaged), opt.Unlabelled && errors.Is(err, placement.ErrNotPool):
		return d, fmt.Errorf("%s: %w", path, err)
	case err != nil:
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), d.Close())
	}
	return nil, nil
}

// adopt puts a device whose label is damaged in the one place that is left, if the other device's
// label says that the pool has two.
func (p *Pool) adopt(stray *Device) bool {
	for i, d := range p.Devices {
		other := p.Devices[len(p.Devices)-1-i]
		if d == nil && other != nil {
			p.Devices[i] = stray
			return true
		}
	}
	return false
}

// place puts a device where its label says.
func (p *Pool) place(d *Device, l *placement.Label) error {
	for i, other := range p.Devices {
		switch {
		case other == nil:
		case p.Label.Pool != l.Pool:
			return fmt.Errorf("of another pool than %s: %w", other.Path(), placement.ErrSwapped)
		case l.Role&(1<<i) != 0:
			return fmt.Errorf("the %s device, which %s is too: %w", l.Role, other.Path(),
				placement.ErrSwapped)
		}
	}
	for i := range p.Devices {
		if l.Role&(1<<i) != 0 {
			p.Devices[i] = d
		}
	}
	if l.Sequence >= p.Label.Sequence {
		p.Label = *l
	}
	return nil
}

// complete finds what the paths did not name, or leaves out what is not wanted.
func (h host) complete(p *Pool, path string, opt PoolOptions) error {
	fast, capacity := p.Devices[log.Fast], p.Devices[log.Capacity]
	switch {
	case opt.WithoutLog && fast != nil && fast == capacity:
		return fmt.Errorf("%s: the pool has one device, its log is not apart from its data: %w",
			path, placement.ErrConfig)
	case opt.WithoutLog && capacity != nil:
		p.Devices[log.Fast] = nil
		if fast != nil {
			return fast.Close()
		}
		return nil
	case fast == nil:
		return h.find(p, log.Fast, opt)
	case capacity == nil:
		return h.find(p, log.Capacity, opt)
	}
	return nil
}

// find looks for the missing device of a pool of two.
func (h host) find(p *Pool, missing log.Dev, opt PoolOptions) error {
	for _, path := range h.blockDevices() {
		l, err := peekLabel(path)
		if err != nil || l.Pool != p.Label.Pool || l.Role != 1<<missing ||
			l.Devices[missing] != p.Label.Devices[missing] {
			continue
		}
		if d, err := p.add(path, opt); err != nil {
			return errors.Join(err, d.closeIfAny())
		}
		if opt.WithoutLog {
			return h.complete(p, path, opt)
		}
		return nil
	}
	return fmt.Errorf("pool %s: the %s device is not among this machine's block devices: %w",
		units.FormatUUID(p.Label.Pool), missing, placement.ErrMissingDevice)
}

// blockDevices lists the machine's block devices that could belong to a pool. Guests' disks could
// only belong to a guest's pool.
func (h host) blockDevices() []string {
	entries, err := os.ReadDir(filepath.Join(h.sys, "class/block"))
	if err != nil {
		return nil // no sysfs: the other device must be named
	}
	var paths []string
	for _, e := range entries {
		size := readInt(filepath.Join(h.sys, "class/block", e.Name()), "size")
		if size > 0 && !strings.HasPrefix(e.Name(), "ublkb") {
			name := strings.ReplaceAll(e.Name(), "!", "/") // as in cciss!c0d0
			paths = append(paths, filepath.Join(h.dev, name))
		}
	}
	return paths
}

// peekLabel reads the label of a device without a claim.
func peekLabel(path string) (*placement.Label, error) {
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return nil, pathError(path, err)
	}
	d := &Device{info: Info{Path: path}, fd: fd}
	size, err := deviceSize(fd)
	d.setSize(size)
	var l *placement.Label
	if err == nil {
		l, err = ReadLabel(d)
	}
	return l, errors.Join(err, d.Close())
}

// ReadLabel returns the pool's label on a device: in the first block or, of a pool of one device
// whose first block is lost, in the last. Errors: placement.ErrNotPool, ErrVersion, ErrDamaged, or
// those of reading.
func ReadLabel(d *Device) (*placement.Label, error) {
	last := d.Size() - log.BlockSize
	if last < 0 {
		return nil, placement.ErrNotPool
	}
	block := alignedBytes(log.BlockSize)
	best := placement.ErrNotPool
	for _, at := range []struct {
		dev log.Dev
		off int64
	}{{log.Fast, 0}, {log.Capacity, 0}, {log.Capacity, last}} {
		err := d.ReadAt(block, at.off)
		var l *placement.Label
		if err == nil {
			l, err = placement.DecodeLabel(block, at.dev, at.off)
		}
		switch {
		case err == nil:
			return l, nil
		case errors.Is(best, placement.ErrNotPool), errors.Is(err, placement.ErrVersion):
			best = err
		}
	}
	return nil, best
}
