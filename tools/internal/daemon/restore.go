package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/ublk"
)

const (
	statusEvery = 500 * time.Millisecond // how often systemd is told how far it is

	// settleTime is how long the kernel may take to notice that a server has died: 6.12 takes up to
	// the 30 s of a request's timeout when every tag carried a request.
	settleTime = 45 * time.Second
	settlePoll = 2 * time.Millisecond

	// slowTakeOver is what taking over a device may last before the log says which step it was that took so
	// long: usually all of them are a matter of milliseconds.
	slowTakeOver = 5 * time.Second
)

// restore attaches every volume and snapshot again that was attached when the last daemon ended. What
// fails is reported and has no device; the others are served.
func (d *daemon) restore(ctx context.Context) {
	var wanted []placement.VolumeInfo
	err := d.shards.Each(false, func(v placement.VolumeInfo) error {
		if v.Attached {
			wanted = append(wanted, v)
		}
		return nil
	})
	if err != nil {
		return // the loop has ended; whoever waits for it says why
	}
	slices.SortFunc(wanted, func(a, b placement.VolumeInfo) int { return strings.Compare(a.Name, b.Name) })
	if d.cfg.WithoutLog {
		d.warnWithoutLog(wanted)
		return
	}
	ctl, err := d.driver()
	if err != nil {
		if len(wanted) > 0 {
			d.log.Error("volumes have no device", "volumes", len(wanted), "err", err)
		}
		return
	}
	d.mu.Lock()
	for _, v := range wanted {
		d.numbers[int(v.Device)] = v.Name
	}
	d.mu.Unlock()
	d.restoreAll(ctx, ctl, wanted)
	d.sweepLinks()
}

// restoreAll attaches volumes, many at once.
func (d *daemon) restoreAll(ctx context.Context, ctl *ublk.Control, wanted []placement.VolumeInfo) {
	var mu sync.Mutex
	var failed []string
	told := time.Time{}
	atOnce(wanted, func(v placement.VolumeInfo) {
		if ctx.Err() != nil {
			return
		}
		err := d.restoreVolume(ctx, ctl, v)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			d.log.Error("volume cannot be attached again", "volume", v.Name, "err", err)
			failed = append(failed, err.Error())
			return
		}
		d.restored++
		if time.Since(told) > statusEvery {
			told = time.Now()
			d.notify.status(fmt.Sprintf("attached %d of %d volumes", d.restored, len(wanted)))
		}
	})
	if len(failed) > 0 {
		d.warn.set("not-restored", fmt.Sprintf("%d of %d volumes are not attached again: %s",
			len(failed), len(wanted), failed[0]), "unblend attach NAME")
	}
}

// restoreVolume takes over the device of a volume that was attached when the last daemon ended, or
// makes it again if there is none.
func (d *daemon) restoreVolume(ctx context.Context, ctl *ublk.Control, v placement.VolumeInfo) error {
	id := int(v.Device)
	w := newStopwatch()
	defer d.tellSlow(v, w)
	info, err := d.settled(ctx, ctl, uint32(v.Device))
	w.lap("settled")
	switch {
	case errors.Is(err, ublk.ErrNoDevice): // the host has been restarted, or the end was orderly
	case err != nil:
		return fmt.Errorf("%s: device %d: %w", control.Object(v.Name), id, err)
	case !ours(ctl, v, info):
		d.log.Warn("device number is in other hands", "volume", v.Name, "device", id,
			"state", info.State, "pid", info.PID)
		id = -1
	case info.State == ublk.Quiesced:
		return d.takeOver(ctl, v, info, w)
	default: // it was not started any more
		if err := ctl.Delete(info.ID, commandTime); err != nil {
			return fmt.Errorf("%s: delete device %d: %w", control.Object(v.Name), id, err)
		}
	}
	_, err = d.attach(ctx, v, id)
	return err
}

// settled returns what the kernel says of a device, once it has noticed that its server is gone.
func (d *daemon) settled(ctx context.Context, ctl *ublk.Control, id uint32) (ublk.Info, error) {
	for end := time.Now().Add(settleTime); ; time.Sleep(settlePoll) {
		info, err := ctl.Info(id, commandTime)
		if err != nil || info.State != ublk.Live || alive(info.PID) {
			return info, err
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return info, fmt.Errorf("its server is gone, and it is still live: %w", ublk.ErrTimeout)
		}
	}
}

// ours reports whether a device is one that a former daemon made for a volume. The number may have
// been given to somebody else after a reboot.
func ours(ctl *ublk.Control, v placement.VolumeInfo, info ublk.Info) bool {
	if info.State != ublk.Quiesced && info.State != ublk.Dead || info.Depth != v.QueueDepth ||
		info.MaxIO != placement.MaxIO || info.Queues != 1 || !info.Flags.Has(ublk.Required) {
		return false
	}
	if info.State == ublk.Dead {
		return true
	}
	p, err := ctl.Params(info.ID, commandTime)
	return err == nil && p.Size <= v.Size // smaller: the volume has been resized since
}

// alive reports whether a process serves, as opposed to being on its way out.
func alive(pid int) bool {
	if pid <= 0 || pid == os.Getpid() {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name in parentheses may contain anything; state is the 1st field behind it, flags the
	// 7th.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 7 || f[0] == "Z" || f[0] == "X" {
		return false
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	const exiting = 4 // PF_EXITING, include/linux/sched.h
	return err == nil && flags&exiting == 0
}

// takeOver continues a device whose server has died.
func (d *daemon) takeOver(ctl *ublk.Control, v placement.VolumeInfo, info ublk.Info, w *stopwatch) error {
	p, err := ctl.Params(info.ID, commandTime)
	w.lap("params")
	if err == nil {
		err = ctl.StartRecovery(info.ID, commandTime)
		w.lap("start-recovery")
	}
	var s *served
	if err == nil {
		var vol *placement.Volume
		if vol, err = d.shards.Volume(v.Name); err == nil {
			s, err = d.serve(v, vol, info, p.Size)
		}
		w.lap("serve")
	}
	if err == nil {
		err = ctl.EndRecovery(info.ID, commandTime)
		w.lap("end-recovery")
	}
	if err == nil {
		err = d.enter(s)
	}
	if err != nil {
		return fmt.Errorf("%s: recover device %d: %w", control.Object(v.Name), info.ID, err)
	}
	if err := d.grow(ctl, s, v.Size); err != nil {
		d.log.Warn("device keeps its former size", "volume", v.Name, "err", err)
	}
	return nil
}

// warnWithoutLog names the volumes that may have been written since the checkpoint. Snapshots are what
// they were.
func (d *daemon) warnWithoutLog(attached []placement.VolumeInfo) {
	st, err := d.shards.Status()
	if err != nil {
		return
	}
	var names []string
	for _, v := range attached {
		if !v.Snapshot {
			names = append(names, v.Name)
		}
	}
	at := time.Unix(st.Checkpoint, 0).UTC().Format(time.RFC3339)
	what := "no volume was attached then"
	if len(names) > 0 {
		what = "these volumes may have been written since: " + strings.Join(names, ", ")
	}
	message := fmt.Sprintf("read-only, as of the checkpoint of %s; %s", at, what)
	d.log.Warn("without log", "checkpoint", at, "attached", names)
	d.warn.set("without-log", message, "copy what you need")
}
