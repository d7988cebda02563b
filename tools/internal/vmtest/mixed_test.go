package vmtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
	"unblend/tools/internal/operate"
)

const (
	sampleEvery = 30 * time.Second

	// What the daemon may have more at the end than it had at the start, with the same volumes: its
	// caches fill. Than in the middle, with more volumes, by when they are full, it may have little.
	coldRSS     = 2        // times
	warmRSS     = 1.25     // times
	moreFiles   = 4        // open ones
	moreMeta    = 64 << 10 // bytes of metadata: nodes have other numbers, in other pages
	drainedLog  = 100      // thousandths of the log that are in use when all was moved out of it
	mixedPool   = 320      // MiB
	mixedMiB    = 16       // of a volume that stays
	mixedFio    = 32       // MiB of a volume that fio writes
	mixedWithin = time.Minute
	emptyWithin = 3 * time.Minute
)

// mixed is the state of TestMixed.
type mixed struct {
	*guest
	p     pool
	d     *operate.Daemon
	rng   *rand.Rand
	begin time.Time
	end   time.Time

	base  []*load.Disk // always written
	moved []moment     // snapshots of these
	made  []own        // volumes that come and go
	next  int          // number of the next name

	count   figures
	samples []sample
	warm    int // index of the first sample of the second half
}

// sample is how the daemon is at a time.
type sample struct {
	rss      int64 // bytes
	files    int   // open ones
	pressure int   // of the log, thousandths
	free     int64 // bytes of the pool
	nodes    int   // volumes and snapshots
}

// TestMixed does everything at once to one pool, for as long as UNBLEND_MINUTES says: four volumes
// are written and verified all the time, others are made, cloned, attached, verified, trimmed and
// removed, the pool is filled, and in the first half of the time the daemon is killed now and then.
// In the end all is removed but two volumes, and the daemon, which has lived for the second half,
// must have as much memory and as many files as at the start, an empty log, and a clean pool.
func TestMixed(t *testing.T) {
	minutes := asked(t, "UNBLEND_MINUTES")
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	m := &mixed{guest: newGuest(t), rng: rand.New(rand.NewPCG(5, 5)), count: figures{}}
	m.begin = time.Now()
	m.sh("mountpoint -q /sys/kernel/config || mount -t configfs c /sys/kernel/config")
	m.p = devicePool(m.nullBlock("nulllog", poolMiB/8), m.delay(m.nullBlock("nulldata", mixedPool), 10))
	m.format(m.p)
	m.d = m.serve(m.p)
	m.Cleanup(func() {
		if t.Failed() && !m.d.Ended() {
			st, err := m.prog.Ask(context.Background(), "status", "--json")
			tree, err2 := m.prog.Ask(context.Background(), "list", "--tree", "--all")
			m.Logf("%s%v\n%s%v", st, err, tree, err2)
		}
	})
	m.makeBase()
	before, first := m.wellServed(), m.sample()
	m.begin = time.Now()
	m.end = m.begin.Add(time.Duration(minutes) * time.Minute)
	stop := m.writeBase()
	fio := m.startMixedFio(minutes * 60)
	m.work()
	res := fio.wait()
	stop()
	m.removeAll()
	m.emptied(before)
	m.checkpoint()
	m.wellServed()
	m.flat(first)
	m.count["minutes"], m.count["fio_errors"] = minutes, res.errors()
	m.count["longest_s"] = res.longest().Seconds()
	m.close()
	m.figures("mixed load", m.count)
}

// makeBase makes the volumes that stay, and writes all of them, so that they need no more later.
func (m *mixed) makeBase() {
	m.Helper()
	const n = 128 << 10
	for i, name := range fourVolumes[:2] {
		disk := m.openDisk(m.create(name, fmt.Sprintf("%dM", mixedMiB)), uint32(i+1))
		fill := load.NewWriter(disk, 4, load.Once(disk.Size(), n, 1), 1)
		if err := fill.Run(m.ctx, int(disk.Size()/n)); err != nil {
			m.Fatal(err)
		}
		m.base = append(m.base, disk)
	}
	m.checkpoint()
}

