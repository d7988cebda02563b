// Command harddiskd serves a modelled hard disk as a block device, in real time; see package harddisk.
//
//	harddiskd --size 24000000000000
//
// It prints the device's path when it is there, and ends with its input (^D).
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"unblend/tools/internal/harddisk"
	"unblend/tools/internal/units"
)

func main() {
	if err := serve(os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "harddiskd:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	flags := pflag.NewFlagSet("harddiskd", pflag.ContinueOnError)
	size := units.Size(16 << 30)
	flags.Var(&size, "size", "size; a small disk is the outer edge of the 24 TB one")
	volatile := flags.Bool("volatile", false, "the drive's write cache is on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return harddisk.Serve(harddisk.Config{Size: int64(size), Volatile: *volatile}, os.Stdin, os.Stdout)
}
