package bpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// Device is the number of a whole disk as the kernel has it.
type Device uint32

// DeviceNumber returns the number of the disk with these two.
func DeviceNumber(major, minor uint32) Device { return Device(major<<20 | minor) }

// Hook is where a device's requests are seen: the same request may pass several devices that are
// stacked, and one device's twice.
type Hook uint32

// The hooks, as in blend.bpf.c.
const (
	AtIssue Hook = iota // as they are issued to the driver, after merging
	AtQueue             // as they are handed over: for devices without queues, such as dm and md
)

// Guest is the device of a volume.
type Guest struct {
	Device Device
	Hook   Hook
	Stream int   // FirstGuest or more
	Base   int64 // where the volume begins on the merged disk, in bytes
}

// Backing is a disk on which the pool, or a part of it, lies.
type Backing struct {
	Device  Device
	Hook    Hook
	Stream  int // of all that goes to the regions: FastDevice or CapacityDevice
	Regions []Region
}

// Region is a range of a disk, in bytes from its start, whose requests belong to one stream.
type Region struct {
	Start, End int64
	Stream     int
}

// halfRegions is how many regions there may be. The table has room for twice as many: the kernel
// looks into one half while the other one is written.
const halfRegions = 8192

// ErrTooManyRegions is returned for more regions than there is room for.
var ErrTooManyRegions = errors.New("too many pieces on the device")

// WatchGuest begins to count a guest's requests. What the stream has counted before, for another
// volume, is forgotten.
func (a *Analyzer) WatchGuest(g Guest) error {
	if g.Stream < FirstGuest || g.Stream >= FirstGuest+a.guests {
		return fmt.Errorf("stream %d: there is room for %d guests", g.Stream, a.guests)
	}
	if err := a.needs(g.Hook); err != nil {
		return err
	}
	index := uint32(g.Stream)
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	d := blendDevice{Base: sectors(g.Base), At: uint32(g.Hook), Stream: index}
	return errors.Join(
		a.objs.Streams.Update(index, blendStream{}, ebpf.UpdateLock),
		a.objs.Histograms.Put(index, make([]blendHistogram, cpus)),
		a.objs.Devices.Put(uint32(g.Device), d))
}

// ForgetGuest ends counting a guest's requests.
func (a *Analyzer) ForgetGuest(d Device) error {
	if err := a.objs.Devices.Delete(uint32(d)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// WatchBacking begins to count the requests of these disks and ends counting those of others that
// were named before.
func (a *Analyzer) WatchBacking(disks []Backing) error {
	next := (a.half + 1) % 2
	at := next * halfRegions
	end := at + halfRegions
	now := map[Device]bool{}
	for _, b := range disks {
		rs := slices.Clone(b.Regions)
		slices.SortFunc(rs, func(x, y Region) int { return int(min(1, max(-1, x.Start-y.Start))) })
		if at+uint32(len(rs)) > end {
			return ErrTooManyRegions
		}
		d := blendDevice{
			At: uint32(b.Hook), Stream: uint32(b.Stream), First: at, Regions: uint32(len(rs)),
		}
		for _, r := range rs {
			entry := blendRegion{
				Start: sectors(r.Start), End: sectors(r.End), Stream: uint32(r.Stream),
			}
			if err := a.objs.Regions.Put(at, entry); err != nil {
				return err
			}
			at++
		}
		if len(rs) == 0 {
			continue
		}
		if err := errors.Join(a.needs(b.Hook), a.objs.Devices.Put(uint32(b.Device), d)); err != nil {
			return err
		}
		now[b.Device] = true
	}
	for old := range a.backing {
		if !now[old] {
			if err := a.ForgetGuest(old); err != nil {
				return err
			}
		}
	}
	a.half, a.backing = next, now
	return nil
}

func sectors(bytes int64) uint64 { return uint64(bytes) / SectorSize }
