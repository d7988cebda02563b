package shard

import (
	"fmt"

	"unblend/placement"
	"unblend/ublk"
	"unblend/uring"
)

// device is a ublk device that the shard serves.
type device struct {
	slot    int
	queue   *ublk.Queue
	vol     *placement.Volume
	name    string    // of it, when it was attached
	ios     []ublk.IO // by tag: what it asks for
	shares  [classes]share
	drained chan struct{} // closed when the kernel has taken all tags back
}

// Device is the handle of a served device.
type Device struct {
	set *Shards
	s   *Shard
	d   *device
}

// Serve begins to answer the requests of dev from vol, which no other device has, on the shard that
// has the fewest. When it returns, all tags are offered to the kernel: the device can be started, or
// its recovery ended, by another thread. Requests may come before that has returned: Linux 6.12 reads
// the partition table while a device starts.
func (s *Shards) Serve(dev *ublk.Device, vol *placement.Volume) (*Device, error) {
	sh := s.all[s.home()]
	var d *device
	var err error
	name := ""
	e := s.Do(func() {
		name = vol.Name()
		s.pool.Home(vol, sh.id)
	})
	if e == nil {
		e = sh.on(func() { d, err = sh.serve(dev, vol, name) })
	}
	if e == nil && err != nil {
		e = fmt.Errorf("%s: %w", placement.Object(name), err)
	}
	if e != nil {
		s.left(sh.id)
		return nil, e
	}
	return &Device{s, sh, d}, nil
}

func (s *Shard) serve(dev *ublk.Device, vol *placement.Volume, name string) (*device, error) {
	depth := dev.Info.Depth
	d := &device{
		slot: s.freeSlot(), vol: vol, name: name, ios: make([]ublk.IO, depth), drained: make(chan struct{}),
	}
	s.setShares(d, depth)
	var err error
	data := uint64(kindQueue)<<kindShift | uint64(d.slot)<<slotShift
	if d.queue, err = ublk.NewQueue(s.ring, dev, 0, data); err != nil {
		return nil, err
	}
	s.devices[d.slot] = d
	if err := d.queue.Fetch(); err != nil {
		// Some tags may have been fetched, and completions of them may come: the device keeps
		// its place, and with it the thread.
		s.check(err)
		return nil, err
	}
	return d, nil
}

// setShares gives a device its part of every class.
func (s *Shard) setShares(d *device, depth int) {
	for i := range d.shares {
		d.shares[i] = share{
			dev: d, class: &s.classes[i], tags: fifo{tags: make([]uint16, depth)},
		}
	}
}

// freeSlot returns a free place in the table of devices.
func (s *Shard) freeSlot() int {
	for i, d := range s.devices {
		if d == nil {
			return i
		}
	}
	s.devices = append(s.devices, nil)
	return len(s.devices) - 1
}

// queueEvent takes a completion of a device's queue.
func (s *Shard) queueEvent(d *device, c uring.CQE) {
	io, ok, err := d.queue.Next(c)
	if err != nil {
		s.fault(d, err)
	}
	if ok {
		s.arrived(d, io)
		return
	}
	if d.queue.Drained() {
		close(d.drained)
	}
}

// fault reports what went wrong with one device.
func (s *Shard) fault(d *device, err error) {
	if s.cfg.Fault != nil {
		s.cfg.Fault(fmt.Errorf("%s: %w", placement.Object(d.name), err))
	}
}

// Drained is closed when the device has stopped and the kernel has taken all its tags back.
func (d *Device) Drained() <-chan struct{} { return d.d.drained }

// Close forgets a drained device.
func (d *Device) Close() error {
	var err error
	if e := d.s.on(func() {
		if err = d.d.queue.Close(); err == nil {
			d.s.devices[d.d.slot] = nil
		}
	}); e != nil {
		return e
	}
	if err == nil {
		d.set.left(d.s.id)
	}
	return err
}
