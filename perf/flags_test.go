package perf

import "flag"

var (
	long = flag.Bool("long", false, "measure at full size")
	plot = flag.String("plot", "", "draw what was measured, as an SVG, into this file")

	guests = flag.String("guests", "", "hard disks: such volumes and log, as in 8x128+256 (MiB)")
)
