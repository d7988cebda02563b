package daemon

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/shard"
	"unblend/tools/internal/units"
	"unblend/ublk"
)

// volume describes one volume by its name.
func (d *daemon) volume(name string) (control.Volume, error) {
	v, err := d.shards.Info(name)
	if err != nil {
		return control.Volume{}, err
	}
	return d.describe(v), nil
}

// describe turns what the pool says of a volume into what the socket does.
func (d *daemon) describe(v placement.VolumeInfo) control.Volume {
	c := control.Volume{
		Name: v.Name, ID: v.ID, State: control.VolumeDetached, Snapshot: v.Snapshot,
		Parent: v.Parent, Origin: v.Origin, Children: v.Children,
		Size: v.Size, Mapped: v.Mapped, Unique: v.Unique, Freed: v.Freed, Counting: v.Counting,
		InLog: v.Dirty,
		Link:  d.linkPath(v.Name), QueueDepth: v.QueueDepth, ReadOnly: v.ReadOnly || v.Snapshot,
		Created: control.UTC(v.Created), InFlight: v.Open,
		IO: control.VolumeIO{
			Reads: v.Stats.Reads, ReadBytes: v.Stats.ReadBytes,
			Writes: v.Stats.Writes, WriteBytes: v.Stats.WriteBytes, ZeroBytes: v.Stats.ZeroBytes,
			Discards: v.Stats.Discards, DiscardBytes: v.Stats.DiscardBytes,
			Flushes: v.Stats.Flushes, Merges: v.Stats.Merges, Errors: v.Stats.Errors,
			StallNanos: v.Stats.StallNanos,
		},
	}
	if v.Hidden {
		c.State, c.Hidden, c.Link = control.VolumeRemoved, true, ""
		return c
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.served[v.Name]; s != nil {
		c.State, c.Device = control.VolumeAttached, ublk.BlockPath(s.id())
		c.QueueDepth, c.ReadOnly = s.dev.Info.Depth, s.readOnly
		if s.size != v.Size {
			c.DeviceSize = s.size
		}
	}
	return c
}

// Status describes the pool.
func (d *daemon) Status(context.Context) (control.Status, error) {
	st, err := d.shards.Status()
	if err != nil {
		return control.Status{}, err
	}
	io, err := d.shards.Stats()
	if err != nil {
		return control.Status{}, err
	}
	counts, now, err := d.survey()
	if err != nil {
		return control.Status{}, err
	}
	s := control.Status{
		Time: time.Now().UTC().Truncate(time.Second), State: control.PoolOK,
		Warnings: d.warn.all(), Daemon: d.daemonStatus(), Pool: d.poolStatus(st),
		Devices: d.deviceStatus(io), Log: d.logStatus(st, io), Space: spaceStatus(st),
		Volumes: counts, Cache: cacheStatus(st), Work: workStatus(st), Damage: damageStatus(st),
		Scrub: describeScrub(st),
	}
	s.Space.Growth = d.growth.grown(now, s.Time)
	for _, r := range st.Regions {
		s.Regions = append(s.Regions, control.Region{
			Role: role(r.Dev, st.OneDevice), Class: r.Class, Start: r.Start, End: r.End,
		})
	}
	if level, used := spaceLevel(st); level > 0 && !st.NoLog {
		s.Warnings = append(s.Warnings, warnOfSpace(used, st, s.Space.Growth))
	}
	judge(&s, st)
	return s, nil
}

// judge says how the pool is, and adds the warnings that follow from its state.
func judge(s *control.Status, st placement.Status) {
	add := func(state, code, message, next string) {
		s.Warnings = append(s.Warnings, control.Warning{Code: code, Message: message, Next: next})
		if s.State != control.PoolReadOnly {
			s.State = state
		}
	}
	d := s.Damage
	switch {
	case st.NoLog:
		s.State = control.PoolReadOnly
	case st.ReadOnly != nil:
		add(control.PoolReadOnly, "read-only", "the pool accepts no writes: "+st.ReadOnly.Error(),
			"mend the device, then restart the daemon")
	}
	if d.ReadErrors > 0 || d.LostBlocks > 0 {
		add(control.PoolDegraded, "damage", "blocks could not be read: "+d.Last,
			"write them again; unblend scrub finds them all")
	}
	if d.BadBlocks > 0 {
		add(control.PoolDegraded, "bad-blocks",
			fmt.Sprintf("%d blocks of the data device cannot be written", d.BadBlocks),
			"replace the device soon")
	}
	if d.PageDamage > d.PageRepairs {
		add(control.PoolDegraded, "metadata",
			fmt.Sprintf("%d bad copies of metadata pages", d.PageDamage-d.PageRepairs),
			"unblend check")
	}
	for _, w := range s.Warnings {
		switch w.Code {
		case "device", "not-restored", codeSpace:
			if s.State == control.PoolOK {
				s.State = control.PoolDegraded
			}
		}
	}
}

func (d *daemon) daemonStatus() control.DaemonStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return control.DaemonStatus{
		Version: d.cfg.Version, PID: os.Getpid(), Started: d.started.UTC().Truncate(time.Second),
		RSS: rss(), Ublk: d.ublk != nil, Restored: d.restored, Shards: d.pool.Lanes(),
		CPUs: units.FormatCPUs(d.cfg.CPUs),
	}
}

