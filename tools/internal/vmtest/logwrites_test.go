package vmtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"unblend/tools/internal/vm"
)

const (
	recordedMiB   = 96  // of the pool
	recordMiB     = 768 // room for the log; the file has holes
	recordedSize  = 4 << 20
	recordedDepth = 4
	recordedMarks = 10
	perMark       = 40 // requests acknowledged between two marks
	recordFile    = "history.json"
)

// TestLogWrites has dm-log-writes record all that a pool writes to its one device, while volumes are
// written, and marks the record when requests have been acknowledged. Then the record is replayed on
// the host, to what a power cut behind any flush or FUA write leaves, and with that write in part:
// the pool must open there, check must find nothing, and everything that was acknowledged before the
// last mark must be there.
//
// UNBLEND_STATES says how many of those moments are looked at.
func TestLogWrites(t *testing.T) {
	if inGuest() {
		newGuest(t).recordWrites()
		return
	}
	cfg := machine(t, "")
	record := image(t, recordMiB)
	cfg.Share = t.TempDir()
	cfg.Drives = []vm.Drive{{Name: "record", Path: record}}
	run(t, cfg)
	if t.Failed() {
		return
	}
	f, err := os.Open(record)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &replay{log: f, image: make(imageDisk, recordedMiB<<20)}
	if r.entries, err = readLogWrites(f); err != nil {
		t.Fatal(err)
	}
	if r.h, err = loadHistory(filepath.Join(cfg.Share, recordFile)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err = r.run(number(t, "UNBLEND_STATES", 12))
	t.Logf("%d entries, %d events, %d marks; of %d moments at which the device was durable, %d states "+
		"opened, %d of them with the last write in part, in %.1f s", len(r.entries), len(r.h.Events),
		r.mark+1, r.cuts, r.states, r.torn, time.Since(begin).Seconds())
	if err != nil {
		t.Error(err)
	}
	if r.torn == 0 || r.cuts < recordedMarks {
		t.Error("that shows nothing")
	}
}

// recorder is a workload on a device that is recorded.
type recorder struct {
	*guest
	name    string // of the device
	h       *history
	vols    []*cutVolume
	writers []*cutWriters
}

// recordWrites writes volumes, one of which gets a snapshot and a clone of that.
func (g *guest) recordWrites() {
	g.sh("mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config")
	r := &recorder{guest: g, name: "recorded", h: &history{}}
	path := g.nullBlock("nullpool", recordedMiB)
	g.sh(fmt.Sprintf("modprobe dm-log-writes && dmsetup create %s --noudevsync --table "+
		"\"0 $(blockdev --getsz %s) log-writes %[2]s /dev/vm/record\" && dmsetup mknodes", r.name, path))
	g.step("pool and volumes")
	p := devicePool("/dev/mapper/" + r.name)
	p.init[1] = "--log-size=8M"
	g.format(p)
	d := g.serve(p)
	for i, name := range fourVolumes[:3] {
		r.add(historyVolume{Name: name, ID: uint32(i + 1)}, func() { g.create(name, "4M") })
	}
	r.mark()
	g.step("write")
	points := startCheckpoints(g.ctx, g.prog.Socket())
	origin := historyVolume{Name: fourVolumes[0] + "@s", ID: 1, Frozen: true}
	clone := historyVolume{Name: "clone", ID: 4, Origin: origin.Name}
	for i := range recordedMarks {
		switch i {
		case recordedMarks / 4:
			r.add(origin, func() { g.do("snapshot", origin.Name) })
		case recordedMarks / 2:
			r.add(clone, func() { g.do("clone", origin.Name, clone.Name, "--attach") })
		}
		r.acknowledged(perMark)
		r.mark()
	}
	g.step("end")
	for _, w := range r.writers {
		for _, err := range w.wait(cutPatience) {
			g.Error(err)
		}
	}
	points.end()
	r.mark()
	for _, v := range r.vols {
		v.f.Close()
	}
	g.stop(d)
	g.check(p)
	g.sh("dmsetup remove --noudevsync --retry " + r.name)
	if err := r.h.save(filepath.Join(journalShare, recordFile)); err != nil {
		g.Fatal(err)
	}
}

// add makes a volume and starts to write it, or takes a snapshot.
func (r *recorder) add(v historyVolume, make func()) {
	r.Helper()
	v.Size = recordedSize
	v.Made = r.h.during(make)
	r.h.Volumes = append(r.h.Volumes, v)
	if v.Frozen {
		return
	}
	c := newCutVolume(v.ID, v.Name, v.Size)
	c.journal = r.h
	if err := c.openAt("/dev/unblend/" + v.Name); err != nil {
		r.Fatal(err)
	}
	r.vols = append(r.vols, c)
	r.writers = append(r.writers, startCutWriters(context.Background(), []*cutVolume{c}, recordedDepth,
		uint64(v.ID)))
}

// acknowledged waits until n requests more were.
func (r *recorder) acknowledged(n int) {
	r.Helper()
	from := r.h.now()
	r.eventually("requests are acknowledged", cutWriteTime, func() bool {
		return r.h.now()-from >= 2*n
	})
}

// mark marks the record: what was acknowledged before is durable.
func (r *recorder) mark() {
	r.Helper()
	i := len(r.h.Marks)
	r.h.Marks = append(r.h.Marks, r.h.during(func() {
		r.sh(fmt.Sprintf("dmsetup message %s 0 mark unblend-%d", r.name, i))
	}))
}
