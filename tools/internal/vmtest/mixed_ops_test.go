package vmtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
)

const (
	mostMoments = 6 // snapshots at a time
	mostOwn     = 4 // volumes that come and go
	ownMiB      = 8
	spareMiB    = 16
	killEvery   = 8 // steps, in the first half of the time
	fillEvery   = 5 * time.Minute
)

// moment is a snapshot of a volume that is written all the time, and perhaps a clone of it.
type moment struct {
	name   string // of the snapshot
	of     *load.Disk
	before []uint32 // see load.Disk.VerifyMoment
	last   uint32
	clone  string // attached; empty: none
}

// own is a volume that comes and goes.
type own struct {
	name string
	disk *load.Disk
	away bool // detached
}

// work does one step after the other until the time is over.
func (m *mixed) work() {
	m.step("mixed load")
	next := m.begin.Add(sampleEvery)
	whole := m.end.Sub(m.begin)
	half, full := m.begin.Add(whole/2), m.begin.Add(min(whole/3, fillEvery))
	steps := []struct {
		name string
		do   func()
	}{
		{"snapshots", m.snapshot},
		{"clones", m.cloneOne},
		{"verified", m.verifyOne},
		{"removed", m.removeMoment},
		{"created", m.createOwn},
		{"written", m.writeOwn},
		{"written", m.writeOwn},
		{"attached", m.toggleOwn},
		{"trims", m.trimOwn},
		{"removed", m.removeOwn},
	}
	for i := 1; time.Now().Before(m.end) && !m.Failed(); i++ {
		switch {
		case i%killEvery == 0 && time.Now().Before(half):
			m.counted("kills", m.killed)
		case time.Now().After(full):
			m.counted("fills", m.fill)
			full = time.Now().Add(fillEvery)
		default:
			s := steps[m.rng.IntN(len(steps))]
			m.counted(s.name, s.do)
		}
		if time.Now().After(next) {
			m.sample()
			if m.warm == 0 && time.Now().After(half) {
				m.warm = len(m.samples) - 1
			}
			next = time.Now().Add(sampleEvery)
		}
	}
	if m.warm == 0 {
		m.sample()
		m.warm = len(m.samples) - 1
	}
}

// counted counts a step.
func (m *mixed) counted(name string, do func()) {
	n, _ := m.count[name].(int)
	m.count[name] = n + 1
	do()
}

// name returns a name that no other node has had.
func (m *mixed) name() string {
	m.next++
	return fmt.Sprintf("n%d", m.next)
}

// pick returns the index of one of n things, -1 if there are none.
func (m *mixed) pick(n int) int {
	if n == 0 {
		return -1
	}
	return m.rng.IntN(n)
}

// snapshot takes a snapshot of a volume that is written, and has it verified.
func (m *mixed) snapshot() {
	if len(m.moved) >= mostMoments {
		m.removeMoment()
	}
	i := m.pick(len(m.base))
	s := moment{name: fourVolumes[i] + "@" + m.name(), of: m.base[i]}
	s.before, _ = s.of.Numbers()
	m.do("snapshot", s.name)
	_, s.last = s.of.Numbers()
	m.moved = append(m.moved, s)
}

// cloneOne clones a snapshot, if there is one without a clone.
func (m *mixed) cloneOne() {
	i := slices.IndexFunc(m.moved, func(s moment) bool { return s.clone == "" })
	if i < 0 {
		m.snapshot()
		i = len(m.moved) - 1
	}
	m.moved[i].clone = m.name()
	m.do("clone", m.moved[i].name, m.moved[i].clone, "--attach")
}

// verifyOne compares a snapshot, or its clone, with what was written before it.
func (m *mixed) verifyOne() {
	i := m.pick(len(m.moved))
	if i < 0 {
		return
	}
	s := m.moved[i]
	name := s.clone
	if name == "" {
		name = s.name
		m.do("attach", name)
		defer m.do("detach", name)
	}
	if err := s.of.VerifyMoment(m.ctx, "/dev/unblend/"+name, s.before, s.last); err != nil {
		m.Errorf("%s: %v", name, err)
	}
}

// removeMoment removes a snapshot, and its clone, in either order.
func (m *mixed) removeMoment() {
	i := m.pick(len(m.moved))
	if i < 0 {
		return
	}
	s := m.moved[i]
	m.moved = slices.Delete(m.moved, i, i+1)
	names := []string{s.name}
	if s.clone != "" {
		names = append(names, s.clone)
	}
	m.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		m.do("rm", name)
	}
}

// createOwn makes a volume.
func (m *mixed) createOwn() {
	if len(m.made) >= mostOwn {
		m.removeOwn()
	}
	name := m.name()
	disk := m.openDisk(m.create(name, fmt.Sprintf("%dM", ownMiB)), uint32(100+m.next))
	m.made = append(m.made, own{name: name, disk: disk})
}

