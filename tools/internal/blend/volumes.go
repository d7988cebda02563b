package blend

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// settled is how long the links must have been as they are to be known again by their time.
const settled = 2 * time.Second

// volume is one with a device, or one that had it since the last report. It is known by its name:
// the ids of volumes change with their snapshots.
type volume struct {
	name   string
	stream int
	disk   disk
	base   int64        // on the merged disk
	size   int64        // of the volume
	before bpf.Counters // at the last report
	gone   bool         // it has no device any more
}

// place is where a volume lies on the merged disk. It keeps it while it has no device.
type place struct{ base, size int64 }

// volumes are those that are watched.
type volumes struct {
	known   []*volume // by name
	places  map[string]place
	end     int64 // of the merged disk
	room    []int // streams that are free
	without int   // volumes with a device and without a stream: there is no room
	changed time.Time
	dir     string // where the links of the volumes are
}

func newVolumes(room int) volumes {
	v := volumes{places: map[string]place{}}
	for i := range room {
		v.room = append(v.room, bpf.FirstGuest+room-1-i)
	}
	return v
}

// placeOf returns where a volume lies on the merged disk: behind all others if it is new, or larger
// than it was.
func (v *volumes) placeOf(name string, size int64) int64 {
	p, there := v.places[name]
	if !there || size > p.size {
		p = place{v.end, size}
		v.places[name] = p
		v.end += size
	}
	return p.base
}

// stale reports whether volumes may have got or lost a device since the last look: then their links
// have changed.
func (v *volumes) stale() bool {
	st, err := os.Stat(v.dir)
	return v.dir == "" || err != nil || !st.ModTime().Equal(v.changed)
}

// follow asks the daemon for its volumes and watches those that have a device.
func (t *Tracer) follow(ctx context.Context) error {
	if !t.volumes.stale() {
		return nil
	}
	dir := t.volumes.dir
	var changed time.Time
	if st, err := os.Stat(dir); err == nil { // before the daemon is asked, so that nothing is missed
		changed = st.ModTime()
	}
	list, err := t.daemon.List(ctx, control.ListRequest{})
	if err != nil {
		return err
	}
	// The clock behind the directory's time is coarse: only what lies back a little tells a later
	// change apart.
	if t.volumes.changed = changed; time.Since(changed) < settled {
		t.volumes.changed = time.Time{}
	}
	if len(list.Volumes) > 0 {
		t.volumes.dir = filepath.Dir(list.Volumes[0].Link)
	}
	now := map[string]disk{}
	for _, v := range list.Volumes {
		if v.Device == "" || len(t.only) > 0 && !slices.Contains(t.only, v.Name) {
			continue
		}
		if d, err := t.sys.byName(filepath.Base(v.Device)); err == nil {
			now[v.Name] = d
		}
	}
	if err := t.forget(now); err != nil {
		return err
	}
	t.volumes.without = 0
	for _, v := range list.Volumes {
		if d, there := now[v.Name]; there {
			if err := t.watch(v, d); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(t.volumes.known, func(a, b *volume) int { return cmp.Compare(a.name, b.name) })
	return nil
}

// forget ends watching volumes whose device is not what it was. The next report still has them.
func (t *Tracer) forget(now map[string]disk) error {
	for _, v := range t.volumes.known {
		if v.gone || now[v.name] == v.disk {
			continue
		}
		if err := t.kernel.ForgetGuest(v.disk.device); err != nil {
			return fmt.Errorf("volume %q: %w", v.name, err)
		}
		v.gone = true
	}
	return nil
}

// watch begins to watch a volume, unless it is watched already.
func (t *Tracer) watch(info control.Volume, d disk) error {
	vs := &t.volumes
	if slices.ContainsFunc(vs.known, func(v *volume) bool { return v.name == info.Name && !v.gone }) {
		return nil
	}
	if len(vs.room) == 0 {
		vs.without++
		return nil
	}
	v := &volume{
		name: info.Name, stream: vs.room[len(vs.room)-1], disk: d, size: info.Size,
		base: vs.placeOf(info.Name, info.Size),
	}
	err := t.kernel.WatchGuest(bpf.Guest{Device: d.device, Hook: d.hook, Stream: v.stream, Base: v.base})
	if err != nil {
		return fmt.Errorf("volume %q: %w", v.name, err)
	}
	vs.room = vs.room[:len(vs.room)-1]
	vs.known = append(vs.known, v)
	return nil
}

// drop forgets the volumes that have no device any more, after a report. Others may have waited for
// their room.
func (v *volumes) drop() {
	if v.without > 0 {
		v.changed = time.Time{}
	}
	v.known = slices.DeleteFunc(v.known, func(x *volume) bool {
		if x.gone {
			v.room = append(v.room, x.stream)
		}
		return x.gone
	})
}
