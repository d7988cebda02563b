package ublk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// State is the life cycle of a device in the kernel.
type State uint16

// The states of a device.
const (
	Dead     State = 0 // added or stopped: there is no disk
	Live     State = 1
	Quiesced State = 2 // its server is gone; requests wait for the next one
	FailIO   State = 3 // 6.13: its server is gone; requests fail
)

func (s State) String() string {
	if names := [...]string{"dead", "live", "quiesced", "fail-io"}; int(s) < len(names) {
		return names[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// Info is what the kernel says of a device.
type Info struct {
	ID     uint32
	Queues int
	Depth  int // requests per queue
	State  State
	MaxIO  int // largest read or write, bytes
	PID    int // of the server, -1 when there is none
	Flags  Features
}

// AnyID asks for a device number of the kernel's choice.
const AnyID = -1

// DeviceConfig is how a device is added.
type DeviceConfig struct {
	ID     int      // number of the device, or AnyID
	Queues int      // default 1; the kernel gives no more than there are CPUs
	Depth  int      // requests per queue, default 128
	MaxIO  int      // largest read or write in bytes, default 1 MiB
	Want   Features // what the device should have where the kernel has it, beside Required
}

func (d DeviceConfig) encode() devInfo {
	def := func(n, def int) int {
		if n == 0 {
			return def
		}
		return n
	}
	id := uint32(anyDevice)
	if d.ID >= 0 {
		id = uint32(d.ID)
	}
	return devInfo{
		nrHWQueues:    uint16(def(d.Queues, 1)),
		queueDepth:    uint16(def(d.Depth, 128)),
		maxIOBufBytes: uint32(def(d.MaxIO, 1<<20)),
		devID:         id,
		flags:         uint64(Required | d.Want),
	}
}

func decodeInfo(d *devInfo) Info {
	return Info{
		ID: d.devID, Queues: int(d.nrHWQueues), Depth: int(d.queueDepth), State: State(d.state),
		MaxIO: int(d.maxIOBufBytes), PID: int(d.ublksrvPID), Flags: Features(d.flags),
	}
}

// Features returns what the driver knows. Needs Linux 6.5.
func (c *Control) Features(timeout time.Duration) (Features, error) {
	var f Features
	cmd := with(newCommand("features", cmdGetFeatures, anyDevice), &f)
	cmd.since = "6.5"
	err := c.run(cmd, timeout)
	return f, err
}

// Add makes a device: /dev/ublkcN appears, the disk only with Start. The result says what the
// kernel granted; when that is less than Required, the device is deleted again and the error is
// an *UnsupportedError.
func (c *Control) Add(d DeviceConfig, timeout time.Duration) (Info, error) {
	raw := d.encode()
	if err := c.run(with(newCommand("add", cmdAddDev, raw.devID), &raw), timeout); err != nil {
		return Info{}, err
	}
	info := decodeInfo(&raw)
	if err := info.Flags.Require(Required); err != nil {
		return Info{}, errors.Join(err, c.Delete(info.ID, timeout))
	}
	return info, nil
}

// SetParams describes the disk. It is possible before Start only (EACCES later).
func (c *Control) SetParams(info Info, p Params, timeout time.Duration) error {
	p = p.withDefaults(info.MaxIO)
	if err := p.validate(info.MaxIO); err != nil {
		return err
	}
	raw := p.encode()
	return c.run(with(newCommand("set-params", cmdSetParams, info.ID), &raw), timeout)
}

// Params returns the description of the disk.
func (c *Control) Params(id uint32, timeout time.Duration) (Params, error) {
	raw := rawParams{len: uint32(unsafe.Sizeof(rawParams{}))}
	err := c.run(with(newCommand("get-params", cmdGetParams, id), &raw), timeout)
	return decodeParams(&raw), err
}

// Info returns what the kernel says of a device.
func (c *Control) Info(id uint32, timeout time.Duration) (Info, error) {
	var raw devInfo
	err := c.run(with(newCommand("info", cmdGetDevInfo, id), &raw), timeout)
	return decodeInfo(&raw), err
}

// Start makes the disk /dev/ublkbN. It waits until every tag of every queue was fetched by this
// process, and may need the queue to answer reads of the partition table meanwhile: do not call it
// on a queue's thread.
func (c *Control) Start(id uint32, timeout time.Duration) error {
	cmd := newCommand("start", cmdStartDev, id)
	cmd.hdr.data = uint64(os.Getpid()) // 7.0 and later compare it with who opened /dev/ublkcN
	return c.run(cmd, timeout)
}

// Stop removes the disk: requests under way end, later ones fail, and then the queues' tags
// complete with -ENODEV. It waits for the former, so not on a queue's thread.
func (c *Control) Stop(id uint32, timeout time.Duration) error {
	return c.run(newCommand("stop", cmdStopDev, id), timeout)
}

// TryStop is Stop unless somebody has the disk open (ErrBusy). Needs Linux 7.0.
func (c *Control) TryStop(id uint32, timeout time.Duration) error {
	cmd := newCommand("try-stop", cmdTryStopDev, id)
	cmd.since = SafeStopDev.Since()
	return c.run(cmd, timeout)
}

// Delete removes the device, stopping it first if need be, and waits until nobody has /dev/ublkcN
// or /dev/ublkbN open. After a timeout the device goes away by itself when they are closed.
func (c *Control) Delete(id uint32, timeout time.Duration) error {
	return c.run(newCommand("delete", cmdDelDev, id), timeout)
}

// UpdateSize changes a live device's size in bytes. Needs Linux 6.16.
func (c *Control) UpdateSize(id uint32, size int64, timeout time.Duration) error {
	cmd := newCommand("update-size", cmdUpdateSize, id)
	cmd.since = UpdateSize.Since()
	cmd.hdr.data = uint64(size) >> sectorShift
	return c.run(cmd, timeout)
}

// Quiesce detaches the server of a device that was added with the feature Quiesce (6.16): new
// requests wait in the kernel, and tags that wait for one complete with -ENODEV. The kernel fails
// with ErrBusy when a queue has no such tag within wait. The device becomes Quiesced when the
// server has answered what it holds, and has closed its ring and /dev/ublkcN.
func (c *Control) Quiesce(id uint32, wait, timeout time.Duration) error {
	cmd := newCommand("quiesce", cmdQuiesceDev, id)
	cmd.since = Quiesce.Since()
	cmd.hdr.data = uint64(max(wait.Milliseconds(), 1))
	return c.run(cmd, timeout)
}

// recoveryPoll is how often StartRecovery looks whether the former server is gone.
const recoveryPoll = 2 * time.Millisecond

// StartRecovery prepares a device whose server died for a new one. It waits until the kernel has
// done away with the former one, whose files may still be closing. Then the device is to be opened
// and fetched. A device whose server lives yields ErrBusy after timeout, one that was never
// started ErrDead.
func (c *Control) StartRecovery(id uint32, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		cmd := newCommand("start-recovery", cmdStartRecovery, id)
		err := c.run(cmd, time.Until(deadline))
		busy := errors.Is(err, ErrBusy)
		if !busy && !errors.Is(err, syscall.EINVAL) {
			return err
		}
		info, err2 := c.Info(id, timeout)
		switch {
		case err2 != nil:
			return errors.Join(err, err2)
		case info.State == Dead:
			return cmd.wrap(ErrDead)
		case !busy && info.State == Quiesced && info.Flags.Has(UserRecovery):
			// 6.12 refuses to start the same recovery twice. The first one did the work, and
			// its server died before it fetched.
			return nil
		case !busy || time.Until(deadline) < recoveryPoll:
			return err
		}
		time.Sleep(recoveryPoll)
	}
}

// EndRecovery makes a recovered device live: requests that waited, and those the former server had
// not answered, arrive. It waits for the fetches as Start does.
func (c *Control) EndRecovery(id uint32, timeout time.Duration) error {
	cmd := newCommand("end-recovery", cmdEndRecovery, id)
	cmd.hdr.data = uint64(os.Getpid())
	return c.run(cmd, timeout)
}

// QueueCPUs returns the CPUs whose requests go to a queue.
func (c *Control) QueueCPUs(id uint32, queue int, timeout time.Duration) ([]int, error) {
	var mask [ctrlBufSize / 8]uint64
	cmd := with(newCommand("queue-affinity", cmdGetQueueAffinity, id), &mask)
	cmd.hdr.data = uint64(queue)
	if err := c.run(cmd, timeout); err != nil {
		return nil, err
	}
	var cpus []int
	for cpu := range len(mask) * 64 {
		if mask[cpu/64]>>(cpu%64)&1 != 0 {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// Devices returns every ublk device of the machine, by number, whoever serves it.
func (c *Control) Devices(timeout time.Duration) ([]Info, error) {
	names, err := filepath.Glob("/sys/class/ublk-char/ublkc*")
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(name), "ublkc"), 10, 32)
		if err != nil {
			continue
		}
		info, err := c.Info(uint32(n), timeout)
		if errors.Is(err, ErrNoDevice) {
			continue // it went away meanwhile
		}
		if err != nil {
			return list, err
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b Info) int { return int(a.ID) - int(b.ID) })
	return list, nil
}
