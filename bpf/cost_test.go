package bpf

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// BenchmarkPrograms writes to a device, one request at a time, and has the kernel say how long each
// program and its spare took for an event: of a device that is watched at one of the hooks, and of one
// that is not watched. What goes to the disk below the device meanwhile is in the figures, as far as it
// passes the same hook. The kernel's clock, read twice for each event, is in all figures.
func BenchmarkPrograms(b *testing.B) {
	for _, x := range []struct {
		name    string
		hook    Hook
		watched bool
	}{
		{"issue", AtIssue, true}, {"queue", AtQueue, true}, {"unwatched", AtIssue, false},
	} {
		b.Run(x.name, func(b *testing.B) {
			f, dev := loopDevice(b, costBlock*costBlocks)
			if !x.watched {
				dev = DeviceNumber(1, 1<<20-1)
			}
			a := load(b, []Guest{{Device: dev, Hook: x.hook, Stream: FirstGuest}}, nil)
			programs := pair{a.objs.RqIssue, a.objs.RqIssueSpare}
			if x.hook == AtQueue {
				programs = pair{a.objs.BioQueue, a.objs.BioQueueSpare}
			}
			measure(b, f, a.Attach, map[string]pair{"": programs})
		})
	}
}

// BenchmarkRequests does so for the programs that follow requests, and have their times counted.
func BenchmarkRequests(b *testing.B) {
	f, dev := loopDevice(b, costBlock*costBlocks)
	r := follow(b, []Guest{{Device: dev, Stream: FirstGuest}}, nil, RequestOptions{Times: true})
	o := &r.objs
	measure(b, f, r.Attach, map[string]pair{
		"-bio-queue": {o.OnBioQueue, o.OnBioQueueSpare}, "-issue": {o.OnRqIssue, o.OnRqIssueSpare},
		"-complete": {o.OnRqComplete, o.OnRqCompleteSpare},
	})
}

const costBlock, costBlocks = 4096, 4096

// measure writes to a device and reports what each program took for an event.
func measure(b *testing.B, f *os.File, attach func() error, programs map[string]pair) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	if err := attach(); err != nil {
		b.Fatal(err)
	}
	buf := aligned(costBlock)
	for i := 0; b.Loop(); i++ {
		// Two in order, then elsewhere: runs go on, and end.
		if _, err := f.WriteAt(buf, int64((i/2*5+i%2)%costBlocks)*costBlock); err != nil {
			b.Fatal(err)
		}
	}
	for name, p := range programs {
		b.ReportMetric(cost(b, p.first), "ns/program"+name)
		b.ReportMetric(cost(b, p.spare), "ns/spare"+name)
	}
}

// cost returns how long a program took for an event, in nanoseconds.
func cost(b *testing.B, p *ebpf.Program) float64 {
	b.Helper()
	s, err := p.Stats()
	if err != nil {
		b.Fatal(err)
	}
	return float64(s.Runtime.Nanoseconds()) / float64(max(s.RunCount, 1))
}
