package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// qcow are qcow2 files in an ext4 file system, each behind a qemu-nbd without the host's cache.
type qcow struct {
	b       *bed
	cell    Cell
	size    int64  // bytes of a volume
	top     string // the last backing file
	mounted bool
	served  int // volumes
}

// chainLength is how many backing files the long chain has.
const chainLength = 10

func newQcow(b *bed, c Cell) target {
	return &qcow{b: b, cell: c, size: b.volumeSize(c)}
}

func (q *qcow) root() string            { return filepath.Join(q.b.dir, "fs") }
func (q *qcow) file(name string) string { return filepath.Join(q.root(), name+".qcow2") }

func (q *qcow) disks() []Disk {
	var d []Disk
	for i := range q.cell.Volumes {
		d = append(d, Disk{Path: fmt.Sprintf("/dev/nbd%d", i)})
	}
	return d
}

// create makes a file, on a backing file if there is one.
func (q *qcow) create(path, backing string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	on := ""
	if backing != "" {
		on = "-F qcow2 -b " + backing
	}
	_, err := Sh(q.b.ctx, "qemu-img create -q -f qcow2 %s %s %d", on, path, q.size)
	return err
}

// serve makes /dev/nbdN of the file.
func (q *qcow) serve(path string) error {
	_, err := Sh(q.b.ctx, "qemu-nbd --connect=/dev/nbd%[1]d --socket=%[2]s/nbd%[1]d --cache=none --aio=native "+
		"-f qcow2 %[3]s", q.served, q.b.dir, path)
	if err != nil {
		return err
	}
	q.served++
	return q.b.settle("test $(cat /sys/block/nbd%d/size) = %d", q.served-1, q.size>>9)
}

// end takes all devices away.
func (q *qcow) end() error {
	var errs []error
	for ; q.served > 0; q.served-- {
		_, err := Sh(q.b.ctx, "qemu-nbd --disconnect /dev/nbd%d", q.served-1)
		errs = append(errs, err, q.b.settle("test $(cat /sys/block/nbd%d/size) = 0 || "+
			"test ! -e /sys/block/nbd%[1]d/pid", q.served-1))
	}
	return errors.Join(errs...)
}

// layers returns how many backing files there are.
func (q *qcow) layers() int {
	switch q.cell.Contender {
	case "qcow2-clone":
		return 1
	case "qcow2-chain":
		return chainLength
	}
	return 0
}

func (q *qcow) setup() error {
	_, err := Sh(q.b.ctx, `set -e; mkdir -p %[1]s
		mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 %[2]s; mount %[2]s %[1]s`,
		q.root(), q.b.part(partRival))
	if err != nil {
		return err
	}
	q.mounted = true
	for i := range q.layers() {
		path := q.file(fmt.Sprintf("layer%d", i))
		err := q.create(path, q.top)
		if err == nil {
			err = q.serve(path)
		}
		if err == nil {
			err = layer(q.b, q.disks()[:1], i)
		}
		if err = errors.Join(err, q.end()); err != nil {
			return err
		}
		q.top = path
	}
	if q.cell.Contender != "qcow2" {
		return nil
	}
	if err := q.remake(); err != nil {
		return err
	}
	return Fill(q.b.ctx, q.disks())
}

// layer writes what the i-th layer of an image holds: the first all of it, the others a few places.
func layer(b *bed, disks []Disk, i int) error {
	if i == 0 {
		return Fill(b.ctx, disks)
	}
	size := b.set.Total / 256
	_, err := Fio(b.ctx, disks, append(random("randwrite", "4k"), "--iodepth=8",
		fmt.Sprintf("--io_size=%d", size), fmt.Sprintf("--randseed=%d", i))...)
	return err
}

// remake replaces all volumes by new ones.
func (q *qcow) remake() error {
	err := q.end()
	for i := range q.cell.Volumes {
		path := q.file(fmt.Sprintf("volume%d", i))
		if err == nil {
			err = q.create(path, q.top)
		}
		if err == nil {
			err = q.serve(path)
		}
	}
	return err
}

func (q *qcow) ready() ([]Disk, error) {
	if q.cell.Contender == "qcow2" {
		return q.disks(), nil
	}
	err := q.remake()
	if w, _ := workload(q.cell.Workload); w.Reads && q.top == "" && err == nil {
		err = Fill(q.b.ctx, q.disks())
	}
	return q.disks(), err
}

func (q *qcow) close() error {
	err := q.end()
	if q.mounted {
		err = errors.Join(err, q.b.settle("umount %s", q.root()))
	}
	return err
}
