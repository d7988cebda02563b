package vmtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/faultdisk"
	"unblend/tools/internal/vm"
)

// Stages of TestPowerCutMachine.
const (
	stageFirst = "first" // make the pool, write until the power goes
	stageNext  = "next"  // verify, write until the power goes
	stageLast  = "last"  // verify, end in order, check
)

// journalShare is the directory of the journal in the machine.
const journalShare = "/rw"

// TestPowerCutMachine cuts the power of a whole machine with its disks, while four volumes are
// written, and boots another one on what is left. Nobody repeats the requests that were under way:
// each write is there as a whole or not at all. The journal is a file on the host.
//
// QEMU passes a FUA write on as a write and a FLUSH, so that this test is weaker than TestPowerCut
// where the order of writes on one disk matters.
func TestPowerCutMachine(t *testing.T) {
	if inGuest() {
		machineStage(t)
		return
	}
	cuts := number(t, "UNBLEND_MACHINE_CUTS", max(1, number(t, "UNBLEND_CUTS", 3)/7))
	need(t)
	t.Parallel()
	srv, err := faultdisk.New(faultdisk.Config{Disks: cutDisks()})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	// A socket's path is short.
	dir, err := os.MkdirTemp("/tmp", "unblend-cut-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "nbd")
	if _, err := srv.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	share := t.TempDir()
	config := func(stage string) vm.Config {
		cfg := machine(t, stage)
		cfg.Share = share
		for _, d := range cutDisks() {
			cfg.Drives = append(cfg.Drives, vm.Drive{Name: d.Name, Path: vm.NBD(socket, d.Name)})
		}
		return cfg
	}
	harmful := 0
	for i := range cuts {
		stage := stageNext
		if i == 0 {
			stage = stageFirst
		}
		if cutMachine(t, config(stage), srv, i) > 0 {
			harmful++
		}
	}
	run(t, config(stageLast))
	t.Logf("%d power cuts of the machine, %d had something to lose", cuts, harmful)
	if 2*harmful < cuts {
		t.Error("most cuts had nothing to lose: that shows nothing")
	}
	if err := srv.Err(); err != nil {
		t.Error(err)
	}
}

// cutMachine boots a machine and cuts its power while it writes. It returns how many sectors
// were not durable.
func cutMachine(t *testing.T, cfg vm.Config, srv *faultdisk.Server, i int) int {
	t.Helper()
	begin := time.Now()
	rng := cutRand(i)
	m, err := vm.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	waitForWrites(t, m, journalPath(cfg.Share, i), 2*(100+rng.IntN(500)))
	if i%2 == 0 {
		if err := slowDisks(srv, rng); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	time.Sleep(time.Duration(rng.IntN(50_000)) * time.Microsecond)
	rep, err := srv.Off(rng.Uint64(), faultdisk.Random)
	if err != nil {
		t.Fatal(err)
	}
	m.Kill()
	// Of the cut before; that the machine was killed is no error.
	res, _ := m.Wait()
	if err := cfg.Output.(*guestOutput).record(res.Kernel, false); err != nil {
		t.Error(err)
	}
	srv.Heal()
	srv.On()
	sectors := 0
	for _, d := range rep.Disks {
		sectors += d.Sectors
	}
	t.Logf("cut %d after %.1f s: keeps %s, %+v", i, time.Since(begin).Seconds(), rep.Mode,
		rep.Disks)
	return sectors
}

// journalPath is the journal of the i-th machine.
func journalPath(dir string, i int) string { return filepath.Join(dir, "journal-"+strconv.Itoa(i)) }

// waitForWrites waits until a journal has so many records.
func waitForWrites(t *testing.T, m *vm.Machine, path string, records int) {
	t.Helper()
	var writing time.Time
	for {
		st, err := os.Stat(path)
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			t.Fatal(err)
		case err == nil && st.Size() >= int64(records*journalRecordSize):
			return
		case err == nil && writing.IsZero():
			writing = time.Now()
		case !writing.IsZero() && time.Since(writing) > 2*cutWriteTime:
			return
		}
		select {
		case <-m.Done():
			_, err := m.Wait()
			t.Fatalf("the machine ended before its power was cut: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// slowDisks makes the disks slow.
func slowDisks(srv *faultdisk.Server, rng *rand.Rand) error {
	ms := func(n int) time.Duration { return time.Duration(1+rng.IntN(n)) * time.Millisecond }
	return errors.Join(
		srv.Delay("log", faultdisk.Write, ms(30)), srv.Delay("log", faultdisk.Flush, ms(30)),
		srv.Delay("data", faultdisk.Write, ms(150)), srv.Delay("data", faultdisk.Flush, ms(150)),
	)
}

// machineStage is the test in one of its machines.
func machineStage(t *testing.T) {
	c := &cutter{g: newGuest(t), p: devicePool("/dev/vm/log", "/dev/vm/data")}
	t.Cleanup(c.end)
	done, err := filepath.Glob(filepath.Join(journalShare, "journal-*"))
	if err != nil {
		t.Fatal(err)
	}
	if stage() == stageFirst {
		c.g.format(c.p)
		c.start()
		c.makeVolumes()
	} else {
		c.start()
		for i, name := range fourVolumes {
			c.vols = append(c.vols, newCutVolume(uint32(i+1), name, cutVolumeSize))
		}
		c.openVolumes()
		c.verifyMachine(len(done))
	}
	if stage() == stageLast {
		c.g.stop(c.d)
		c.g.check(c.p)
		return
	}
	j, err := createJournal(journalPath(journalShare, len(done)))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range c.vols {
		if err := saveState(journalShare, v); err != nil {
			t.Fatal(err)
		}
		v.journal = j
	}
	c.writers = startCutWriters(t.Context(), c.vols, cutDepth, uint64(len(done)))
	c.points = startCheckpoints(t.Context(), c.g.prog.Socket())
	time.Sleep(machineTime()) // the power is cut long before
}

// verifyMachine verifies all volumes after n machines lost their power.
func (c *cutter) verifyMachine(n int) {
	c.g.Helper()
	for _, v := range c.vols {
		if err := loadState(journalShare, v); err != nil {
			c.g.Fatal(err)
		}
	}
	acks, err := replayJournal(journalPath(journalShare, n-1), c.vols)
	if err != nil {
		c.g.Fatal(err)
	}
	open := 0
	var all cutFindings
	for _, v := range c.vols {
		open += len(v.open)
		f, err := v.verify(c.wholeTo("/dev/unblend/" + v.name))
		if err != nil {
			c.g.Fatal(err)
		}
		all.add(f)
	}
	c.g.wellServed()
	c.g.Logf("ready after %.1f s; acknowledged requests: %d, lost: %d; under way: %d, there: %d, "+
		"in part: %d; %d sectors verified, %d wrong", c.d.Ready.Seconds(), acks, all.lost, open,
		all.kept, all.torn, all.sectors, all.wrong)
	if all.wrong > 0 || all.torn > 0 {
		c.g.Fatal(strings.Join(all.first, "\n"))
	}
	c.g.figures("power cuts of a machine", figures{
		"cuts": 1, "acknowledged": acks, "lost": all.lost, "sectors": all.sectors, "wrong": all.wrong,
	})
}

// wholeTo returns up to which length, in bytes, the kernel passes a write on as one request.
func (c *cutter) wholeTo(path string) int64 {
	c.g.Helper()
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		c.g.Fatal(err)
	}
	queue := filepath.Join("/sys/block", filepath.Base(device), "queue")
	limit := func(name string) int64 {
		n, err := strconv.ParseInt(c.g.sh("cat "+filepath.Join(queue, name)), 10, 64)
		if err != nil {
			c.g.Fatal(err)
		}
		return n
	}
	// In memory that is not contiguous each page is a segment.
	return min(limit("max_sectors_kb")<<10, (limit("max_segments")-1)*cutBlock)
}
