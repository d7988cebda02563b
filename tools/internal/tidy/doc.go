// Package tidy holds the project's own lint as tests: what the other linters do not look at. A rule
// that is broken is reported as FILE:LINE.
//
//   - Size: a function has at most 70 lines, a file 500, a file of tests 700, a line 100 columns.
//   - No word that stands for unfinished work.
//   - The top level of the repository holds what it is meant to hold and nothing else.
//   - Every package says what it is for.
//   - Layers: which package imports which of ours. There is one program, tools/unblend.
//   - The engine (log, placement) performs no I/O and decides nothing by chance: no goroutines,
//     clocks, files, locks, random numbers of its own, no iteration over maps.
//
// Generated files are exempt from the first two.
package tidy