// rss returns the process's resident memory in bytes, or 0.
func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func (d *daemon) poolStatus(st placement.Status) control.PoolStatus {
	p := control.PoolStatus{
		UUID: formatUUID(st.Pool), Created: control.UTC(st.Created),
		Durability: st.Durability.String(), Generation: st.Generation,
		Checkpoint: control.UTC(st.Checkpoint), WithoutLog: st.NoLog,
	}
	if st.ReadOnly != nil {
		p.Reason = st.ReadOnly.Error()
	}
	return p
}

// formatUUID returns a UUID as people write it.
func formatUUID(u placement.UUID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// role returns the word for what a device is for.
func role(dev log.Dev, one bool) string {
	switch {
	case one:
		return control.RoleBoth
	case dev == log.Fast:
		return control.RoleLog
	}
	return control.RoleData
}

func (d *daemon) deviceStatus(io shard.Stats) []control.DeviceStatus {
	var list []control.DeviceStatus
	one := d.backing.One()
	d.mu.Lock() // for the sizes
	defer d.mu.Unlock()
	for i, dev := range d.backing.Devices {
		s := control.DeviceStatus{
			Role: role(log.Dev(i), one), ReadErrors: io.ReadErrors[i], WriteErrors: io.WriteErrors[i],
		}
		if one && i > 0 {
			list[0].ReadErrors += s.ReadErrors
			list[0].WriteErrors += s.WriteErrors
			break
		}
		if dev != nil {
			info := dev.Info()
			s.Path, s.Present, s.Kind, s.Number = info.Path, true, info.Kind.String(), info.Number
			s.Size, s.Rotational = info.Size, info.Rotational
			s.VolatileCache, s.FUA = info.VolatileCache, info.FUA
		}
		list = append(list, s)
	}
	return list
}

func (d *daemon) logStatus(st placement.Status, io shard.Stats) control.LogStatus {
	return control.LogStatus{
		Size:        int64(st.Segments) * st.SegmentBytes,
		Used:        int64(st.Segments-st.SegmentsFree) * st.SegmentBytes,
		SegmentSize: st.SegmentBytes, Segments: st.Segments, SegmentsFree: st.SegmentsFree,
		Pressure: st.Pressure, Low: d.cfg.Low * 10, High: d.cfg.High * 10,
		Index: st.IndexUsed, IndexLimit: st.IndexEntries, Extents: st.ExtentsUsed,
		Writes: io.LogWrites, WriteBytes: io.LogBytes, Stalled: st.Stalled,
	}
}

func spaceStatus(st placement.Status) control.SpaceStatus {
	return control.SpaceStatus{
		Size: int64(st.BlocksTotal) * log.BlockSize, Free: int64(st.BlocksFree) * log.BlockSize,
		Promised:     int64(st.Promised) * log.BlockSize,
		MetadataSize: int64(st.PagesTotal) * log.BlockSize,
		MetadataFree: int64(st.PagesFree) * log.BlockSize,
	}
}

// survey looks at all volumes and snapshots, and says how many there are and what each volume takes.
func (d *daemon) survey() (control.VolumeCounts, footprints, error) {
	c, now := control.VolumeCounts{Attached: len(d.servedVolumes())}, footprints{}
	err := d.shards.Each(false, func(v placement.VolumeInfo) error {
		now.add(v)
		if v.Snapshot {
			c.Snapshots++
			return nil
		}
		c.Total++
		c.Size += v.Size
		c.Mapped += v.Mapped
		return nil
	})
	return c, now, err
}

func workStatus(st placement.Status) control.WorkStatus {
	now := "idle"
	switch {
	case st.Checkpointing:
		now = "checkpoint"
	case st.Destaging:
		now = "destage"
	case st.Replacing:
		now = "re-place"
	case st.Scrubbing:
		now = "scrub"
	}
	return control.WorkStatus{
		Now: now, Checkpoints: st.Stats.Checkpoints,
		DestagedBytes:  st.Stats.DestagedBlocks * log.BlockSize,
		DestageWrites:  st.Stats.DestageRuns,
		ReplacedBytes:  st.Stats.ReplacedBlocks * log.BlockSize,
		AbsorbedBytes:  st.Flow.Absorbed * log.BlockSize,
		DiscardedBytes: st.Flow.Dropped * log.BlockSize,
		IndexStalls:    st.Stats.IndexStalls, SpaceStalls: st.Stats.SpaceStalls,
		PageWrites: st.Stats.PageWrites,
	}
}

func cacheStatus(st placement.Status) control.CacheStatus {
	return control.CacheStatus{
		Size:       int64(st.Frames) * log.BlockSize,
		Dirty:      int64(st.DirtyPages) * log.BlockSize,
		Shared:     int64(st.SharedBlocks) * log.BlockSize,
		PageHits:   st.Stats.PageHits,
		PageMisses: st.Stats.PageReads,
		BlockHits:  st.Stats.SharedHits, BlockMisses: st.Stats.SharedReads,
	}
}

func damageStatus(st placement.Status) control.DamageStatus {
	d := control.DamageStatus{
		ReadErrors: st.Stats.ReadErrors, Mismatches: st.Stats.Mismatches,
		LostBlocks: st.Stats.LostBlocks, BadBlocks: st.Stats.BadBlocks,
		PageDamage: st.Stats.PageDamage, PageRepairs: st.Stats.PageRepairs,
	}
	if st.Stats.LastError != nil {
		d.Last = st.Stats.LastError.Error()
	}
	return d
}
