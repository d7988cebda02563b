package blend

import (
	"context"
	"slices"
	"time"

	"unblend/bpf"
	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
)

// DestageOptions say what a report of destage is to have.
type DestageOptions struct {
	SeekMillis  float64 // that a seek takes
	MBPerSecond float64 // that a disk writes, in million bytes
	Verify      bool    // compare what the kernel was seen to write with what the daemon counts
}

// VerifyLimit is the share by which the kernel's and the daemon's counts may differ.
const VerifyLimit = 0.01

// lastWait is how long the daemon may take to answer at the end.
const lastWait = 5 * time.Second

// Destage watches what becomes of what guests write. It is for one goroutine.
type Destage struct {
	*Tracer
	opt    DestageOptions
	before control.Flow // at the last report, before the kernel's counters were read
	after  control.Flow // likewise, after that
}

// OpenDestage begins to count.
func OpenDestage(ctx context.Context, d Daemon, o DestageOptions) (*Destage, error) {
	t, err := Open(ctx, d)
	if err != nil {
		return nil, err
	}
	w := &Destage{Tracer: t, opt: o}
	if _, err := w.take(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// taken is what was counted in one time.
type taken struct {
	sample
	from, to     control.Flow // of the daemon
	least, most  control.DeviceTraffic
	restartNoted bool
}

// take reads all counters. The daemon is asked before and after the kernel's are read, so that what it
// had counted at that moment lies between two answers.
func (w *Destage) take(ctx context.Context) (taken, error) {
	first, err := w.daemon.Flow(ctx)
	if err != nil {
		return taken{}, err
	}
	s, err := w.sample()
	if err != nil {
		return taken{}, err
	}
	second, err := w.daemon.Flow(ctx)
	if err != nil {
		return taken{}, err
	}
	x := taken{sample: s, from: w.after, to: second}
	if first.Written.Log < w.before.Written.Log { // a daemon that was started since
		x.from, w.before, w.after, x.restartNoted = control.Flow{}, control.Flow{}, control.Flow{}, true
	}
	x.least = subTraffic(first.Written, w.after.Written)
	x.most = subTraffic(second.Written, w.before.Written)
	w.before, w.after = first, second
	return x, nil
}

func subTraffic(a, b control.DeviceTraffic) control.DeviceTraffic {
	return control.DeviceTraffic{
		Log: a.Log - min(a.Log, b.Log), Data: a.Data - min(a.Data, b.Data),
		Metadata: a.Metadata - min(a.Metadata, b.Metadata),
	}
}

// Report returns what was counted since the last one.
func (w *Destage) Report(ctx context.Context) (control.TraceDestage, error) {
	if err := w.daemonSaid(ctx, w.look(ctx)); err != nil {
		return control.TraceDestage{}, err
	}
	x, err := w.take(ctx)
	if err != nil {
		return control.TraceDestage{}, err
	}
	doc := x.report(w.opt)
	doc.Notes = append(doc.Notes, w.notes()...)
	w.volumes.drop()
	return doc, nil
}

// Last is Report when time is short: at the end, when the caller's context has ended.
func (w *Destage) Last() (control.TraceDestage, error) {
	ctx, stop := context.WithTimeout(context.Background(), lastWait)
	defer stop()
	return w.Report(ctx)
}

// report makes the document.
func (x *taken) report(o DestageOptions) control.TraceDestage {
	doc := control.TraceDestage{
		Schema: control.SchemaTraceDestage, Start: x.start.UTC().Truncate(time.Second),
		Seconds: x.length.Seconds(), EventsLost: x.lost,
		Total:   destageRow("", &x.to.Total, x.from.Total),
		Volumes: []control.DestageRow{}, Devices: x.disks(),
		LogFill:  ratio(uint64(x.to.LogUsed), uint64(x.to.LogSize)),
		Pressure: float64(x.to.Pressure) / 1000,
	}
	t, d := &doc.Total, &doc.Devices
	d.Amplification = ratio(d.Log+d.Data+d.Metadata, t.WriteBytes)
	d.Floor = 2 - t.AbsorbedShare
	t.Fill = min(ratio(t.Destaged, d.Data-min(d.Data, d.ReplacedBytes)), 1)
	if d.Seen {
		data := &x.fixed[bpf.Data]
		t.SeekRate = rate(data.Seeks, data.Bytes)
	}
	for i := range x.to.Volumes {
		v := &x.to.Volumes[i]
		doc.Volumes = append(doc.Volumes, destageRow(v.Name, &v.Counts, x.earlier(v)))
	}
	doc.Efficiency = x.efficiency(o)
	if o.Verify {
		doc.Verify = x.verify()
	}
	if x.restartNoted {
		doc.Notes = append(doc.Notes, "the daemon was started anew: counted since then")
	}
	return doc
}

// earlier returns what a volume's counters were when the time began.
func (x *taken) earlier(v *control.VolumeFlow) control.FlowCounts {
	for i := range x.from.Volumes {
		if e := &x.from.Volumes[i]; e.Name == v.Name && e.Line == v.Line {
			return e.Counts
		}
	}
	return control.FlowCounts{Live: v.Counts.Began}
}

// destageRow makes a row of what counters have grown by.
func destageRow(name string, to *control.FlowCounts, from control.FlowCounts) control.DestageRow {
	r := control.DestageRow{
		Name: name, WriteBytes: to.WriteBytes - from.WriteBytes,
		MergeBytes: to.MergeBytes - from.MergeBytes, ZeroBytes: to.ZeroBytes - from.ZeroBytes,
		Logged: to.Logged - from.Logged, Absorbed: to.Absorbed - from.Absorbed,
		Dropped: to.Dropped - from.Dropped, Destaged: to.Destaged - from.Destaged,
		Lost: to.Lost - from.Lost, LiveChange: int64(to.Live) - int64(from.Live), Live: to.Live,
		Placed:       to.Placed - from.Placed,
		StallSeconds: float64(to.StallNanos-from.StallNanos) / 1e9,
	}
	r.AbsorbedShare = ratio(r.Absorbed+r.Dropped, r.Absorbed+r.Dropped+r.Destaged)
	r.Fill = min(ratio(r.Destaged, r.Placed), 1) // some was placed before the time began
	runs, ages := since(to.Runs, from.Runs), since(to.Ages, from.Ages)
	for _, n := range runs {
		r.Runs += n
	}
	r.MeanRun = r.Placed / max(1, r.Runs)
	if i := quantile(runs, 0.5); i >= 0 {
		r.MedianRun = log.BlockSize << i
	}
	r.SeekRate = rate(r.Runs, r.Placed)
	r.AgeP50, r.AgeP99 = age(ages, 0.5), age(ages, 0.99)
	return r
}

// since returns by how much the elements of a histogram have grown.
func since(to, from []uint64) []uint64 {
	d := slices.Clone(to)
	for i := range min(len(d), len(from)) {
		d[i] -= from[i]
	}
	return d
}

// quantile returns the element in which a share of all lies; -1: there is nothing.
func quantile(h []uint64, share float64) int {
	var all, seen uint64
	for _, n := range h {
		all += n
	}
	for i, n := range h {
		seen += n
		if n > 0 && float64(seen) >= share*float64(all) {
			return i
		}
	}
	return -1
}

// age returns the longest time, in seconds, of the element in which a share of all lies.
func age(h []uint64, share float64) float64 {
	i := quantile(h, share)
	if i < 0 {
		return 0
	}
	return float64(placement.AgeFrom(i+1)) / 1e9
}

// disks says what the pool's devices got.
func (x *taken) disks() control.DestageDisks {
	d := control.DestageDisks{
		Seen:             x.backing.known && len(x.backing.disks) > 0,
		DestageReads:     x.to.DestageReads - x.from.DestageReads,
		DestageReadBytes: x.to.DestageReadBytes - x.from.DestageReadBytes,
		ReplacedBytes:    x.to.ReplacedBytes - x.from.ReplacedBytes,
	}
	counted := subTraffic(x.to.Written, x.from.Written)
	d.Log, d.Data, d.Metadata = counted.Log, counted.Data, counted.Metadata
	if d.Seen {
		d.Log, d.Data, d.Metadata = x.fixed[bpf.Log].Bytes, x.fixed[bpf.Data].Bytes,
			x.fixed[bpf.Metadata].Bytes
	}
	return d
}

// efficiency compares the cost of the guests' writes as they are with that of what was sent.
func (x *taken) efficiency(o DestageOptions) *control.Efficiency {
	d, m := x.disks(), &x.fixed[bpf.Merged]
	if m.Writes == 0 || !d.Seen {
		return nil
	}
	cost := func(seeks, bytes uint64) float64 {
		return float64(seeks)*o.SeekMillis/1e3 + float64(bytes)/(o.MBPerSecond*1e6)
	}
	e := &control.Efficiency{
		SeekMillis: o.SeekMillis, MBPerSecond: o.MBPerSecond, AsIsSeconds: cost(m.Seeks, m.Bytes),
		SentSeconds: cost(x.fixed[bpf.FastDevice].Seeks+x.fixed[bpf.CapacityDevice].Seeks+d.DestageReads,
			d.Log+d.Data+d.Metadata+d.DestageReadBytes),
	}
	if e.SentSeconds > 0 {
		e.Gain = e.AsIsSeconds / e.SentSeconds
	}
	return e
}

// verify compares what the kernel was seen to write with what the daemon has counted.
func (x *taken) verify() *control.VerifyResult {
	v := &control.VerifyResult{OK: x.disks().Seen, Limit: VerifyLimit}
	for _, c := range []struct {
		class       string
		stream      int
		least, most uint64
	}{
		{"log", bpf.Log, x.least.Log, x.most.Log},
		{"data", bpf.Data, x.least.Data, x.most.Data},
		{"metadata", bpf.Metadata, x.least.Metadata, x.most.Metadata},
	} {
		r := control.VerifyClass{
			Class: c.class, Seen: x.fixed[c.stream].Bytes, Least: c.least, Most: c.most,
		}
		r.Off = apart(r.Seen, r.Least, r.Most)
		v.OK = v.OK && r.Off <= v.Limit
		v.Classes = append(v.Classes, r)
	}
	return v
}

// apart returns by which share of it a number lies outside of a range.
func apart(n, least, most uint64) float64 {
	switch {
	case n < least:
		return float64(least-n) / float64(least)
	case n > most:
		return float64(n-most) / float64(n)
	}
	return 0
}
