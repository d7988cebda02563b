// Package bench is the benchmark suite: unblend beside what a user could have instead, on the same
// device, in the same kernel, turn by turn.
//
// A Cell is one target under one workload. It is measured in pairs, a run of the target beside a run
// of unblend in the same state (after a snapshot beside after a snapshot), every other pair in the
// opposite order; each pair gives a ratio, and what counts is the median of the ratios. Everything a
// cell needs is made for it and goes with it, so that cells do not depend on each other: a State
// keeps those that are done, and a suite that was interrupted goes on where it was.
//
// Session runs a suite, in virtual machines or on a spare device of this host; Suite is what came of
// it, and writes itself as Markdown, JSON and SVG.
package bench