// attachedOwn returns a volume that has a device; it makes one if there is none.
func (m *mixed) attachedOwn() *own {
	if !slices.ContainsFunc(m.made, func(o own) bool { return !o.away }) {
		m.createOwn()
	}
	for {
		if o := &m.made[m.pick(len(m.made))]; !o.away {
			return o
		}
	}
}

// writeOwn writes a volume, and verifies it.
func (m *mixed) writeOwn() {
	o := m.attachedOwn()
	m.write(o.disk, 20, uint64(m.next))
	m.verify(o.disk)
}

// toggleOwn detaches a volume that is attached, and attaches one that is not.
func (m *mixed) toggleOwn() {
	i := m.pick(len(m.made))
	if i < 0 {
		return
	}
	o := &m.made[i]
	if o.away {
		m.do("attach", o.name)
		m.reopen(o.disk, "/dev/unblend/"+o.name)
		m.verify(o.disk)
	} else {
		o.disk.Close()
		m.do("detach", o.name)
	}
	o.away = !o.away
}

// trimOwn discards all of a volume, which must hold zeros then.
func (m *mixed) trimOwn() {
	o := m.attachedOwn()
	m.sh("blkdiscard /dev/unblend/" + o.name)
	disk := m.openDisk("/dev/unblend/"+o.name, uint32(100+m.next))
	m.next++
	o.disk.Close()
	o.disk = disk
	m.verify(disk)
}

// removeOwn removes a volume, attached or not.
func (m *mixed) removeOwn() {
	i := m.pick(len(m.made))
	if i < 0 {
		return
	}
	m.made[i].disk.Close()
	m.do("rm", m.made[i].name)
	m.made = slices.Delete(m.made, i, i+1)
}

// killed kills the daemon, half of the time while it takes a snapshot, of which only has to be known
// whether it is there.
func (m *mixed) killed() {
	name, done := fourVolumes[0]+"@"+m.name(), make(chan struct{})
	go func() {
		defer close(done)
		if m.next%2 == 0 {
			_, _ = m.ask("snapshot", name)
		}
	}()
	time.Sleep(time.Duration(m.rng.IntN(200)) * time.Millisecond)
	m.d.Kill()
	<-done
	m.d = m.serve(m.p)
	m.count["longest_start_s"] = max(m.longest(), m.d.Ready.Seconds())
	m.wellServed()
	if _, there := m.volumes()[name]; there {
		m.do("rm", name)
	}
}

// longest returns how long the longest start has taken, in seconds.
func (m *mixed) longest() float64 {
	s, _ := m.count["longest_start_s"].(float64)
	return s
}

// fill writes a volume until the pool is full and writers wait. Then space is freed, all must go on,
// and what was written is verified.
func (m *mixed) fill() {
	begin := time.Now()
	// More than there is room for beside the others, which write meanwhile, and no more: pages are promised
	// to a large volume as if all of it changed.
	size := m.status().Space.Free >> 20 << 20
	m.create("spare", fmt.Sprintf("%dM", spareMiB))
	m.sh(fmt.Sprintf("dd if=/dev/urandom of=/dev/unblend/spare bs=1M count=%d oflag=direct "+
		"iflag=fullblock status=none", spareMiB))
	disk := m.openDisk(m.create("fill", fmt.Sprint(size)), uint32(100+m.next))
	m.next++
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	w, ended := load.NewWriter(disk, 4, load.Sequential(disk.Size(), 256<<10), 1), make(chan error, 1)
	go func() { ended <- w.Run(ctx, 0) }()
	m.awaitFull(w)
	cancel()
	full := time.Since(begin)
	m.do("rm", "spare")
	select {
	case err := <-ended:
		if err != nil {
			m.Errorf("the writer that filled the pool: %v", err)
		}
	case <-time.After(mixedWithin):
		m.Fatal("writes do not go on when space has been freed")
	}
	m.verify(disk)
	disk.Close()
	m.do("rm", "fill")
	m.well()
	m.Logf("full with %d MiB after %v, well again after %v", w.Stats().Bytes>>20,
		full.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
}

// awaitFull waits until the pool is full and writers wait: for as long as one of them gets on.
func (m *mixed) awaitFull(w *load.Writer) {
	m.Helper()
	var st control.Status
	for written, since := uint64(0), time.Now(); time.Since(since) < mixedWithin; {
		if n := w.Stats().Bytes; n != written {
			written, since = n, time.Now()
		}
		st = m.status()
		if st.Space.Free-st.Space.Promised < st.Space.Size/16 && st.Log.Stalled > 0 {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	m.Fatalf("the writer that is to fill the pool stands still: %+v, %+v, %q", st.Space, st.Log, st.Warnings)
}

// well waits until nobody complains of the pool any more.
func (m *mixed) well() {
	m.Helper()
	m.eventually("the pool is well", mixedWithin, func() bool {
		st := m.status()
		return st.State == control.PoolOK && len(st.Warnings) == 0
	})
}
