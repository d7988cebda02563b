package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// scrubPoll is how often the verb asks how far the scrub is.
const scrubPoll = 250 * time.Millisecond

func scrubCommand() *command {
	return &command{
		name: "scrub", args: "[--rate SIZE] [--no-wait] | --status | --stop", daemon: true,
		short: "verify all that the pool holds, while it is served",
		long: `The daemon reads every block of data that a volume or snapshot has, what they share once,
and both copies of all metadata, and compares them with their checksums. A bad copy of
metadata is written anew from the good one; a bad block of data is named, here, in status
and in the daemon's log, and reads of it fail until it is written again. It yields to
guests. What is still in the log is verified when it is moved to its place.

The call follows it to its end; when it is interrupted the scrub goes on. A scrub ends with
the daemon. Exit code 5: something is damaged and was not repaired.`,
		examples: []string{
			"unblend scrub", "unblend scrub --rate 200M --no-wait", "unblend scrub --status",
			"unblend scrub --stop",
		},
		setup: func(fs *pflag.FlagSet) action {
			o := scrubOptions{flags: fs}
			fs.Var(&o.rate, "rate", "read at most so much a second (default 64M)")
			fs.BoolVar(&o.noWait, "no-wait", false, "return at once")
			fs.BoolVar(&o.status, "status", false, "say how the scrub under way, or the last one, stands")
			fs.BoolVar(&o.stop, "stop", false, "end the scrub under way")
			return o.run
		},
	}
}

type scrubOptions struct {
	flags                *pflag.FlagSet
	rate                 units.Size
	noWait, status, stop bool
}

func (o *scrubOptions) run(ctx context.Context, in *invocation) error {
	switch {
	case o.status && o.stop, (o.status || o.stop) && (o.noWait || o.flags.Changed("rate")):
		return usageError(in.cmd, "--status and --stop stand alone")
	case o.flags.Changed("rate") && o.rate == 0:
		return usageError(in.cmd, "--rate 0 is no rate")
	}
	c := in.client()
	switch {
	case o.status:
		doc, err := c.Scrub(ctx)
		return answerScrub(in, doc, err)
	case o.stop:
		doc, err := c.StopScrub(ctx)
		return answerScrub(in, doc, err)
	}
	doc, err := c.StartScrub(ctx, control.ScrubRequest{Rate: int64(o.rate)})
	if err != nil || o.noWait {
		return answerScrub(in, doc, err)
	}
	return followScrub(ctx, in, c)
}

// followScrub waits for the end of a scrub that has just begun.
func followScrub(ctx context.Context, in *invocation, c *control.Client) error {
	p := newProgress(in, "scrubbing")
	for {
		doc, err := c.Scrub(ctx)
		s := doc.Scrub
		if err == nil && s.State == control.ScrubRunning {
			p.show(s.Done, s.Total)
			select {
			case <-time.After(scrubPoll):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		p.end()
		if canceled(err) {
			fmt.Fprintln(in.err, "unblend: the scrub goes on; look: unblend scrub --status, "+
				"or end it: unblend scrub --stop")
		}
		if err != nil {
			return err
		}
		if err = answerScrub(in, doc, nil); err != nil || s.State == control.ScrubDone {
			return err
		}
		return exitError(1) // somebody has stopped it
	}
}

// answerScrub prints how a scrub stands.
func answerScrub(in *invocation, doc control.ScrubResult, err error) error {
	if err != nil {
		return err
	}
	if err = in.answer(doc, func() string { return scrubText(doc.Scrub) }); err != nil {
		return err
	}
	if doc.Scrub.Damage() > 0 {
		return exitError(exitWorse)
	}
	return nil
}

// scrubText says how a scrub stands, and what it found.
func scrubText(s control.ScrubStatus) string {
	var b strings.Builder
	for _, f := range s.Found {
		what := "the pool's metadata"
		if f.Volume != "" {
			what = fmt.Sprintf("%s, offset %d", control.Object(f.Volume), f.Offset)
		}
		b.WriteString(oneLine(fmt.Sprintf("%s (%s device, offset %d): %s", what, f.Role, f.At,
			f.Message)) + "\n")
	}
	return b.String() + scrubLine(s) + "\n"
}

// scrubLine says how a scrub stands in one line.
func scrubLine(s control.ScrubStatus) string {
	if s.State == control.ScrubNone {
		return "no scrub since the daemon started"
	}
	found := "nothing is damaged"
	if s.BadBlocks+s.BadCopies > 0 {
		found = fmt.Sprintf("%d bad blocks, %d bad copies of metadata, %d repaired", s.BadBlocks,
			s.BadCopies, s.Repaired)
	}
	if s.BadPages > 0 {
		found += fmt.Sprintf(", %d pages lost", s.BadPages)
	}
	switch s.State {
	case control.ScrubRunning:
		return fmt.Sprintf("running, %s of %s read, %s", units.FormatShare(s.Done, max(s.Total, 1)),
			units.FormatSize(s.Total), found)
	case control.ScrubStopped:
		return fmt.Sprintf("ended early at %s (%s): %s read, %s", s.Ended.Format(time.RFC3339),
			oneLine(s.Reason), units.FormatSize(s.Done), found)
	}
	return fmt.Sprintf("done at %s: %s read in %s, %s", s.Ended.Format(time.RFC3339),
		units.FormatSize(s.Done), units.FormatDuration(s.Ended.Sub(s.Began)), found)
}
