package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/shard"
	"unblend/ublk"
)

const (
	// commandTime is how long a control command of the driver may take before it counts as lost.
	commandTime = 30 * time.Second
	// stopTime is how long a device may take to end its requests when it is stopped.
	stopTime = 60 * time.Second
	// deleteTime is how long a stopped device may stay because somebody has it open. It goes by
	// itself when they close it.
	deleteTime = 5 * time.Second
	// requestTime is how long something small may take that the daemon does on its way out.
	requestTime = 5 * time.Second

	// discardMax bounds one discard, so that none takes long in the index.
	discardMax = 128 << 20

	defaultDepth = 128
	maxNumbers   = 64 // tries to find a free device number
)

// served is an attached volume or snapshot: a ublk device and its queue on the shard.
type served struct {
	name     string
	dev      *ublk.Device
	loop     *shard.Device
	readOnly bool
	size     int64 // that the device shows, in bytes; guarded by daemon.mu
}

func (s *served) id() uint32 { return s.dev.Info.ID }

// servedVolume returns the attachment of a volume, or nil.
func (d *daemon) servedVolume(name string) *served {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.served[name]
}

// servedVolumes returns all attachments.
func (d *daemon) servedVolumes() []*served {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*served, 0, len(d.served))
	for _, s := range d.served {
		list = append(list, s)
	}
	return list
}

// takeNumber reserves a device number that no device has: the wanted one if possible, else the
// lowest. It stays reserved, for the volume's whole time as attached, until giveNumber.
func (d *daemon) takeNumber(name string, want int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := func(n int) bool {
		owner, taken := d.numbers[n]
		if taken {
			return owner == name && !deviceExists(n)
		}
		return !deviceExists(n)
	}
	n := want
	if n < 0 || !free(n) {
		for n = 0; !free(n); n++ {
		}
	}
	d.numbers[n] = name
	return n
}

func (d *daemon) giveNumber(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.numbers, n)
}

// deviceExists reports whether there is a ublk device with a number, whoever serves it.
func deviceExists(n int) bool {
	_, err := os.Stat(fmt.Sprintf("/sys/class/ublk-char/ublkc%d", n))
	return err == nil
}

// params describes a volume's disk to the kernel.
func (d *daemon) params(v placement.VolumeInfo) ublk.Params {
	relaxed := d.durability == placement.DurabilityFlush
	return ublk.Params{
		Size: v.Size, LogicalBlock: placement.SectorSize, PhysicalBlock: log.BlockSize,
		IOMin: log.BlockSize, IOOpt: 64 << 10, MaxIO: placement.MaxIO, ReadOnly: v.ReadOnly,
		VolatileCache: relaxed, FUA: relaxed,
		DiscardGranularity: log.BlockSize, MaxDiscard: discardMax, MaxWriteZeroes: discardMax,
	}
}

// attach gives a volume a device, with the number want if that is free. The caller holds the
// volume's name.
func (d *daemon) attach(ctx context.Context, v placement.VolumeInfo, want int) (*served, error) {
	ctl, err := d.driver()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", control.Object(v.Name), err)
	}
	for range maxNumbers {
		id := d.takeNumber(v.Name, want)
		var s *served
		if s, err = d.attachAs(ctx, ctl, v, id); err == nil {
			return s, nil
		}
		d.giveNumber(id)
		if !errors.Is(err, syscall.EEXIST) {
			break // else somebody has taken the number meanwhile
		}
		want = -1
	}
	return nil, err
}

// attachAs notes the number in the catalogue, makes the device and serves it.
func (d *daemon) attachAs(ctx context.Context, ctl *ublk.Control, v placement.VolumeInfo, id int) (
	*served, error,
) {
	vol, err := d.mark(ctx, v, id)
	if err != nil {
		return nil, err
	}
	info, err := ctl.Add(ublk.DeviceConfig{
		ID: id, Depth: v.QueueDepth, MaxIO: placement.MaxIO, Want: ublk.NoAutoPartScan,
	}, commandTime)
	if err != nil {
		return nil, fmt.Errorf("%s: add device %d: %w", control.Object(v.Name), id, err)
	}
	s, err := d.bringUp(ctl, v, vol, info)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: device %d: %w", control.Object(v.Name), id, err),
			ctl.Delete(info.ID, commandTime))
	}
	return s, nil
}

// mark notes in the catalogue that the volume's device has a number. Without the log nothing is
// noted, and the device goes with the daemon.
func (d *daemon) mark(ctx context.Context, v placement.VolumeInfo, id int) (*placement.Volume, error) {
	if d.cfg.WithoutLog || v.Attached && int(v.Device) == id {
		return d.shards.Volume(v.Name)
	}
	c := &placement.Control{
		Op: placement.AttachVolume, Name: v.Name, Device: int32(id), QueueDepth: v.QueueDepth,
		ReadOnly: v.ReadOnly,
	}
	err := d.shards.Control(ctx, c)
	return c.Vol, err
}

