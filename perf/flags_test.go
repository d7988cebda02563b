package perf

import "flag"

var long = flag.Bool("long", false, "measure at full size")
