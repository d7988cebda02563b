package bench

import (
	"fmt"
	"slices"
	"strings"

	"unblend/tools/internal/units"
)

// writeMethod says where and how the figures were measured.
func (s *Suite) writeMethod(b *strings.Builder) {
	b.WriteString("## How it was measured\n\n" + s.where() + "\n")
	n := s.Settings
	fmt.Fprintf(b, `
Each cell, a target under a workload, has its own devices. Runs come in pairs, %d of each cell: the
target, then unblend, and the other way round in every other pair. A run takes %s of fio, with
libaio and O_DIRECT. The volumes of a cell have %s in all. unblend is a volume in the state that
the table names. Its log has %s and is empty when a run begins. Where the workload says that the
log is full, it has %s, one log's worth of the same writes goes before each run, and destage works
beside it. Every place of the device was written once before the first cell. Re-placement, which
unblend does when guests are idle, is off, so that it does not run beside a target.
`, n.Pairs, units.FormatDuration(n.Run), units.FormatSize(n.Total), units.FormatSize(logSize(n.Total, false)),
		units.FormatSize(logSize(n.Total, true)))
	fmt.Fprintf(b, `
- "Just made", "just after a snapshot" and "clone" hold when a run begins, and end where it has written.
  Such volumes have %s, and a run of random writes on them ends when there were three writes for every
  eight chunks of 64 KiB, as it would be on a large disk for long. Where a workload reads, a volume that
  was just made is written once first.
- dm-thin has chunks of 64 KiB, as LVM chooses, and zeroes them.
- qcow2 files lie in ext4, behind qemu-nbd with --cache=none --aio=native, clusters of 64 KiB.
- unblend acknowledges a write when it is durable. The others do so only after a flush: the workload with
  fsync compares equals.
`, units.FormatSize(fading*n.Total))
	if n.Serve != "" {
		fmt.Fprintf(b, "- unblend serve ran with %s.\n", n.Serve)
	}
	if s.has(func(c Cell) bool { return c.Workload == "boot" || c.Workload == "logon" }) {
		b.WriteString("- The storms are models: clones of one image that all do the same mix at random places.\n")
	}
	b.WriteString("\n")
}

// has reports whether some cell was measured.
func (s *Suite) has(is func(c Cell) bool) bool {
	return slices.ContainsFunc(s.Ratios, func(r Ratio) bool { return is(r.Cell) })
}

// where says what machines the figures are from, and how busy they were.
func (s *Suite) where() string {
	var machines []string
	least, most, seconds := 0.0, 0.0, 0.0
	for _, o := range s.Outcomes {
		if o.Error != "" {
			continue
		}
		if text := o.place(); !slices.Contains(machines, text) {
			machines = append(machines, text)
		}
		if seconds == 0 {
			least, most = o.Load, o.Load
		}
		least, most = min(least, o.Load), max(most, o.Load)
		seconds += o.Seconds
	}
	if seconds == 0 {
		return "Nothing was measured.\n"
	}
	return fmt.Sprintf("%s\nThe cells took %.0f min. The host's load average was %.1f to %.1f.\n",
		strings.Join(machines, "\n"), seconds/60, least, most)
}

// place describes the machine of an outcome.
func (o Outcome) place() string {
	m := o.Machine
	if o.Host == nil {
		return fmt.Sprintf("Linux %s, %s, %d CPUs, %s of memory; on %s.", m.Kernel, m.CPU, m.CPUs,
			units.FormatSize(m.Memory), o.Settings.Device)
	}
	clock := ""
	if o.Settings.Counted {
		clock = " Its clock counts instructions, so that the host's load does not show."
	}
	return fmt.Sprintf(`Linux %s in an emulated machine (QEMU, %d CPUs, no KVM) on a host with %d CPUs (%s).
The device is null_blk, which keeps its data in memory.%s Emulated system calls are slow beside the
rest: the ratios of one machine can be compared, absolute figures cannot.`, m.Kernel, m.CPUs,
		o.Host.CPUs, o.Host.CPU, clock)
}
