package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// measure measures a cell: it makes both sides, alternates their runs, and takes them away.
func (b *bed) measure(c Cell) (runs []Run, err error) {
	t, _ := contender(c.Contender)
	rival, o := newRival(b, c), newOurs(b, c, t.Beside)
	defer func() {
		ctx := b.ctx
		b.ctx = context.WithoutCancel(ctx) // an interrupted cell is taken away as well
		err = errors.Join(err, rival.close(), o.close())
		b.ctx = ctx
	}()
	if err := rival.setup(); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Title, err)
	}
	if err := o.setup(); err != nil {
		return nil, fmt.Errorf("unblend: %w", err)
	}
	for pair := 1; pair <= b.set.Pairs; pair++ {
		for turn := range 2 {
			mine := (pair+turn)%2 == 0 // neither always follows the other
			side := rival
			if mine {
				side = o
			}
			r, err := b.run(c, side, o, pair)
			if err != nil {
				return runs, err
			}
			runs = append(runs, r)
		}
		last := ratioOf(Outcome{Cell: c, Runs: runs[len(runs)-2:]})
		b.progress("%s: pair %d of %d: %s", c, pair, b.set.Pairs, short(last.Median))
	}
	return runs, nil
}

// run is one run of one side. The log is empty before it, or full where the workload wants that.
func (b *bed) run(c Cell, side target, o *ours, pair int) (Run, error) {
	mine := side == target(o)
	r := Run{Pair: pair, Ours: mine}
	disks, err := side.ready()
	if err == nil {
		err = o.drain()
	}
	w, _ := workload(c.Workload)
	args := append([]string{
		fmt.Sprintf("--iodepth=%d", w.Depth), fmt.Sprintf("--randseed=%d", pair),
	}, w.Args...)
	if err == nil && mine && w.Full {
		size := logSize(b.set.Total, true) / int64(c.Volumes)
		_, err = Fio(b.ctx, disks, append(args, fmt.Sprintf("--io_size=%d", size), "--randseed=99")...)
	}
	if err == nil {
		r.Figures, err = Fio(b.ctx, disks, append(args, b.length(c)...)...)
	}
	if err == nil && r.IOPS == 0 {
		err = fmt.Errorf("%s: nothing was done within %v", c, b.set.Run)
	}
	if err == nil && mine {
		r.Log, err = o.pressure()
	}
	return r, err
}

// errFailed is returned after an outcome that is an error.
var errFailed = errors.New("the other cells are measured anew from here")

// Local measures cells on a device of the machine that it runs on, and hands each outcome on as it
// comes. It returns when a cell could not be measured, as what that leaves behind could spoil the
// next, or when handing on fails.
type Local struct {
	Settings Settings
	Device   string // claimed by nobody
	Program  string // path of unblend
	Self     string // path of the program that knows NullArg
	Progress func(format string, args ...any)
	Each     func(Outcome) error
}

// Run measures the cells.
func (l Local) Run(ctx context.Context, cells []Cell) error {
	if err := needTools(cells); err != nil {
		return err
	}
	m, err := thisMachine()
	if err != nil {
		return err
	}
	b := &bed{
		ctx: ctx, set: l.Settings, device: l.Device, program: l.Program, self: l.Self, progress: l.Progress,
	}
	err = b.open()
	for _, c := range cells {
		if err != nil {
			break
		}
		begin := time.Now()
		runs, failed := b.measure(c)
		if ctx.Err() != nil {
			err = ctx.Err()
			break
		}
		x := Outcome{
			Schema: SchemaOutcome, Settings: l.Settings, Cell: c, Machine: m, Runs: runs,
			Seconds: time.Since(begin).Seconds(),
		}
		if failed != nil {
			x.Error = strings.TrimSpace(failed.Error())
			failed = errFailed
		}
		err = errors.Join(l.Each(x), failed)
	}
	return errors.Join(err, b.close())
}
