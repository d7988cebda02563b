package perf

import "flag"

var (
	long = flag.Bool("long", false, "measure at full size")
	plot = flag.String("plot", "", "draw what was measured, as an SVG, into this file")
)
