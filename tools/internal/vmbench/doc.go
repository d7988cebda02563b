// Package vmbench measures what the benchmark suite (package bench) has no cells for, under real
// kernels in virtual machines:
//
//   - four volumes at once: how many guest writes a log write carries, and how many log writes
//     begin where the one before them ended, as bpftrace sees them;
//   - writes and reads of a volume before a snapshot, right after it, after 100 and 500 of them, and
//     of a clone, beside dm-thin before and after a snapshot, over several logs' worth;
//   - writes of a volume while trace blend counts them, and while it does not;
//   - the processor time of a write, kernel and server, with one shard and with two, beside the kernel's
//     loop and qcow2;
//   - fifty volumes at once with small and large requests: the daemon's memory, what its garbage
//     collector does, and what it allocates for a write;
//   - the daemon's peak memory;
//   - how long a daemon takes from its start to its first answer when the log is full;
//   - the modelled hard disk (package harddisk) beside what is published of it, a pool on two of them
//     beside one, and the same pool in virtual time.
//
// Emulated processors are slow, and system calls on them slower than the rest: ratios of one run
// can be compared, absolute figures cannot.
//
//	go test ./tools/internal/vmbench -run '^$' -bench . -timeout 1h
//
// UNBLEND_COUNTED=1 has time counted in instructions, for a host that is busy (BenchmarkCost).
// UNBLEND_VM_KERNEL chooses the kernel, UNBLEND_PAIRS how many pairs of snapshot runs there are,
// UNBLEND_GUESTS=8x128+256 how many volumes of how many MiB are on hard disks, with a log of how many;
// UNBLEND_BENCH_OUT names a directory that gets the results as JSON and as a table.
package vmbench