// writeBase writes the volumes that stay until the returned function is called, which verifies them.
func (m *mixed) writeBase() (stop func()) {
	ctx, cancel := context.WithCancel(m.ctx)
	var wg sync.WaitGroup
	for i, disk := range m.base {
		w := load.NewWriter(disk, 4, load.Mixed(disk.Size(), 64<<10), uint64(i+50))
		wg.Go(func() {
			if err := w.Run(ctx, 0); err != nil {
				m.Error(err)
			}
		})
	}
	// Writes that nobody answers would keep the process.
	m.Cleanup(func() { cancel(); wg.Wait() })
	return func() {
		cancel()
		wg.Wait()
		for _, disk := range m.base {
			m.verify(disk)
		}
	}
}

func (m *mixed) startMixedFio(seconds int) *fioRun {
	job := fioJob{size: mixedFio, seconds: seconds}
	for _, name := range fourVolumes[2:] {
		job.disks = append(job.disks, m.create(name, fmt.Sprintf("%dM", mixedFio)))
	}
	return m.startFio(job)
}

// sample looks at the daemon, and keeps what it sees.
func (m *mixed) sample() sample {
	m.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.d.PID()))
	if err != nil {
		m.Fatal(err)
	}
	st := m.status()
	s := sample{
		rss: st.Daemon.RSS, files: len(files), pressure: st.Log.Pressure, free: st.Space.Free,
		nodes: st.Volumes.Total,
	}
	m.Logf("%4.0f s: memory %.1f MiB, %d files, log %d/1000, %d MiB free, %d volumes; %v",
		time.Since(m.begin).Seconds(), float64(s.rss)/(1<<20), s.files, s.pressure, s.free>>20, s.nodes,
		m.count)
	m.samples = append(m.samples, s)
	return s
}

// flat compares the daemon with what it was at the start.
func (m *mixed) flat(first sample) {
	m.Helper()
	last := m.sample()
	warm := m.samples[m.warm]
	most := min(coldRSS*first.rss, int64(warmRSS*float64(warm.rss)))
	if last.rss > most {
		m.Errorf("the daemon has %d bytes, %d at the start, %d in the middle; at most %d wanted",
			last.rss, first.rss, warm.rss, most)
	}
	if last.files > first.files+moreFiles {
		m.Errorf("the daemon has %d files open, it had %d", last.files, first.files)
	}
	if last.pressure > drainedLog {
		m.Errorf("the log is still in use by %d thousandths", last.pressure)
	}
	for _, s := range m.samples {
		if s.rss > maxRSS {
			m.Errorf("the daemon had %d MiB, at most %d wanted", s.rss>>20, maxRSS>>20)
		}
	}
	m.count["first_rss_MiB"], m.count["last_rss_MiB"] = first.rss>>20, last.rss>>20
	m.count["warm_rss_MiB"] = warm.rss >> 20
	m.count["samples"] = len(m.samples)
}

// close ends everything, and has the pool checked.
func (m *mixed) close() {
	m.Helper()
	for _, disk := range m.base {
		disk.Close()
	}
	m.stop(m.d)
	m.nothingIsLeft()
	m.check(m.p)
}

// removeAll removes everything but the volumes that stay.
func (m *mixed) removeAll() {
	m.Helper()
	m.step("remove all")
	for _, o := range m.made {
		o.disk.Close()
	}
	args := []string{"*@*", "--yes"}
	for name, v := range m.volumes() {
		if !v.Snapshot && !slices.Contains(fourVolumes[:2], name) {
			args = append(args, name)
		}
	}
	m.do("rm", args...)
}

// emptied waits until as much is free as there was before, but for a hundredth and for what the
// catalogue has grown by, and nothing that was removed is left.
func (m *mixed) emptied(before control.Status) {
	m.Helper()
	m.step("all space is back")
	data, meta := used(before)
	meta += moreMeta
	shown := time.Now()
	m.eventually("all space is back", emptyWithin, func() bool {
		time.Sleep(200 * time.Millisecond)
		st := m.status()
		d, p := used(st)
		if time.Since(shown) > sampleEvery/2 {
			shown = time.Now()
			m.Logf("in use: %d KiB of data, %d of metadata, before %d and %d; log %d/1000; %v", d>>10, p>>10,
				data>>10, meta>>10, st.Log.Pressure, st.Work)
		}
		return d <= data+data/100 && p <= meta
	})
	m.gone()
	m.well()
	d, p := used(m.status())
	m.Logf("in use: %d blocks of data, %d pages of metadata; before: %d and %d", d>>12, p>>12, data>>12,
		(meta-moreMeta)>>12)
}
