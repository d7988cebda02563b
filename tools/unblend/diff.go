package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/pflag"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

func diffCommand() *command {
	return &command{
		name: "diff", args: "[FROM] TO", min: 1, max: 2, complete: completeNodes, daemon: true,
		lines: true, short: "list what differs between snapshots, for backup",
		long: `FROM and TO are snapshots of one volume, or volumes and snapshots that come from a
common one, in either order. What is listed makes a copy of FROM one of TO: data is
to be copied from TO's device, zero reads as zeros now. With TO alone it is all that
TO has, for a first, full backup.

No data is read; it takes as long as there are changes. What was written again
with the same content is listed too. A volume may change meanwhile: for a backup
take a snapshot, and attach that. Sizes may differ: TO's counts.

--json prints a line for each extent, after a first line that says what is compared
and before a last one with the totals; without that it was cut short. When FROM or
TO is removed meanwhile the call fails with exit code 3.`,
		examples: []string{
			"unblend diff web1@monday web1@tuesday", "unblend diff web1@monday web1@tuesday --json",
			"unblend diff web1@monday --json",
		},
		setup: func(*pflag.FlagSet) action { return diff },
	}
}

func diff(ctx context.Context, in *invocation) error {
	r := control.DiffRequest{To: in.args[0]}
	if len(in.args) == 2 {
		r.From, r.To = in.args[0], in.args[1]
	}
	out := diffPrinter{w: bufio.NewWriter(in.out), json: in.common.json}
	for c := in.client(); ; {
		page, err := c.Diff(ctx, r)
		if err != nil {
			return err
		}
		if r.ToID == 0 {
			out.begin(r, page)
		}
		for _, e := range page.Extents {
			out.add(e)
		}
		if page.Next >= page.Size {
			return out.end()
		}
		if page.Next <= r.Offset {
			return fmt.Errorf("%s: the daemon's page from %d on ends at %d", control.Object(r.To),
				r.Offset, page.Next)
		}
		if err := out.flush(); err != nil {
			return err
		}
		r.FromID, r.ToID, r.Offset = page.FromID, page.ToID, page.Next
	}
}

// diffPrinter prints extents as they come. The pages of the answer end anywhere: the last extent
// waits for what continues it.
type diffPrinter struct {
	w    *bufio.Writer
	json bool
	head control.DiffHead
	last control.DiffExtent
	sum  control.DiffEnd
}

func (p *diffPrinter) begin(r control.DiffRequest, page control.DiffPage) {
	p.head = control.DiffHead{
		Schema: control.SchemaDiff, From: r.From, To: r.To, FromSize: page.FromSize, Size: page.Size,
	}
	p.line(p.head, fmt.Sprintf("%18s  %16s  %s", "OFFSET", "LENGTH", "TYPE"))
}

// line prints a document, or for people text. The writer keeps its first error for flush.
func (p *diffPrinter) line(doc any, text string) {
	if p.json {
		b, err := json.Marshal(doc)
		if err != nil {
			panic(fmt.Sprintf("%T cannot be encoded: %v", doc, err))
		}
		text = string(b)
	}
	_, _ = p.w.WriteString(text + "\n")
}

func (p *diffPrinter) add(e control.DiffExtent) {
	if l := &p.last; l.Type == e.Type && l.Offset+l.Length == e.Offset {
		l.Length += e.Length
		return
	}
	p.put()
	p.last = e
}

// put prints the extent that waits.
func (p *diffPrinter) put() {
	e := p.last
	switch {
	case e.Length == 0:
		return
	case e.Type == control.DiffZero:
		p.sum.Zero += e.Length
	default:
		p.sum.Data += e.Length
	}
	p.sum.Extents++
	p.line(e, fmt.Sprintf("%18d  %16d  %s", e.Offset, e.Length, oneLine(e.Type)))
}

func (p *diffPrinter) end() error {
	p.put()
	p.sum.Schema = control.SchemaDiffEnd
	p.line(p.sum, fmt.Sprintf("%d extents: %s of data, %s of zeros, of %s", p.sum.Extents,
		units.FormatSize(p.sum.Data), units.FormatSize(p.sum.Zero), units.FormatSize(p.head.Size)))
	return p.flush()
}

func (p *diffPrinter) flush() error {
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}
