//go:build plant

package shard

import "os"

// plant names the bug that is present: a test in a virtual machine gives it to the daemon that it
// starts.
var plant = os.Getenv("UNBLEND_PLANT")

func planted(name string) bool { return plant == name }
