package perf

import "flag"

var (
	long  = flag.Bool("long", false, "measure at full size")
	batch = flag.Int("batch", 1<<17, "blocks destaged at a time by pools of hard disks, with -long")
	plot  = flag.String("plot", "", "draw what was measured, as an SVG, into this file")
)
