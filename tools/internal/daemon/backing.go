package daemon

import (
	"errors"
	"fmt"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
)

// openBacking claims the devices of the pool, waiting for the last requests of a daemon that was
// killed: those that were named, and the other one of two.
func (d *daemon) openBacking() (*device.Pool, error) {
	if err := distinct(d.cfg.Paths); err != nil {
		return nil, err
	}
	begin := time.Now()
	b, err := device.OpenPool(d.cfg.Paths, device.PoolOptions{
		WithoutLog: d.cfg.WithoutLog, Wait: d.cfg.Wait,
		Waiting: func(err error) {
			d.notify.status("waiting for a device: " + err.Error())
			d.log.Info("waiting for a device", "err", err, "at most", d.cfg.Wait)
		},
	})
	if took := time.Since(begin); took > time.Second {
		d.log.Info("claimed the devices", "took", took.Round(time.Millisecond), "err", err)
	}
	return b, d.advise(err)
}

// advise adds to an error what to do about it.
func (d *daemon) advise(err error) error {
	e := &control.Error{Err: err}
	switch {
	case errors.Is(err, placement.ErrMissingDevice):
		e.Code = control.CodeDegraded
		e.Next = "connect it, or name both devices: unblend serve DEV DEV"
		if !d.cfg.WithoutLog {
			e.Next += "; if it is the log device and lost, open the last checkpoint read-only: " +
				"unblend serve DATA-DEV --without-log"
		}
	case errors.Is(err, placement.ErrDamaged) && len(d.cfg.Paths) == 1:
		e.Code = control.CodeDamaged
		e.Next = "if the pool has two devices, name both: the labels repair each other"
	default:
		return err
	}
	e.Message = err.Error()
	return e
}

// distinct refuses a device that is named twice.
func distinct(paths []string) error {
	if len(paths) < 2 {
		return nil
	}
	a, errA := device.Stat(paths[0])
	b, errB := device.Stat(paths[1])
	if errA == nil && errB == nil && a.Number == b.Number {
		return &control.Error{
			Code:    control.CodeBadRequest,
			Message: fmt.Sprintf("%s and %s are the same", paths[0], paths[1]),
		}
	}
	return nil
}

// eachDevice calls f for every device of the pool, once.
func eachDevice(b *device.Pool, f func(*device.Device) error) error {
	var errs []error
	for i, dev := range b.Devices {
		if dev != nil && (i == 0 || dev != b.Devices[0]) {
			errs = append(errs, f(dev))
		}
	}
	return errors.Join(errs...)
}

// paths names the devices for people.
func paths(b *device.Pool) string {
	s := ""
	_ = eachDevice(b, func(d *device.Device) error {
		if s != "" {
			s += " and "
		}
		s += d.Path()
		return nil
	})
	return s
}

// files returns the descriptors for the loop.
func files(b *device.Pool) (fds [log.Devs]int) {
	for i, dev := range b.Devices {
		fds[i] = -1
		if dev != nil {
			fds[i] = dev.FD()
		}
	}
	return fds
}

// maxBlocks returns how many blocks the devices take in one request.
func maxBlocks(b *device.Pool) (n [log.Devs]int) {
	for i, dev := range b.Devices {
		if dev != nil {
			n[i] = dev.Info().MaxBlocks
		}
	}
	return n
}
