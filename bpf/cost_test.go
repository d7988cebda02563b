package bpf

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// BenchmarkPrograms writes to a device, one request at a time, and has the kernel say how long each
// program took for an event: for one that it analyzes, and for one that it passes over, because the
// device is watched at the other hook. What goes to the disk below the device meanwhile is among
// those passed over. The kernel's clock, read twice for each event, is in all figures.
func BenchmarkPrograms(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	for name, hook := range map[string]Hook{"issue": AtIssue, "queue": AtQueue} {
		b.Run(name, func(b *testing.B) {
			const block, blocks = 4096, 4096
			f, dev := loopDevice(b, block*blocks)
			a := load(b, []Guest{{Device: dev, Hook: hook, Stream: FirstGuest}}, nil)
			stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
			if err != nil {
				b.Fatal(err)
			}
			defer stats.Close()
			if err := a.Attach(); err != nil {
				b.Fatal(err)
			}
			buf := aligned(block)
			for i := 0; b.Loop(); i++ {
				// Two in order, then elsewhere: runs go on, and end.
				if _, err := f.WriteAt(buf, int64((i/2*5+i%2)%blocks)*block); err != nil {
					b.Fatal(err)
				}
			}
			analyzes, passes := a.objs.RqIssue, a.objs.BioQueue
			if hook == AtQueue {
				analyzes, passes = passes, analyzes
			}
			b.ReportMetric(cost(b, analyzes), "ns/analyzed")
			b.ReportMetric(cost(b, passes), "ns/passed-over")
		})
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
