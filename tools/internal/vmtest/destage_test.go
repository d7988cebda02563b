package vmtest

import (
	"math"
	"math/rand/v2"

	"unblend/tools/internal/control"
	"unblend/tools/internal/load"
)

// traceDestage rewrites a hot set, empties the log, and compares what trace destage says with what the
// writes say themselves. The kernel must have seen what the daemon counts.
func (g *guest) traceDestage() {
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	disk := g.openDisk(g.create("hot", "64M"), 1)
	const hot, block, writes = 4 << 20, 16 << 10, 1000
	tr := g.trace("destage", "--verify")
	touched := map[int64]bool{}
	next := load.Random(hot, block)
	pattern := func(rng *rand.Rand) load.Range { // one goroutine calls it
		r := next(rng)
		touched[r.Off] = true
		return r
	}
	if err := load.NewWriter(disk, 1, pattern, 1).Run(g.ctx, writes); err != nil {
		g.Fatal(err)
	}
	g.checkpoint()
	var doc control.TraceDestage
	g.end(tr, &doc)
	x, left := doc.Total, uint64(len(touched)*block)
	g.Logf("absorbed %.4f, write amplification %.3f, floor %.3f, mean run %d KiB, p99 %.1f s; %+v",
		x.AbsorbedShare, doc.Devices.Amplification, doc.Devices.Floor, x.MeanRun>>10, x.AgeP99, doc.Verify)
	if x.WriteBytes != writes*block || x.Absorbed+x.Destaged != writes*block ||
		x.Logged != x.Absorbed+x.Dropped+x.Destaged+x.Lost+uint64(x.LiveChange) {
		g.Errorf("%+v", x)
	}
	// What was destaged while the writes went on, in a pause that a busy host made, was moved again.
	if x.Destaged < left || x.Destaged > writes*block {
		g.Errorf("%d bytes destaged, %d touched", x.Destaged, left)
	}
	if floor := 1 + float64(x.Destaged)/(writes*block); math.Abs(doc.Devices.Floor-floor) > 1e-9 ||
		doc.Devices.Amplification < floor || doc.Devices.Amplification > floor+0.6 {
		g.Errorf("write amplification %.3f, floor %.3f, want %.3f", doc.Devices.Amplification,
			doc.Devices.Floor, floor)
	}
	if v := doc.Verify; v == nil || !v.OK && doc.EventsLost == 0 {
		g.Errorf("%+v", v)
	}
	disk.Close()
	g.wellServed()
	g.stop(d)
}
