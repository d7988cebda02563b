package perf

import "flag"

var (
	long  = flag.Bool("long", false, "measure at full size")
	batch = flag.Int("batch", 1<<17, "blocks destaged at a time by pools of hard disks, with -long")
	plot  = flag.String("plot", "", "draw what was measured, as an SVG, into this file")

	guests = flag.String("guests", "", "hard disks: such volumes and log, as in 8x128+256 (MiB)")
)
