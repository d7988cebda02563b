package vmtest

import (
	"fmt"
	"testing"
	"time"
)

// maxRSS is what the daemon may need with its default settings, in bytes.
const maxRSS = 100 << 20

// TestVerify lets fio write to four volumes at once and verify all of it, until the log has wrapped
// several times; then the pool is checked offline.
func TestVerify(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	job := fioJob{size: 64, seconds: number(t, "UNBLEND_SECONDS", 15)}
	for _, name := range fourVolumes {
		job.disks = append(job.disks, g.create(name, fmt.Sprintf("%dM", job.size)))
	}
	z := g.openZeroing(g.create("zeros", "16M"))
	fio := g.startFio(job)
	ops := 0
	for end := time.Now().Add(time.Duration(job.seconds) * time.Second); time.Now().Before(end); {
		z.step()
		ops++
	}
	res := fio.wait()
	z.verify(0, zeroingSize)
	z.close()
	t.Logf("%d operations on the zeroed volume", ops)
	st := g.wellServed()
	rss, err := d.PeakRSS()
	if err != nil || rss > maxRSS {
		t.Errorf("peak memory %d MiB, at most %d wanted, %v", rss>>20, maxRSS>>20, err)
	}
	t.Logf("guests wrote %d MiB, %.1f times the log; %d writes of the log; peak memory %d MiB; "+
		"longest request %v", res.written()>>20, float64(res.written())/float64(st.Log.Size),
		st.Log.Writes, rss>>20, res.longest().Round(time.Millisecond))
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}
