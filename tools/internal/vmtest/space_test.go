package vmtest

import (
	"time"

	"unblend/tools/internal/control"
)

// freeingTime bounds how long it may take until all space of what was removed is back.
const freeingTime = 10 * time.Minute

// freed waits until as much is free as there was before something was made, but for a hundredth,
// because others write; then nothing that was removed may be left.
func (g *guest) freed(before control.Status) {
	g.Helper()
	data, meta := used(before)
	client := control.NewClient(g.prog.Socket(), time.Minute)
	g.eventually("the space of what was removed is free", freeingTime, func() bool {
		time.Sleep(200 * time.Millisecond)
		st, err := client.Status(g.ctx)
		if err != nil {
			g.Fatal(err)
		}
		d, m := used(st)
		return d <= data+data/100 && m <= meta+meta/100
	})
	g.gone()
}

// gone waits until nothing that was removed is left.
func (g *guest) gone() {
	g.Helper()
	client := control.NewClient(g.prog.Socket(), time.Minute)
	g.eventually("nothing that was removed is left", freeingTime, func() bool {
		l, err := client.List(g.ctx, control.ListRequest{All: true})
		if err != nil {
			g.Fatal(err)
		}
		hidden := 0
		for _, v := range l.Volumes {
			if v.Hidden {
				hidden++
			}
		}
		return hidden == 0
	})
}

// used returns how many bytes of data and of metadata have a place.
func used(st control.Status) (data, meta int64) {
	return st.Space.Size - st.Space.Free, st.Space.MetadataSize - st.Space.MetadataFree
}

// sameSpace fails the test if the pool does not have as much in use as it had before: the same of
// data, and of metadata within a hundredth.
func (g *guest) sameSpace(before, after control.Status) {
	g.Helper()
	data, meta := used(before)
	d, m := used(after)
	g.Logf("in use before: %d blocks of data, %d pages of metadata; after: %d and %d", data>>12,
		meta>>12, d>>12, m>>12)
	if d != data || m > meta+meta/100 || m < meta-meta/100 {
		g.Errorf("there are %d bytes of data and %d of metadata in use, want %d and %d", d, m, data,
			meta)
	}
}
