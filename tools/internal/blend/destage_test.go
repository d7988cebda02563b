package blend

import (
	"math"
	"testing"

	"unblend/bpf"
	"unblend/tools/internal/control"
)

// destageRig watches a host with one volume, of which the daemon says what the test does.
func destageRig(t *testing.T, o DestageOptions) (*host, *Destage, bpf.Device) {
	h := newHost(t)
	a := h.attach("a", 0)
	h.flow = control.Flow{
		Total:   control.FlowCounts{Began: 100, Live: 100},
		Volumes: []control.VolumeFlow{{Name: "a", Line: 1, Counts: control.FlowCounts{Began: 100, Live: 100}}},
		LogSize: 1000,
	}
	w := &Destage{Tracer: h.trace(), opt: o}
	if _, err := w.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h, w, a
}

// TestDestage writes 8 blocks in two pieces, of which 2 are absorbed and 4 destaged in one run.
func TestDestage(t *testing.T) {
	const block = 4096
	h, w, a := destageRig(t, DestageOptions{SeekMillis: 10, MBPerSecond: 1, Verify: true})
	sda, dm := bpf.DeviceNumber(8, 0), bpf.DeviceNumber(253, 0)
	for _, at := range []int64{0, 1, 2, 3, 10, 11, 0, 1} {
		h.write(w.Tracer, a, bpf.AtIssue, at*block, block)
	}
	h.write(w.Tracer, sda, bpf.AtIssue, 5*mibs, 9*block)
	h.write(w.Tracer, dm, bpf.AtQueue, 0, 4*block)
	h.write(w.Tracer, sda, bpf.AtIssue, 13*mibs, block)
	runs, ages := make([]uint64, 12), make([]uint64, 129)
	runs[2], ages[40] = 1, 4
	c := control.FlowCounts{
		WriteBytes: 8 * block, Began: 100, Logged: 8 * block, Absorbed: 2 * block, Destaged: 4 * block,
		Live: 100 + 2*block, Placed: 4 * block, Runs: runs, Ages: ages, StallNanos: 1e9,
	}
	h.flow.Total, h.flow.Volumes = c, []control.VolumeFlow{{Name: "a", Line: 1, Counts: c}}
	h.write(w.Tracer, dm, bpf.AtQueue, 4*block, 2*block) // of re-placement
	h.flow.Written = control.DeviceTraffic{Log: 9 * block, Data: 6 * block, Metadata: block}
	h.flow.ReplacedBytes = 2 * block
	h.flow.DestageReads, h.flow.DestageReadBytes, h.flow.LogUsed = 1, 4*block, 250
	doc, err := w.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := doc.Total
	if r.Logged != r.Absorbed+r.Dropped+r.Destaged+uint64(r.LiveChange) || r.AbsorbedShare != 1./3 ||
		r.Fill != 1 || r.MeanRun != 4*block || r.MedianRun != 4*block || r.StallSeconds != 1 ||
		r.AgeP50 < 1 || r.AgeP50 > 1.3 || r.SeekRate != 0 {
		t.Errorf("total: %+v", r)
	}
	if v := doc.Volumes[0]; v.Name != "a" || v.SeekRate != 64 || v.LiveChange != 2*block {
		t.Errorf("volume: %+v", v)
	}
	d := doc.Devices
	if d.Amplification != 16./8 || d.ReplacedBytes != 2*block || d.Floor != 2-1./3 || doc.LogFill != 0.25 {
		t.Errorf("devices: %+v, log %v full", d, doc.LogFill)
	}
	// Merged: two seeks and 8 blocks. Sent: one between log and metadata, one read; 20 blocks.
	if e := doc.Efficiency; e == nil || math.Abs(e.AsIsSeconds-0.02-8*block/1e6) > 1e-9 ||
		math.Abs(e.SentSeconds-0.02-20*block/1e6) > 1e-9 {
		t.Errorf("efficiency: %+v", e)
	}
	if v := doc.Verify; !v.OK || v.Classes[0].Seen != 9*block {
		t.Errorf("verify: %+v", v)
	}
	// One block in a hundred that the daemon does not know of is too much, and so is one that it alone has.
	for _, n := range []int64{102, 98} {
		h.write(w.Tracer, sda, bpf.AtIssue, 5*mibs, n*block)
		h.flow.Written.Log += 100 * block
		if doc, err = w.Report(t.Context()); err != nil || doc.Verify.OK || doc.Verify.Classes[0].Off < 0.01 {
			t.Errorf("%d blocks seen, 100 counted: %+v, %v", n, doc.Verify, err)
		}
	}
}

// TestDestageAnew: a volume that was rolled back, and a daemon that was started anew, are counted from
// then on.
func TestDestageAnew(t *testing.T) {
	h, w, _ := destageRig(t, DestageOptions{SeekMillis: 1, MBPerSecond: 1})
	h.flow.Volumes = []control.VolumeFlow{
		{Name: "a", Line: 2, Counts: control.FlowCounts{Began: 50, Logged: 10, Live: 60}},
	}
	h.flow.Written.Log = 5
	doc, err := w.Report(t.Context())
	if err != nil || doc.Volumes[0].LiveChange != 10 || doc.Volumes[0].Logged != 10 {
		t.Errorf("%+v, %v", doc.Volumes, err)
	}
	h.flow = control.Flow{Total: control.FlowCounts{Logged: 7, Live: 7}, Volumes: []control.VolumeFlow{}}
	doc, err = w.Report(t.Context())
	if err != nil || doc.Total.Logged != 7 || len(doc.Notes) == 0 {
		t.Errorf("%+v, %v", doc, err)
	}
}
