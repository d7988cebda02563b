package ublk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serveUntilKilled is the helper: a file target behind device UBLK_TEST_DEVICE (a new one if empty,
// else recovered), until the process is killed.
func serveUntilKilled() error {
	c, err := OpenControl()
	if err != nil {
		return err
	}
	f, err := OpenFile(os.Getenv("UBLK_TEST_FILE"))
	if err != nil {
		return err
	}
	cfg := ServeConfig{Device: DeviceConfig{ID: AnyID, Depth: 32}, Timeout: patience}
	if id := os.Getenv("UBLK_TEST_DEVICE"); id != "" {
		cfg.Recover = true
		if cfg.Device.ID, err = strconv.Atoi(id); err != nil {
			return err
		}
	}
	var target Target = f
	if os.Getenv("UBLK_TEST_STALL") != "" {
		target = &stalling{File: f}
	}
	start := time.Now()
	s, err := Serve(c, cfg, target)
	if err != nil {
		return err
	}
	fmt.Printf("%d %d\n", s.Info().ID, time.Since(start).Microseconds())
	select {}
}

// stalling is a target that answers no writes.
type stalling struct{ *File }

func (s *stalling) Begin(r *Request) {
	if r.Op != Write {
		s.File.Begin(r)
	}
}

// serverProcess is a running helper.
type serverProcess struct {
	cmd   *exec.Cmd
	id    int
	ready time.Duration // its own time to the device's being live
}

// serverCommand is the helper's command line.
func serverCommand(file, device string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=serve", "UBLK_TEST_FILE="+file,
		"UBLK_TEST_DEVICE="+device)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// spawn starts a server process and waits until its device is live.
func spawn(t *testing.T, file, device string, env ...string) serverProcess {
	t.Helper()
	cmd := serverCommand(file, device, env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var p serverProcess
	var us int64
	if _, err := fmt.Fscan(out, &p.id, &us); err != nil {
		cmd.Wait()
		t.Fatalf("server process: %v", err)
	}
	p.cmd, p.ready = cmd, time.Duration(us)*time.Microsecond
	return p
}

// kill ends the process as a crash would.
func (p serverProcess) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	p.cmd.Wait()
}

// writer writes and verifies the blocks of its own region, one request at a time, and keeps the
// longest time one took.
type writer struct {
	d       disk
	base    int64
	last    []uint64 // by block: the seed of what was acknowledged
	longest time.Duration
	done    atomic.Int64
}

const writerBlock = 4096

func (w *writer) run(seed uint64, stop *atomic.Bool, b, r []byte) error {
	rnd := rand.New(rand.NewPCG(seed, 7))
	for n := seed << 32; !stop.Load(); n++ {
		i := rnd.IntN(len(w.last))
		start := time.Now()
		if rnd.IntN(3) > 0 {
			stamp(b, n)
			binary.LittleEndian.PutUint64(b, n)
			if _, err := unix.Pwrite(w.d.fd, b, w.base+int64(i)*writerBlock); err != nil {
				return fmt.Errorf("write %d: %w", n, err)
			}
			w.last[i] = n
		} else if err := w.verify(i, b, r); err != nil {
			return err
		}
		w.longest = max(w.longest, time.Since(start))
		w.done.Add(1)
	}
	for i := range w.last {
		if err := w.verify(i, b, r); err != nil {
			return err
		}
	}
	return nil
}

// verify reads a block and compares it with what was acknowledged last.
func (w *writer) verify(i int, b, r []byte) error {
	if _, err := unix.Pread(w.d.fd, r, w.base+int64(i)*writerBlock); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	clear(b)
	if n := w.last[i]; n != 0 {
		stamp(b, n)
		binary.LittleEndian.PutUint64(b, n)
	}
	if !bytes.Equal(r, b) {
		return fmt.Errorf("block %d of writer at %d: write %#x, want %#x", i, w.base,
			binary.LittleEndian.Uint64(r), w.last[i])
	}
	return nil
}

// Four writers see no error and no wrong byte while the server is killed and replaced again and
// again, with requests under way.
func TestKilledServerIsReplacedWithoutAnError(t *testing.T) {
	c := control(t)
	const size, writers, kills = 32 << 20, 16, 10
	// Writers blocked in the kernel should not wait for one another in Go's scheduler too.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(writers + 4))
	file, _ := backing(t, size)
	p := spawn(t, file, "")
	id := uint32(p.id)
	defer func() {
		p.kill(t)
		if err := c.Delete(id, patience); err != nil {
			t.Error(err)
		}
	}()
	d := openDisk(t, BlockPath(id))
	defer d.close()
	var stop atomic.Bool
	var wg sync.WaitGroup
	ws := make([]*writer, writers)
	for i := range ws {
		const blocks = size / writers / writerBlock / 8
		ws[i] = &writer{d: d, base: int64(i) * size / writers, last: make([]uint64, blocks)}
		b, r := aligned(t, writerBlock), aligned(t, writerBlock)
		wg.Go(func() {
			if err := ws[i].run(uint64(i+1), &stop, b, r); err != nil {
				t.Error(err)
			}
		})
	}
	for k := range kills {
		progress(t, ws)
		start := time.Now()
		p.kill(t)
		killed := time.Since(start)
		info, err := c.Info(id, patience)
		if err != nil {
			t.Fatal(err)
		}
		p = spawn(t, file, strconv.Itoa(int(id)))
		total := time.Since(start)
		t.Logf("kill %d: process gone after %v (device %v), live again after %v, %v of it recovery",
			k, killed.Round(time.Millisecond), info.State, total.Round(time.Millisecond),
			p.ready.Round(time.Millisecond))
	}
	progress(t, ws)
	stop.Store(true)
	wg.Wait()
	requests, longest := int64(0), time.Duration(0)
	for _, w := range ws {
		requests += w.done.Load()
		longest = max(longest, w.longest)
	}
	t.Logf("%d requests, the longest took %v", requests, longest.Round(time.Millisecond))
}

// The next server is killed too, at any moment of its recovery; the one after that finds a device
// that it can take over, and nothing is lost.
func TestServersKilledDuringRecovery(t *testing.T) {
	c := control(t)
	const kills = 12
	file, _ := backing(t, 4<<20)
	p := spawn(t, file, "")
	id := uint32(p.id)
	d := openDisk(t, BlockPath(id))
	defer d.close()
	w := &writer{d: d, last: make([]uint64, 64)}
	var stop atomic.Bool
	ended := make(chan error)
	b, r := aligned(t, writerBlock), aligned(t, writerBlock)
	go func() { ended <- w.run(1, &stop, b, r) }()
	progress(t, []*writer{w})
	p.kill(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	longest := 3 * p.ready // what a recovery takes, and the start of a process
	for range kills {
		cmd := serverCommand(file, strconv.Itoa(int(id)))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rnd.Int64N(int64(longest))))
		serverProcess{cmd: cmd}.kill(t)
	}
	p = spawn(t, file, strconv.Itoa(int(id)))
	progress(t, []*writer{w})
	stop.Store(true)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	d.close()
	p.kill(t)
	if err := c.Delete(id, patience); err != nil {
		t.Error(err)
	}
}

