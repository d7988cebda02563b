// Package perf measures: how many device operations a guest's write costs (exact, on simulated
// disks), how long a restart takes on models of a flash device and a hard disk (in virtual time),
// and, in the benchmarks that boot a kernel, ratios against what a user could use instead. No test
// here fails because something was slow.
package perf