// bringUp describes, serves and starts a device that was added.
func (d *daemon) bringUp(ctl *ublk.Control, v placement.VolumeInfo, vol *placement.Volume,
	info ublk.Info,
) (*served, error) {
	if err := ctl.SetParams(info, d.params(v), commandTime); err != nil {
		return nil, err
	}
	s, err := d.serve(v, vol, info, v.Size)
	if err != nil {
		return nil, err
	}
	if err := ctl.Start(info.ID, commandTime); err != nil {
		return nil, errors.Join(err, ctl.Stop(info.ID, stopTime), d.drop(s))
	}
	if err := ublk.TuneDisk(info); err != nil {
		// It works without, but slower, and on 6.12 guests may wait 30 s after a kill.
		d.log.Warn("disk is not tuned", "volume", v.Name, "err", err)
	}
	if err := d.enter(s); err != nil {
		return nil, errors.Join(err, ctl.Stop(info.ID, stopTime), d.drop(s))
	}
	return s, nil
}

// serve opens a device, which shows a size in bytes, and puts its queue on the shard.
func (d *daemon) serve(v placement.VolumeInfo, vol *placement.Volume, info ublk.Info, size int64) (
	*served, error,
) {
	dev, err := ublk.OpenDevice(info, commandTime)
	if err != nil {
		return nil, err
	}
	loop, err := d.shards.Serve(dev, vol)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &served{name: v.Name, dev: dev, loop: loop, readOnly: v.ReadOnly, size: size}, nil
}

// enter makes the volume's name point at its device, which is live.
func (d *daemon) enter(s *served) error {
	if err := d.link(s.name, s.id()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.served[s.name] = s
	return nil
}

// drop takes a device that has ended off the shard.
func (d *daemon) drop(s *served) error {
	select {
	case <-s.loop.Drained():
	case <-time.After(stopTime):
		return fmt.Errorf("device %d does not end: %w", s.id(), ublk.ErrTimeout)
	}
	return errors.Join(s.loop.Close(), s.dev.Close())
}

// inUse returns who has a volume's device open, as a refusal of verb; nil if nobody has.
func (d *daemon) inUse(s *served, verb string) error {
	users, err := device.Users(ublk.BlockPath(s.id()))
	if err != nil || len(users) == 0 {
		return err
	}
	return refuseUse(s.name, users, verb)
}

// refuseUse is the refusal of a verb because of who uses a device. rollback cannot be forced: whoever
// has the disk open would go on with what it knows of the former content.
func refuseUse(name string, users []string, verb string) error {
	next := "stop that first"
	if verb != verbRollback {
		next = fmt.Sprintf("stop that, or: unblend %s --force %s", verb, name)
	}
	return &control.Error{
		Code:    control.CodeInUse,
		Message: fmt.Sprintf("%s is %s", control.Object(name), strings.Join(users, ", ")),
		Next:    next,
	}
}

// takeDown stops a volume's device and removes it. Unless forced it refuses while somebody has it
// open. Verb is what was asked for.
func (d *daemon) takeDown(s *served, force bool, verb string) error {
	ctl, err := d.driver()
	if err != nil {
		return err
	}
	if !force {
		if err := d.inUse(s, verb); err != nil {
			return err
		}
	}
	d.unlink(s.name)
	if err := d.stopDevice(ctl, s, force); err != nil {
		if errors.Is(err, ublk.ErrBusy) {
			err = errors.Join(d.inUse(s, verb), err)
		}
		return errors.Join(fmt.Errorf("%s: %w", control.Object(s.name), err), d.link(s.name, s.id()))
	}
	d.mu.Lock()
	delete(d.served, s.name)
	d.mu.Unlock()
	if err := d.drop(s); err != nil {
		return fmt.Errorf("%s: %w", control.Object(s.name), err)
	}
	err = ctl.Delete(s.id(), deleteTime)
	if errors.Is(err, ublk.ErrTimeout) {
		d.log.Warn("device goes when it is closed", "volume", s.name, "device", s.id())
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", control.Object(s.name), err)
	}
	d.giveNumber(int(s.id()))
	return nil
}

// stopDevice ends the disk. Since 7.0 the kernel itself can see to it that nobody has it open.
func (d *daemon) stopDevice(ctl *ublk.Control, s *served, force bool) error {
	d.mu.Lock()
	safe := d.features.Has(ublk.SafeStopDev)
	d.mu.Unlock()
	if safe && !force {
		return ctl.TryStop(s.id(), stopTime)
	}
	return ctl.Stop(s.id(), stopTime)
}
