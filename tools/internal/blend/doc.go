// Package blend shows what merging the streams of many guests does to them, and what reaches the
// disk: it has the kernel count (package bpf), asks the daemon which devices and regions there are,
// follows volumes that get or lose their device, and makes reports of the counters.
package blend
