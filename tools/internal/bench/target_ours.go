package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"unblend/tools/internal/control"
	"unblend/tools/internal/operate"
)

// ours are volumes of an unblend pool.
type ours struct {
	b      *bed
	cell   Cell
	state  string // one of the states
	size   int64  // bytes of a volume
	full   bool   // a run begins with a full log
	dir    string // of the daemon
	prog   operate.Program
	daemon *operate.Daemon
	client *control.Client
	round  int
	image  string // the snapshot that clones are made of
}

// callTime bounds one call of the daemon: emptying a log on an emulated machine takes long.
const callTime = 5 * time.Minute

func newOurs(b *bed, c Cell, state string) *ours {
	w, _ := workload(c.Workload)
	return &ours{b: b, cell: c, state: state, size: b.volumeSize(c), full: w.Full}
}

// name returns the i-th volume's.
func (o *ours) name(i int) string {
	if o.state == oursFresh || o.state == oursClone || o.state == oursClones {
		return fmt.Sprintf("v%d-%d", i, o.round)
	}
	return fmt.Sprintf("v%d", i)
}

func (o *ours) names() []string {
	var names []string
	for i := range o.cell.Volumes {
		names = append(names, o.name(i))
	}
	return names
}

func (o *ours) path(name string) string { return filepath.Join(o.dir, "links", name) }

func (o *ours) disks() []Disk {
	var d []Disk
	for _, name := range o.names() {
		d = append(d, Disk{Path: o.path(name)})
	}
	return d
}

func (o *ours) setup() error {
	var err error
	if o.dir, err = os.MkdirTemp(o.b.dir, "unblend-"); err != nil {
		return err
	}
	o.prog = operate.Program{Path: o.b.program, Dir: o.dir}
	size := logSize(o.b.set.Total, o.full)
	segment := min(max(size/64/MiB, 1), 16)
	_, err = o.prog.Run(o.b.ctx, "init", o.b.part(partPool), "--force", fmt.Sprintf("--log-size=%d", size),
		fmt.Sprintf("--segment-size=%dM", segment))
	if err != nil {
		return err
	}
	more := append([]string{"--link-dir", filepath.Join(o.dir, "links"), "--no-replacement"},
		strings.Fields(o.b.set.Serve)...)
	if o.daemon, err = o.prog.Serve(o.b.ctx, o.b.part(partPool), more...); err != nil {
		return err
	}
	o.client = control.NewClient(o.prog.Socket(), callTime)
	switch o.state {
	case oursFull, oursSnap:
		err = o.create()
		if err == nil {
			err = Fill(o.b.ctx, o.disks())
		}
	case oursClone:
		err = o.layers(1)
	case oursClones:
		err = o.layers(chainLength)
	}
	return err
}

// create makes all volumes.
func (o *ours) create() error {
	for _, name := range o.names() {
		r := control.CreateRequest{Name: name, Size: o.size}
		if _, err := o.client.Create(o.b.ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// layers makes the image: a volume, and clones of clones of it, each with a few writes of its own.
func (o *ours) layers(n int) error {
	for i := range n {
		name := fmt.Sprintf("layer%d", i)
		var err error
		if i == 0 {
			_, err = o.client.Create(o.b.ctx, control.CreateRequest{Name: name, Size: o.size})
		} else {
			_, err = o.client.Clone(o.b.ctx, control.CloneRequest{Source: o.image, Name: name, Attach: true})
		}
		if err == nil {
			err = layer(o.b, Paths(o.path(name)), i)
		}
		if err == nil {
			_, err = o.client.Snapshot(o.b.ctx, control.SnapshotRequest{Volumes: []string{name}, Name: "s"})
		}
		if err == nil {
			_, err = o.client.Detach(o.b.ctx, control.DetachRequest{Name: name})
		}
		if err != nil {
			return err
		}
		o.image = name + "@s"
	}
	return nil
}

func (o *ours) ready() ([]Disk, error) {
	err := o.renew()
	if w, _ := workload(o.cell.Workload); w.Reads && o.state == oursFresh && err == nil {
		err = Fill(o.b.ctx, o.disks())
	}
	return o.disks(), err
}

// renew brings the state about.
func (o *ours) renew() error {
	if o.state == oursFull {
		return nil
	}
	old := o.names()
	if o.state == oursSnap {
		for i := range old {
			old[i] += fmt.Sprintf("@s%d", o.round)
		}
	}
	if o.round > 0 {
		err := o.b.retry(func() error {
			_, err := o.client.Remove(o.b.ctx, control.RemoveRequest{Names: old})
			return err
		})
		if err != nil {
			return err
		}
	}
	o.round++
	switch o.state {
	case oursSnap:
		r := control.SnapshotRequest{Volumes: o.names(), Name: fmt.Sprintf("s%d", o.round)}
		_, err := o.client.Snapshot(o.b.ctx, r)
		return err
	case oursFresh:
		return o.create()
	}
	for _, name := range o.names() {
		r := control.CloneRequest{Source: o.image, Name: name, Attach: true}
		if _, err := o.client.Clone(o.b.ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// drain empties the log: nothing of an earlier run goes on beside the next one.
func (o *ours) drain() error {
	_, err := o.client.Checkpoint(o.b.ctx, control.CheckpointRequest{Drain: true})
	return err
}

// pressure returns how full the log is, in thousandths.
func (o *ours) pressure() (int, error) {
	st, err := o.client.Status(o.b.ctx)
	return st.Log.Pressure, err
}

func (o *ours) close() error {
	if o.daemon == nil {
		return nil
	}
	return o.daemon.Stop()
}
