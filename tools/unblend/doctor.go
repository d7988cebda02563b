package main

import (
	"context"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/doctor"
	"unblend/tools/internal/units"
)

func doctorCommand() *command {
	return &command{
		name: "doctor", args: "[DEVICE...]", max: 64, complete: completePaths,
		short: "say what this machine lacks, and how to mend it",
		long: `Looks at the kernel, the ublk module, io_uring, limits, the udev rule, the LVM
filter and what tracing needs, and at the devices or files that are to back a pool.
Changes nothing. Each line is ok, warn (better to have) or fix (needed).
Exit code 6: something that is needed is missing.`,
		examples: []string{"unblend doctor", "unblend doctor /dev/nvme0n1p3 /dev/sdb"},
		setup:    func(*pflag.FlagSet) action { return diagnose },
	}
}

func diagnose(_ context.Context, in *invocation) error {
	h, err := doctor.Machine()
	if err != nil {
		return err
	}
	doc := h.Run(in.args)
	if err := in.answer(doc, func() string { return doctorText(doc) }); err != nil {
		return err
	}
	if !doc.OK {
		return exitError(exitLacks)
	}
	return nil
}

// doctorText prints one line for each check, and below it how to mend it.
func doctorText(doc control.DoctorResult) string {
	s := ""
	for _, c := range doc.Checks {
		s += pad(c.State, 5) + units.Printable(c.Name) + ": " + c.Detail + "\n"
		if c.Fix != "" {
			s += pad("", 5) + "-> " + c.Fix + "\n"
		}
	}
	return s
}

// pad fills s up to n characters.
func pad(s string, n int) string {
	for len(s) < n {
		s += " "
	}
	return s
}