// progress waits until every writer had some requests answered.
func progress(t *testing.T, ws []*writer) {
	t.Helper()
	from := make([]int64, len(ws))
	for i, w := range ws {
		from[i] = w.done.Load()
	}
	for i, w := range ws {
		waitFor(t, fmt.Sprintf("writer %d", i), func() bool { return w.done.Load() > from[i]+50 })
	}
}

// A server dies with more requests than it has tags: the kernel must notice without waiting for
// their timeout of 30 s.
func TestServerKilledWithEveryTagBusy(t *testing.T) {
	c := control(t)
	const writers = 64 // twice the depth
	file, _ := backing(t, writers*writerBlock)
	p := spawn(t, file, "", "UBLK_TEST_STALL=1")
	id := uint32(p.id)
	defer func() {
		p.kill(t)
		if err := c.Delete(id, patience); err != nil {
			t.Error(err)
		}
	}()
	d := openDisk(t, BlockPath(id))
	defer d.close()
	var wg sync.WaitGroup
	for i := range writers {
		b := aligned(t, writerBlock)
		stamp(b, uint64(i))
		wg.Go(func() {
			if _, err := unix.Pwrite(d.fd, b, int64(i)*writerBlock); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	inflight := fmt.Sprintf("/sys/block/ublkb%d/inflight", id)
	waitFor(t, "31 writes under way", func() bool {
		b, err := os.ReadFile(inflight)
		return err == nil && strings.Contains(string(b), "31")
	})
	start := time.Now()
	p.kill(t)
	p = spawn(t, file, strconv.Itoa(int(id)))
	wg.Wait()
	took := time.Since(start)
	t.Logf("all writes answered %v after the kill", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Error("the kernel waited for the requests' timeout")
	}
	b, r := aligned(t, writerBlock), aligned(t, writerBlock)
	for i := range writers {
		stamp(b, uint64(i))
		if d.read(r, int64(i)*writerBlock); !bytes.Equal(b, r) {
			t.Errorf("write %d was lost", i)
		}
	}
}

// A recovery whose server dies before it fetches can be started again; on 6.12 the kernel itself
// says EINVAL to that.
func TestRecoveryStartedTwice(t *testing.T) {
	c := control(t)
	file, _ := backing(t, 1<<20)
	p := spawn(t, file, "")
	p.kill(t)
	id := uint32(p.id)
	for i := range 2 {
		if err := c.StartRecovery(id, patience); err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
	}
	info, err := c.Info(id, patience)
	if err != nil || info.State != Quiesced {
		t.Errorf("%+v (%v), want it quiesced", info, err)
	}
	p = spawn(t, file, strconv.Itoa(int(id)))
	d := openDisk(t, BlockPath(id))
	d.read(aligned(t, 4096), 0)
	d.close()
	p.kill(t)
	if err := c.Delete(id, patience); err != nil {
		t.Error(err)
	}
}

// A device can be handed from one server to the next without a death, where the kernel has QUIESCE
// and the device is idle.
func TestQuiescedDeviceIsTakenOver(t *testing.T) {
	c := control(t)
	if !kernelAtLeast(t, Quiesce.Since()) {
		t.Skipf("skipped: QUIESCE needs Linux %s", Quiesce.Since())
	}
	_, f := backing(t, 1<<20)
	cfg := ServeConfig{Device: DeviceConfig{ID: AnyID, Want: Quiesce}, Timeout: patience}
	s, err := Serve(c, cfg, f)
	if err != nil {
		t.Fatal(err)
	}
	id := s.Info().ID
	d := openDisk(t, s.Path())
	b, r := aligned(t, 4096), aligned(t, 4096)
	stamp(b, 1)
	d.write(b, 0)
	if err := c.Quiesce(id, time.Second, patience); err != nil {
		t.Fatal(err)
	}
	<-s.stopped
	if s.err != nil {
		t.Error(s.err)
	}
	got := make(chan error)
	go func() { // waits in the kernel until there is a server again
		_, err := unix.Pread(d.fd, r, 0)
		got <- err
	}()
	cfg.Recover, cfg.Device.ID = true, int(id)
	if s, err = Serve(c, cfg, f); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil || !bytes.Equal(b, r) {
		t.Errorf("read across the change of servers: %v", err)
	}
	d.close()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// Taking over a device that lives is refused, in time.
func TestLiveDeviceIsNotRecovered(t *testing.T) {
	c := control(t)
	s := serve(t, c, ServeConfig{}, newNull(t, 1<<20))
	start := time.Now()
	if err := c.StartRecovery(s.Info().ID, 100*time.Millisecond); err == nil {
		t.Error("recovered a live device")
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("refused after %v", took)
	}
}
