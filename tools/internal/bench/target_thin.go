package bench

import (
	"errors"
	"fmt"
)

// thin are volumes of the device mapper's thin provisioning, with the chunks that LVM chooses.
type thin struct {
	b     *bed
	cell  Cell
	size  int64 // bytes of a volume
	next  int   // number of the next thin device; the pool does not use one again
	live  []int // the volumes' numbers, by their place
	snaps []int // to be deleted before the next run
	pool  bool
}

const (
	thinChunk = 128 // sectors: 64 KiB
	thinPool  = "unblend-bench-pool"
)

func newThin(b *bed, c Cell) target {
	return &thin{b: b, cell: c, size: b.volumeSize(c)}
}

func (t *thin) name(i int) string { return fmt.Sprintf("unblend-bench-%d", i) }

func (t *thin) disks() []Disk {
	var d []Disk
	for i := range t.cell.Volumes {
		d = append(d, Disk{Path: "/dev/mapper/" + t.name(i)})
	}
	return d
}

// message tells the pool to do something.
func (t *thin) message(format string, args ...any) error {
	_, err := Sh(t.b.ctx, "dmsetup message %s 0 '%s'", thinPool, fmt.Sprintf(format, args...))
	return err
}

// activate makes the device of the i-th volume.
func (t *thin) activate(i, number int) error {
	_, err := Sh(t.b.ctx, `set -e; dmsetup create %s --noudevsync --table "0 %d thin /dev/mapper/%s %d"
		dmsetup mknodes`, t.name(i), t.size>>9, thinPool, number)
	if err == nil {
		t.live = append(t.live, number)
	}
	return err
}

// create makes the i-th volume, empty.
func (t *thin) create(i int) error {
	number := t.next
	t.next++
	return errors.Join(t.message("create_thin %d", number), t.activate(i, number))
}

// deactivate takes all volumes' devices away.
func (t *thin) deactivate() error {
	var errs []error
	for i := range t.live {
		errs = append(errs, t.b.settle("dmsetup remove --noudevsync %s", t.name(i)))
	}
	t.live = t.live[:0]
	return errors.Join(errs...)
}

func (t *thin) setup() error {
	meta, space := t.b.part(partMeta), t.b.part(partRival)
	_, err := Sh(t.b.ctx, `set -e
		dd if=/dev/zero of=%[2]s bs=4k count=1 oflag=direct status=none
		dmsetup create %[1]s --noudevsync --table "0 %[4]d thin-pool %[2]s %[3]s %[5]d 0"
		dmsetup mknodes`, thinPool, meta, space, partSizes(t.b.set.Total)[partRival-1]>>9, thinChunk)
	if err != nil {
		return err
	}
	t.pool = true
	volumes := t.cell.Volumes
	switch t.cell.Contender {
	case "thin-fresh":
		return nil
	case "thin-clone":
		volumes = 1
	}
	for i := range volumes {
		if err := t.create(i); err != nil {
			return err
		}
	}
	if err := Fill(t.b.ctx, t.disks()[:volumes]); err != nil {
		return err
	}
	if t.cell.Contender == "thin-clone" { // the image, which is number 0
		return t.deactivate()
	}
	return nil
}

func (t *thin) ready() ([]Disk, error) {
	var err error
	switch t.cell.Contender {
	case "thin-fresh":
		err = t.fresh()
	case "thin-snap":
		err = t.snapshot()
	case "thin-clone":
		err = t.clone()
	}
	return t.disks(), err
}

// fresh replaces all volumes by new ones.
func (t *thin) fresh() error {
	old := append([]int(nil), t.live...)
	err := t.deactivate()
	for _, number := range old {
		err = errors.Join(err, t.message("delete %d", number))
	}
	for i := range t.cell.Volumes {
		if err == nil {
			err = t.create(i)
		}
	}
	if w, _ := workload(t.cell.Workload); w.Reads && err == nil {
		err = Fill(t.b.ctx, t.disks())
	}
	return err
}

// snapshot replaces the snapshots of all volumes by new ones.
func (t *thin) snapshot() error {
	for _, number := range t.snaps {
		if err := t.message("delete %d", number); err != nil {
			return err
		}
	}
	t.snaps = t.snaps[:0]
	for i, origin := range t.live {
		_, err := Sh(t.b.ctx, `set -e; dmsetup suspend %[1]s; dmsetup message %[2]s 0 "create_snap %[3]d %[4]d"
			dmsetup resume --noudevsync %[1]s`, t.name(i), thinPool, t.next, origin)
		if err != nil {
			return err
		}
		t.snaps = append(t.snaps, t.next)
		t.next++
	}
	return nil
}

// clone replaces all volumes by new clones of the image.
func (t *thin) clone() error {
	old := append([]int(nil), t.live...)
	err := t.deactivate()
	for _, number := range old {
		err = errors.Join(err, t.message("delete %d", number))
	}
	for i := range t.cell.Volumes {
		if err == nil {
			err = errors.Join(t.message("create_snap %d 0", t.next), t.activate(i, t.next))
			t.next++
		}
	}
	return err
}

func (t *thin) close() error {
	err := t.deactivate()
	if t.pool {
		err = errors.Join(err, t.b.settle("dmsetup remove --noudevsync %s", thinPool))
	}
	return err
}
