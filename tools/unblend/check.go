package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/units"
)

func checkCommand() *command {
	return &command{
		name: "check", args: "POOL", min: 1, max: 2, complete: completePaths,
		short: "verify a pool that nobody serves",
		long: `Expands the maps of all volumes and compares what is reachable with what counts as
in use: labels, roots, log, maps, bitmaps, with their checksums. POOL is as with serve.

--data reads every block of data and all records of the log, too. --repair writes the good
copy of a structure over the bad one; without it nothing is written. What a crash leaves
behind as well, and the next start mends, is a note and no damage.
Exit code 5: damage was found that is not repaired.`,
		examples: []string{
			"unblend check /dev/nvme0n1p3", "unblend check /var/lib/unblend/pool --data",
		},
		setup: func(fs *pflag.FlagSet) action {
			var opt placement.CheckOptions
			fs.BoolVar(&opt.Data, "data", false, "read every block of data and verify its checksum")
			fs.BoolVar(&opt.Repair, "repair", false, "write good copies over bad ones")
			return func(ctx context.Context, in *invocation) error { return check(ctx, in, opt) }
		},
	}
}

func check(ctx context.Context, in *invocation, opt placement.CheckOptions) error {
	pool, err := device.OpenPool(in.args, device.PoolOptions{ReadOnly: !opt.Repair, Unlabelled: true})
	if err != nil {
		return adviseCheck(err)
	}
	p := newProgress(in, "checking")
	opt.Progress = p.show
	begin := time.Now()
	rep, err := placement.Check(interruptibly(ctx, pool.Disks()), opt)
	p.end()
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), pool.Close())
	}
	if err = errors.Join(err, pool.Close()); err != nil && rep == nil || errors.Is(err, placement.ErrVersion) {
		return fmt.Errorf("check %s: %w", in.args[0], err)
	}
	doc := checkResult(rep, opt, err)
	doc.Seconds = time.Since(begin).Seconds()
	if err := in.answer(doc, func() string { return checkText(in.args[0], doc) }); err != nil {
		return err
	}
	switch {
	case err != nil:
		return exitError(control.ErrorOf(err).ExitCode())
	case doc.State == control.CheckDamaged:
		return exitError(exitWorse)
	}
	return nil
}

// adviseCheck adds what to do about a pool that cannot be opened.
func adviseCheck(err error) error {
	e := *control.ErrorOf(err)
	switch {
	case errors.Is(err, device.ErrInUse):
		e.Next = "stop the daemon first: systemctl stop unblend"
	case errors.Is(err, placement.ErrMissingDevice):
		e.Next = "connect it, or name both devices: unblend check DEV DEV"
	}
	return &e
}

// checkResult describes what was found. stopped says why check could not look further.
func checkResult(rep *placement.CheckReport, opt placement.CheckOptions, stopped error,
) control.CheckResult {
	r := control.CheckResult{
		Schema: control.SchemaCheck, State: control.CheckOK,
		Problems: checkProblems(rep.Problems), Notes: checkProblems(rep.Notes),
		Repaired: rep.Repaired, Volumes: rep.Volumes, Pages: rep.Pages, Blocks: rep.Blocks,
		LogBlocks: rep.LogBlocks, BadBlocks: rep.BadBlocks, Data: opt.Data,
	}
	if rep.Label.Pool != (placement.UUID{}) {
		r.UUID = units.FormatUUID(rep.Label.Pool)
	}
	if stopped != nil {
		r.Problems = append(r.Problems, control.CheckProblem{
			Structure: "pool", Message: oneLine(stopped.Error()),
		})
	}
	switch {
	case stopped != nil || rep.Damaged():
		r.State = control.CheckDamaged
	case len(rep.Problems) > 0:
		r.State = control.CheckRepaired
	}
	return r
}

func checkProblems(found []placement.Problem) []control.CheckProblem {
	list := []control.CheckProblem{}
	for _, p := range found {
		list = append(list, control.CheckProblem{
			Structure: p.Structure, Message: units.Printable(p.Err.Error()), Repaired: p.Repaired,
		})
	}
	return list
}

func checkText(path string, r control.CheckResult) string {
	s := ""
	for i, p := range append(r.Problems[:len(r.Problems):len(r.Problems)], r.Notes...) {
		note, repaired := "", ""
		if i >= len(r.Problems) {
			note = "note: "
		}
		if p.Repaired {
			repaired = " (repaired)"
		}
		s += fmt.Sprintf("%s%s: %s%s\n", note, p.Structure, p.Message, repaired)
	}
	data := "data not read"
	if r.Data {
		data = "data read"
	}
	return s + fmt.Sprintf("%s: %s: %d volumes, %d pages, %d blocks, %d in the log, %s, %s\n", path,
		r.State, r.Volumes, r.Pages, r.Blocks, r.LogBlocks, data,
		units.FormatDuration(time.Duration(r.Seconds*float64(time.Second))))
}
